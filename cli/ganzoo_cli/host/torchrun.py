"""`gz train --gpus N`: start torchrun, pass signals on, and return the exit code that the processes agree on."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ganzoo.io.launch import is_distributed, is_first

EXIT_FILE = "GZ_EXIT_FILE"  # environment variable: the file that processes write the training's exit code to
RESTARTS = 3  # how often torchrun starts all processes anew after one has died


def torchrun(processes: int, args: Sequence[str]) -> int:
    """Run `gz` with these arguments in several processes on this machine; return their exit code.

    They run in a session of their own, so that an interrupt at the terminal reaches each of them once: from here to
    torchrun, and from there to all.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "code"
        command = [sys.executable, "-m", "ganzoo_cli.host.torchrun", "--standalone", f"--nproc-per-node={processes}"]
        command += [f"--max-restarts={RESTARTS}", "-m", "ganzoo_cli", *args]
        env = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ, EXIT_FILE: str(file)}
        child = subprocess.Popen(command, env=env, start_new_session=True)
        passed_on: list[int] = []  # signals received

        def pass_on(number: int, _: object) -> None:
            if not passed_on:
                child.send_signal(signal.SIGTERM)
            passed_on.append(number)

        earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = child.wait()
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)
        return int(file.read_text()) if file.exists() else 130 if passed_on else min(abs(code), 1)


def agent(args: Sequence[str]) -> int:
    """Run torchrun with these arguments; its failures are printed as a sentence instead of a traceback."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(args))
    except SignalException as err:
        return 128 + int(err.sigval)
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        how = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        print(
            f"error: process {rank} ended with {how}, and so did what was started anew from the last state.",
            file=sys.stderr,
        )
        return 1
    return 0


def exit_code(err: BaseException, code: int) -> int:
    """Return the exit code of a process that ends with an error; the training's code is written to EXIT_FILE.

    An error that all processes raise is no reason for torchrun to start them anew: they return 0.
    """
    from ganzoo.errors import RankLost

    if not is_distributed() or isinstance(err, RankLost):
        return code
    if place := os.environ.get(EXIT_FILE):
        Path(place).write_text(str(code))
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    return 0 if getattr(err, "on_all_ranks", False) and restarts else code


def clear_exit_code() -> None:
    """Remove the exit code that an earlier start of this training left, since it has now come to its end."""
    if is_distributed() and is_first() and (place := os.environ.get(EXIT_FILE)):
        Path(place).unlink(missing_ok=True)


def attributed(err: BaseException, sentence: str) -> str:
    """Return what a process prints of an error: with its rank, or "" where the first process prints it for all."""
    if not is_distributed():
        return sentence
    if getattr(err, "on_all_ranks", False):
        return sentence if is_first() else ""
    return f"process {os.environ['RANK']}: {sentence}"


if __name__ == "__main__":
    sys.exit(agent(sys.argv[1:]))
