"""Files that are whole or not there, whatever interrupts their writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UMASK = os.umask(0o022)  # there is no way to ask but to set it
os.umask(UMASK)


@contextmanager
def whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """A temporary file that takes its name only when it is whole; else nothing stays, and an earlier file is kept.

    It gets the permissions of any new file; those that safetensors writes would be for their owner alone.

    Args:
        path: the name
        synced: wait until the disk has it, before the name and after it
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
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make sure a file, or a directory's entries, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
