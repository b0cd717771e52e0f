"""What a run needs beside the networks: growth and data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ganzoo.component import Component
from ganzoo.interfaces.layers import Stage
from ganzoo.types import Logits, Pyramid, Size


class Growth(Component, ABC, kind="growth"):
    """(shape, /)  Images seen -> Stage. A pure function, so resuming needs no state of it."""

    @abstractmethod
    def stage(self, images: int) -> Stage:
        """Where growth stands after so many images."""

    def batch(self, stage: Stage, batch: int) -> int:
        """Batch size at a stage; `batch` is the recipe's."""
        return batch

    def lr(self, stage: Stage, lr: float) -> float:
        """Learning rate at a stage; `lr` is the recipe's."""
        return lr

    def resets_optimizer(self, before: Stage, after: Stage) -> bool:
        """Whether Adam's moments are forgotten between two consecutive stages."""
        return False


class Augment(nn.Module, Component, kind="augment"):
    """() Pyramid -> Pyramid, applied to whatever the discriminator sees. Differentiable, twice.

    What it keeps between steps (its strength, sums of what it observed) are floating-point buffers, changed in place:
    they are saved with a run's state, and averaged over processes before `adapt`.
    """

    def forward(self, images: Pyramid) -> Pyramid:
        """Augment images in [-1, 1]."""
        raise NotImplementedError

    def observe(self, real: Logits) -> None:
        """Take in D's logits [N, 1] on reals, of its loss and of its penalties."""

    def adapt(self, batch: int) -> None:
        """Called after every iteration, with the images of the whole batch: a controller moves its strength here."""

    def values(self) -> dict[str, float]:
        """What a status line says of it."""
        return {}


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
