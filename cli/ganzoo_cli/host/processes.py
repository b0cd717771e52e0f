"""`gz train --gpus N`: N processes on this machine, started anew together from the last state when one of them dies.

Nothing listens beyond the loopback interface: the processes meet through a file, and the sockets of gloo and NCCL are
bound to `lo`. (torchrun, which several machines need, opens a store on every interface and unpickles what it is sent.)
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ganzoo.errors import RankLost
from ganzoo.io.launch import RESTART_COUNT, STORE_FILE, is_distributed, is_first
from ganzoo_cli.host.console import note

EXIT_FILE = "GZ_EXIT_FILE"  # environment variable: where processes leave the exit code of the whole training
ALL = "all"  # after the code: every process ends with it, so that there is no use in starting them anew
RESTARTS = 3  # after a process has died
POLL = 0.1  # seconds between two looks at the processes
GRACE = 30.0  # seconds that processes have to write their state and end
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def run_processes(count: int, args: Sequence[str]) -> int:
    """Run `gz` with these arguments in several processes on this machine; return the exit code of the training.

    They run in sessions of their own, so that an interrupt at the terminal reaches each of them once: through this
    process, which passes it on.
    """
    with tempfile.TemporaryDirectory(prefix="ganzoo-") as folder, _signals() as caught:
        exit_file = Path(folder) / "code"
        for restart in range(RESTARTS + 1):
            children = _start(count, args, Path(folder), restart, exit_file)
            failed = _wait(children, exit_file, caught)
            code, decided = _left_code(exit_file)
            if failed is None or decided or caught:
                return 0 if failed is None and code is None else 130 if code is None else code
            exit_file.unlink(missing_ok=True)
            how = f"process {failed} ended with {_how(children[failed])}"
            if restart < RESTARTS:
                note(f"{how}: all start anew from the last state.")
            else:
                note(f"error: {how}, and so did what was started anew from the last state.")
        return 1


def _start(
    count: int, args: Sequence[str], folder: Path, restart: int, exit_file: Path
) -> "list[subprocess.Popen[bytes]]":
    """Start all processes of a training; each restart meets at a file of its own."""
    shared = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
        **os.environ,
        "WORLD_SIZE": str(count),
        EXIT_FILE: str(exit_file),
        STORE_FILE: str(folder / f"store-{restart}"),
        RESTART_COUNT: str(restart),
    }
    command = [sys.executable, "-m", "ganzoo_cli", *args]
    return [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, start_new_session=True)
        for rank in range(count)
    ]


def _wait(children: "list[subprocess.Popen[bytes]]", exit_file: Path, caught: list[int]) -> int | None:
    """Wait until all processes have ended; return the rank of the first that failed, or None.

    After a failure or a signal the others are asked to end, and killed where they do not.
    """
    failed: int | None = None
    deadline: float | None = None
    while any(child.poll() is None for child in children):
        failed = _first_failed(children) if failed is None else failed
        if deadline is None and (caught or failed is not None):
            deadline = time.monotonic() + GRACE
            if caught or not _left_code(exit_file)[1]:  # what all end with, they end with by themselves
                _send(children, signal.SIGTERM)
        if deadline is not None and time.monotonic() > deadline:
            _send(children, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        time.sleep(POLL)
    return _first_failed(children) if failed is None else failed


def _first_failed(children: "list[subprocess.Popen[bytes]]") -> int | None:
    """The lowest rank that has ended with an error: one that a signal ended before one that merely lost it."""
    codes = {rank: child.returncode for rank, child in enumerate(children) if child.returncode}
    return min(codes, key=lambda rank: (codes[rank] > 0, rank)) if codes else None


def _send(children: "list[subprocess.Popen[bytes]]", number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _how(child: "subprocess.Popen[bytes]") -> str:
    """'SIGKILL', or 'exit code 3'."""
    code = child.returncode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _left_code(exit_file: Path) -> tuple[int | None, bool]:
    """The exit code that a process left, and whether all processes end with it."""
    words = exit_file.read_text(encoding="ascii").split() if exit_file.exists() else []
    return (int(words[0]), words[1:] == [ALL]) if words else (None, False)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM within the block, for `_wait` to pass on."""
    caught: list[int] = []

    def catch(number: int, frame: object) -> None:
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- what a process leaves for whoever started it ---------------------------------------------------------------------


def exit_code(err: BaseException, code: int) -> int:
    """Return the exit code of a process that ends with an error, and leave the training's own for who started it.

    An error that all processes raise is no reason for torchrun to start them anew: they return 0.
    """
    if not is_distributed() or isinstance(err, RankLost):
        return code
    on_all_ranks = getattr(err, "on_all_ranks", False)
    if place := os.environ.get(EXIT_FILE):
        Path(place).write_text(f"{code} {ALL if on_all_ranks else ''}", encoding="ascii")
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    return 0 if on_all_ranks and restarts else code


def clear_exit_code() -> None:
    """Forget what ended an earlier process of a training that has now come to its end."""
    if is_distributed() and is_first() and (place := os.environ.get(EXIT_FILE)):
        Path(place).unlink(missing_ok=True)


def attributed(err: BaseException, sentence: str) -> str:
    """Return the sentence as this process prints it: one that all raise from the first only, its own with its rank."""
    if not is_distributed():
        return sentence
    if getattr(err, "on_all_ranks", False):
        return sentence if is_first() else ""
    return f"process {os.environ['RANK']}: {sentence}"
