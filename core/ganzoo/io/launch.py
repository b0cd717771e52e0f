"""This process's place among those that were started together, by its environment, and its signals. Needs no torch."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STORE_FILE = "GZ_STORE_FILE"  # environment variable: the file through which the processes of `--gpus` meet
RESTART_COUNT = "GZ_RESTART_COUNT"  # environment variable: how often `--gpus` has started them anew


def is_distributed() -> bool:
    """Whether `gz train --gpus` or torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def processes() -> int:
    """Return how many processes train together, of which each computes its share of a batch."""
    return int(os.environ["WORLD_SIZE"]) if is_distributed() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and logs; known before the process group exists."""
    return not is_distributed() or os.environ["RANK"] == "0"


def restarts() -> int:
    """Return how often these processes have been started anew after a failure."""
    return int(os.environ.get(RESTART_COUNT) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect the numbers of SIGINT and SIGTERM within the block; a second signal has its usual effect.

    In one of several processes no later signal has its usual effect: an interrupt at a terminal reaches those twice,
    directly and through torchrun. In a thread that is not the main one, which Python gives no signals, none is
    collected.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def catch(number: int, _: object) -> None:
        caught.append(number)
        if not is_distributed():
            signal.signal(number, earlier[number])

    earlier: dict[int, Any] = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
