"""Writing files so that each is whole or absent, whatever interrupts it; folders; the cache folder."""

import errno
import hashlib
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from ganzoo.errors import UsageError

LONG_NAME = 200  # bytes of a file's name, from which on a temporary name with a suffix may be too long for the disk
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
    temporary = path.with_name(f"{_hidden_prefix(path.name)}{os.getpid()}.tmp")
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


def _hidden_prefix(name: str) -> str:
    """Beginning of a temporary file's name, '.NAME.', or a hash of a name near the limit of most disks, 255 bytes."""
    encoded = os.fsencode(name)
    return f".{name}." if len(encoded) < LONG_NAME else f".{hashlib.sha256(encoded).hexdigest()[:16]}."


def _cure(err: OSError) -> str:
    return "a shorter name" if err.errno == errno.ENAMETOOLONG else "a folder you may write to"


def require_writable(path: Path, what: str) -> None:
    """Raise UsageError where a file cannot be written: a folder has its name, or its folder takes no files.

    A file is made and removed to find out: permissions are no evidence in places such as /proc.

    Args:
        path: the file
        what: the option that names it, to begin the message with
    """
    try:
        if path.is_dir():
            raise UsageError(f"{what}: {path} is a folder: choose a name that no folder has.")
        with tempfile.TemporaryFile(dir=path.parent, prefix=_hidden_prefix(path.name)):
            return
    except OSError as err:
        fault = f"cannot write into {path.parent} ({err.strerror or err})"
        raise UsageError(fault, place=f"{what}:", cure=f"choose {_cure(err)}") from None


def unused(path: Path, *suffixes: str) -> Path:
    """Return the first of NAME, NAME-1, NAME-2, ... that no file has: a file that exists is never written over.

    Args:
        path: the wanted name; a device or pipe is returned as it is
        suffixes: of files that are written beside it and must not exist either, as ".npz"
    """
    candidate, number = path, 0
    while any(map(_exists, (candidate, *(candidate.with_suffix(suffix) for suffix in suffixes)))):
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _exists(path: Path) -> bool:
    """Whether a name is taken, by a broken link too; a device or pipe takes what is written to it."""
    return os.path.lexists(path) and not (path.is_char_device() or path.is_fifo())


def sync(path: Path) -> None:
    """Wait until a file's contents, or a directory's entries, have reached the disk.

    Windows opens no directories; NTFS keeps a journal of their entries.
    """
    try:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
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
        reason = "it is a file" if isinstance(err, FileExistsError) else err.strerror or str(err)
        fault, cure = f"cannot write into {path} ({reason})", f"choose {_cure(err)}"
    raise UsageError(fault, place=f"{what}:", cure=cure)


def cache_dir() -> Path:
    """Return the folder of what is kept between commands: GZ_CACHE, or the system's cache folder (~/.cache/ganzoo).

    It holds weights of extractors, statistics of real images, and the index of installed plugins.
    """
    override = os.environ.get("GZ_CACHE")
    if override:
        return expand_user(override)
    try:
        folder = user_cache_path("ganzoo", appauthor=False)
    except RuntimeError:  # of newer platformdirs; older ones return a path that begins with ~
        return _cache_without_home()
    return folder if folder.is_absolute() else _cache_without_home()


def _cache_without_home() -> Path:
    """Return a cache folder in the system's temporary folder, which only this user may read and write.

    Raises UsageError where that name is another user's folder, whose contents are not to be trusted.
    """
    folder = Path(tempfile.gettempdir()) / f"ganzoo-cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = folder.lstat()
        own = stat.S_ISDIR(state.st_mode) and (not hasattr(os, "getuid") or state.st_uid == os.getuid())
    except OSError:
        own = False
    if own:
        return folder
    fault = "no home directory is known for a cache folder, and the temporary one cannot be used"
    raise UsageError(fault, place=f"{folder}:", cure="set GZ_CACHE to a folder of yours")


def quoted(path: str | Path) -> str:
    """Return a path as it is typed in a command: in quotes where it holds blanks or signs that mean something there."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def expand_user(path: str | Path) -> Path:
    """Return a path in which a leading ~ or ~name is the home directory of the user, or of the user of that name.

    Raises UsageError where no home directory is known, as in a container without HOME and passwd entry.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        whose = f"the user '{name[1:]}'" if name[1:] else "this user (HOME is not set)"
        cure = f"write the whole path, or ./{path} for a name that begins with ~"
        raise UsageError(f"no home directory is known for {whose}", place=f"{path}:", cure=cure) from None
