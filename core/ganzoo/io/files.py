"""Writing files so that each is whole or absent, whatever interrupts it; folders; the cache folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from ganzoo.errors import UsageError

UMASK = os.umask(0o022)  # reading it means setting it
os.umask(UMASK)


@contextmanager
def atomic_write(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the block ends.

    Where the block raises, the temporary file is removed and an earlier file kept. The file gets the permissions of any
    new file; those that safetensors writes would be readable by their owner only.

    Args:
        path: the file to write
        synced: wait until the disk has the contents, before the renaming, and the name, after it

    An OSError about the temporary file names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.chmod(0o666 & ~UMASK)
        if synced:
            sync(temporary)
        temporary.replace(path)
        if synced:
            sync(path.parent)
    except OSError as err:
        if str(err.filename) == str(temporary):
            err.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path, what: str) -> None:
    """Raise UsageError where a file cannot be written: a folder has its name, or its folder takes no files.

    A file is made and removed to find out: permissions are no evidence in places such as /proc.

    Args:
        path: the file
        what: the option that names it, to begin the message with
    """
    if path.is_dir():
        raise UsageError(f"{what}: {path} is a folder: choose a name that no folder has.")
    try:
        with tempfile.TemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            return
    except OSError as err:
        raise UsageError(
            f"{what}: cannot write into {path.parent} ({err.strerror or err}): choose a folder you may write to."
        ) from None


def sync(path: Path) -> None:
    """Wait until a file's contents, or a directory's entries, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def ensure_folder(path: Path, what: str) -> Path:
    """Make a folder unless it exists, and return it. Raises UsageError where that cannot be, or it takes no files.

    Args:
        path: the folder
        what: the option that names it, to begin the message with
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # permissions are no evidence in places such as /proc
            return path
    except OSError as err:
        reason = "it is a file" if path.is_file() else err.strerror or str(err)
    raise UsageError(f"{what}: cannot write into {path} ({reason}): choose a folder you may write to.")


def cache_dir() -> Path:
    """Return the folder of what is kept between commands: GZ_CACHE, or the system's cache folder (~/.cache/ganzoo).

    It holds weights of extractors, statistics of real images, and the index of installed plugins.
    """
    override = os.environ.get("GZ_CACHE")
    return Path(override).expanduser() if override else user_cache_path("ganzoo", appauthor=False)
