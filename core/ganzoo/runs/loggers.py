"""TODO docstring."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.interfaces.logger import Logger


class Loggers:
    """Several loggers as one. One that fails is said once and left out: no training ends by it."""

    def __init__(self, loggers: Sequence[Logger], say: Callable[[str], None]) -> None:
        self.loggers, self.say = list(loggers), say

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin, or go on."""
        self._each(lambda logger: logger.start(folder, recipe, resumed_at_kimg))

    def log(self, row: Mapping[str, Any]) -> None:
        """One row."""
        self._each(lambda logger: logger.log(row))

    def picture(self, name: str, path: Path) -> None:
        """A picture that the run has written."""
        self._each(lambda logger: logger.picture(name, path))

    def close(self) -> None:
        """The run ends."""
        self._each(lambda logger: logger.close())

    def _each(self, work: Callable[[Logger], None]) -> None:
        for logger in list(self.loggers):
            try:
                work(logger)
            except Exception as err:
                self.loggers.remove(logger)
                reason = " ".join(f"{type(err).__name__}: {err}".split()).rstrip(".")
                self.say(f"The logger '{logger.name}' failed ({reason}): training goes on without it.")
