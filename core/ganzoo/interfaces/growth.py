"""Progressive growing: the family of image sizes, and where growth stands in it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ganzoo.errors import RecipeError
from ganzoo.registry.component import Component
from ganzoo.types import Plan, Size


@dataclass(frozen=True)
class Shape:
    """Image sizes coarse to fine, each twice the one before, and the number of image channels."""

    sizes: tuple[Size, ...]
    channels: int

    @property
    def size(self) -> Size:
        """(height, width) of the finest images."""
        return self.sizes[-1]

    def plan(self, channel_base: int, channel_max: int, channels: Sequence[int] | None = None) -> Plan:
        """[(size, channels)]: level l has min(channel_base / r, channel_max) channels, r = 4 * 2^l.

        Or those that `channels` lists, coarse to fine. Source of the rule: arXiv:1710.10196, table 2.
        """
        if channels is None:
            rule = [max(1, min(channel_base // (4 * 2**level), channel_max)) for level in range(len(self.sizes))]
        elif len(channels) != len(self.sizes):
            sizes = ", ".join(f"{w}x{h}" for h, w in self.sizes)
            raise RecipeError(
                f"channels: {list(channels)} names {len(channels)} levels, and the images have {len(self.sizes)} "
                f"({sizes}): list one number for each."
            )
        else:
            rule = list(channels)
        return list(zip(self.sizes, rule))


@dataclass(frozen=True)
class Stage:
    """A stage of growth: the finest level in use, and the weight of its layers, in [0, 1]."""

    level: int
    alpha: float = 1.0


class Growth(Component, ABC, kind="growth"):
    """A schedule of image sizes.

    Built with (shape, /). Number of images seen -> Stage. A pure function, so resuming needs no state of it.
    """

    def __init__(self, shape: Shape, /) -> None:
        self.shape = shape

    @abstractmethod
    def stage(self, images: int) -> Stage:
        """Return the stage after so many images. Levels never fall; alpha lies in [0, 1]."""

    def batch(self, stage: Stage, batch: int) -> int:
        """Return the batch size at a stage, at least 1; `batch` is the recipe's."""
        return batch

    def lr(self, stage: Stage, lr: float) -> float:
        """Return the learning rate at a stage, above 0; `lr` is the recipe's."""
        return lr

    def resets_optimizer(self, before: Stage, after: Stage) -> bool:
        """Whether Adam's moments are reset between two consecutive stages."""
        return False
