"""`gz train --gpus N`: starts torchrun, passes signals on, and gives back the exit code that the processes agree on."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ganzoo.io.launch import first, launched

EXIT_FILE = "GZ_EXIT_FILE"  # where processes leave the exit code of the whole training
RESTARTS = 3  # after a process has died


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
        passed_on: list[int] = []

        def pass_on(number: int, _: object) -> None:
            if not passed_on:
                child.send_signal(signal.SIGTERM)
            passed_on.append(number)

        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return int(file.read_text()) if file.exists() else 130 if passed_on else min(abs(code), 1)


def agent(args: Sequence[str]) -> int:
    """Be torchrun, with sentences for tracebacks."""
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
    """The exit code of a process that ends with an error; the training's own is left for whoever started it.

    What all processes end with together is no reason for torchrun to start them anew: they end as if all were well.
    """
    from ganzoo.errors import RankLost

    if not launched() or isinstance(err, RankLost):
        return code
    if place := os.environ.get(EXIT_FILE):
        Path(place).write_text(str(code))
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    return 0 if getattr(err, "on_all_ranks", False) and restarts else code


def clear_exit_code() -> None:
    """A process has come to the end of its training: what ended an earlier one no longer counts."""
    if launched() and first() and (place := os.environ.get(EXIT_FILE)):
        Path(place).unlink(missing_ok=True)


def told(err: BaseException, sentence: str) -> str:
    """What a process says of an error: what all meet, the first one says; what one meets, it says with its number."""
    if not launched():
        return sentence
    if getattr(err, "on_all_ranks", False):
        return sentence if first() else ""
    return f"process {os.environ['RANK']}: {sentence}"


if __name__ == "__main__":
    sys.exit(agent(sys.argv[1:]))
