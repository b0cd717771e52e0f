"""TODO docstring."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ganzoo.io import launch


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM within the block; a second one acts at once.

    Not in one of several processes: an interrupt at a terminal reaches those twice, directly and through torchrun.
    """
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        caught.append(number)
        if not launch.launched():
            signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
