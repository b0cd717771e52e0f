"""TODO docstring."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganzoo.registry.component import Component


class Logger(Component, ABC, kind="logger"):
    """() A run's numbers and pictures, as they come, brought to another place than stats.jsonl.

    Raise PluginError from the constructor where a package is missing: before the training, not in it. Whatever a
    method raises later is said once, and the training goes on without the logger.
    """

    @abstractmethod
    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin, or go on.

        Args:
            folder: the run's directory
            recipe: the filled recipe
            resumed_at_kimg: where a run goes on; what was told of later than that is void. None for a new run
        """

    @abstractmethod
    def log(self, row: Mapping[str, Any]) -> None:
        """One row: "kimg", and numbers or groups of numbers by name, as in stats.jsonl."""

    @abstractmethod
    def picture(self, name: str, path: Path) -> None:
        """A PNG that the run has written, made at the kimg of the last row; `name` is the same for all of a series."""

    def close(self) -> None:
        """The run ends, however it ends."""
        return


def numbers(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """All numbers of a row but its kimg, by name; groups give "group/name", and those of "means" only their own."""
    return {name: value for name, value in _numbers(row, prefix) if name != "kimg"}


def _numbers(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, prefix if key == "means" else f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value
