"""Files that are whole or not there, whatever interrupts their writing."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from ganzoo.errors import UsageError

UMASK = os.umask(0o022)  # there is no way to ask but to set it


os.umask(UMASK)


@contextmanager
def atomic_write(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """A temporary file that takes its name only when it is whole; else nothing stays, and an earlier file is kept.

    It gets the permissions of any new file; those that safetensors writes would be for their owner alone.

    Args:
        path: the name
        synced: wait until the disk has it, before the name and after it

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
    """Make and remove a file where `path` shall be written; permissions alone do not tell, as in /proc.

    Raises UsageError that begins with `what`, the option that names the path.
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
    """Make sure a file, or a directory's entries, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def ensure_folder(path: Path, what: str) -> Path:
    """Make a folder, if need be. Raises UsageError where it cannot be; `what` names what asks for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # permissions alone do not tell, as in /proc
            return path
    except OSError as err:
        reason = "it is a file" if path.is_file() else err.strerror or str(err)
    raise UsageError(f"{what}: cannot write into {path} ({reason}): choose a folder you may write to.")


def cache_dir() -> Path:
    """The folder of what is kept between commands: GZ_CACHE, or the system's folder for caches (~/.cache/ganzoo).

    Weights of extractors, statistics of real images and the rows of others' plugins lie in it.
    """
    given = os.environ.get("GZ_CACHE")
    return Path(given).expanduser() if given else user_cache_path("ganzoo", appauthor=False)
