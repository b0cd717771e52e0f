"""Interruptions: a signal is noted, so that the work in hand can be finished and its state written."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ganzoo.io import launch


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect the numbers of SIGINT and SIGTERM within the block; a second signal has its usual effect.

    In one of several processes no later signal has its usual effect: an interrupt at a terminal reaches those twice,
    directly and through torchrun.
    """
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        caught.append(number)
        if not launch.is_distributed():
            signal.signal(number, earlier[number])

    earlier: dict[int, Any] = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
