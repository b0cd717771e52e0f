"""The lock of a run directory, which one training at a time may write to."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Self

from ganzoo.errors import ZooError

FILE = ".lock"  # in the run directory: {"host": name, "process": number} of the training that writes to it
FAR = 1 << 20  # byte that is locked on Windows, where locked bytes cannot be read


class RunLock:
    """The right to write to one run directory, held from `take` to the end of the `with` block.

    The operating system ends a lock with its process, however that dies. The file stays behind then, and whoever takes
    the lock next finds in it that an earlier training was killed.
    """

    def __init__(self) -> None:
        self._handle: int | None = None
        self._path = Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, folder: Path) -> str:
        """Lock a run directory; one that was held before is released.

        Returns:
            the owner of a lock that a killed training left behind, in words; "" where there was none

        Raises ZooError where another training holds it.
        """
        self.release()
        path = folder / FILE
        while True:
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as err:
                reason = err.strerror or str(err)
                cure = "make the run directory writable"
                raise ZooError(f"cannot be written to ({reason})", place=f"{folder}", cure=cure) from None
            if not _lock(handle):
                owner = _owner(handle)
                os.close(handle)
                raise ZooError(
                    f"another training writes to this run{f', {owner}' if owner else ''}",
                    place=f"{folder}:",
                    cure="wait until it has ended, or end it, and resume then",
                )
            if _is_same(handle, path):
                break
            os.close(handle)  # its owner has removed the file in the meantime
        left = _owner(handle)
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode())
        self._handle, self._path = handle, path
        return left

    def release(self) -> None:
        """Remove the lock, if it is held."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        if os.name == "nt":  # an open file cannot be removed there
            os.close(handle)
            self._path.unlink(missing_ok=True)
            return
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _is_same(handle: int, path: Path) -> bool:
    """Whether a path still names an open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _owner(handle: int) -> str:
    """'process 123 on HOST', as a lock file says; "" where it says nothing."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        record: Any = json.loads(os.read(handle, 1 << 16))
        return f"process {int(record['process'])} on {str(record['host'])!r}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _lock(handle: int) -> bool:
    """Lock an open file for this process; False where another has locked it.

    A file system or a Python without locks counts as free.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (OSError, ImportError):
        return True
    return True
