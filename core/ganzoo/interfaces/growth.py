"""TODO docstring."""

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
    """Where growth stands: the finest level in use, and the weight of its layers, in [0, 1]."""

    level: int
    alpha: float = 1.0


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
