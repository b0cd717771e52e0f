"""TODO docstring."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ganzoo.registry.component import Component
from ganzoo.types import Size


@dataclass(frozen=True)
class Finding:
    """What a check found odd about one file."""

    file: str
    problem: str
    fatal: bool  # training cannot use it


class Dataset(Component, ABC, kind="dataset"):
    """(size, channels, labels, /)  Index -> uint8 image [C, H, W] and its label [K].

    Reading must be safe from several threads.
    """

    size: Size
    channels: int
    labels: int
    needs_path: ClassVar[bool] = False
    fitted: Mapping[str, Any] = {}  # how images are brought to the size (filter and so on), for the record

    @classmethod
    def claims(cls, source: str) -> bool:
        """Whether `--data SOURCE` means this dataset (a folder, an archive, a registered name)."""
        return source == cls.name

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for run directories."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """One image as uint8 [C, H, W], in the size and channels it was built with.

        Raises DataError that names the file.
        """

    def label(self, index: int) -> NDArray[np.float32]:
        """The image's label as [K] floats; one-hot for classes."""
        return np.zeros(self.labels, np.float32)

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        """Read everything once and report what is unreadable or odd. Called before training.

        `progress(done, total)` is called now and then, from the calling thread.
        """
        return []

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when an image changes; in checkpoints and in every metric's provenance."""
