"""Several loggers as one, of which none can end a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.interfaces.logger import Logger


class Loggers:
    """Passes every call on to several loggers. One that raises an error is reported once and left out from then on.

    Args:
        loggers: those of the recipe
        say: takes a sentence for the log
    """

    def __init__(self, loggers: Sequence[Logger], say: Callable[[str], None]) -> None:
        self.loggers, self.say = list(loggers), say

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin a run in a directory, or continue it."""
        self._each(lambda logger: logger.start(folder, recipe, resumed_at_kimg))

    def log(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of a tick, or of a measurement."""
        self._each(lambda logger: logger.log(row))

    def picture(self, name: str, path: Path) -> None:
        """Log a picture that the run has written."""
        self._each(lambda logger: logger.picture(name, path))

    def close(self) -> None:
        """End the run."""
        self._each(lambda logger: logger.close())

    def _each(self, call: Callable[[Logger], None]) -> None:
        for logger in list(self.loggers):
            try:
                call(logger)
            except Exception as err:
                self.loggers.remove(logger)
                reason = " ".join(f"{type(err).__name__}: {err}".split()).rstrip(".")
                self.say(f"The logger '{logger.name}' failed ({reason}): training goes on without it.")
