"""Loggers: where a run's numbers and pictures go beside its own files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganzoo.registry.component import Component


class Logger(Component, ABC, kind="logger"):
    """A receiver of a run's numbers and pictures, as they come.

    Built with (). A subclass defines `log`. Raise PluginError from the constructor where a package is missing: before
    the training, not in it. An error that a method raises later is reported once, and the training goes on without the
    logger. All methods are called in the first process alone.
    """

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin a run, or continue one.

        Args:
            folder: the run's directory
            recipe: the filled recipe
            resumed_at_kimg: where a run continues; rows that were logged beyond it are void. None for a new run
        """
        return

    @abstractmethod
    def log(self, row: Mapping[str, Any]) -> None:
        """Take one row: "kimg", and numbers or groups of numbers by name, as in stats.jsonl."""

    def picture(self, name: str, path: Path) -> None:
        """Take a PNG that the run has written at the kimg of the last row; `name` is the same for all of a series."""
        return

    def close(self) -> None:
        """End the run, however it ends."""
        return


def numbers(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return a row's numbers but its kimg, by name: "group/name" within a group, the plain name within "means"."""
    return {name: value for name, value in _numbers(row, prefix) if name != "kimg"}


def _numbers(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, prefix if key == "means" else f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value
