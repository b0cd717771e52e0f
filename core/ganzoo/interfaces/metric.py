"""TODO docstring."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganzoo.interfaces.extractor import Features
from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.registry.component import Component, Make
from ganzoo.types import Progress

Which = Literal["real", "fake"]


class Metric(Component, ABC, kind="metric"):
    """(shape, seed, /)  Accumulates real and fake images, then computes. The algebra is a pure function beside it.

    Args:
        num: number of generated images
    """

    lower_is_better: ClassVar[bool] = True
    paired: ClassVar[bool] = False  # whether both sets must be of one size
    cacheable: ClassVar[bool] = True  # whether state("real") is small enough to be kept for the next measurement
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # published name -> options that make it so
    primary: str  # which of the computed values ranks checkpoints

    options: Mapping[str, Any] = {}  # what the recipe says, for the record
    features: Make[Features] | None = None  # the network it looks through; None for the images themselves
    tap: str = ""  # which of the network's outputs

    def __init__(self, shape: Shape, seed: int, /, *, num: int, num_real: int | None = 0) -> None:
        """`num_real` is None for all real images there are; 0, if none are needed."""
        self.shape, self.seed, self.num, self.num_real = shape, seed, num, num_real

    def wanted(self, which: Which) -> int | None:
        """How many images of a set it takes in; None for all."""
        return self.num if which == "fake" else self.num_real

    @abstractmethod
    def update(self, batch: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W], or features [N, D]. Their order, not how they are batched, may matter."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The values by name."""

    @abstractmethod
    def state(self, which: Which) -> dict[str, Tensor]:
        """What was accumulated of a set: all that `merge` needs to go on from it."""

    @abstractmethod
    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add what another one accumulated of the images that follow."""


class GeneratorMetric(Metric):
    """A metric that asks the generator itself, in place of looking at images. Then `update` is never called."""

    rank: int = 0  # this process's share of the samples: rank :: world
    world: int = 1
    eye: Features | None = None  # the network it looks through, built; set before probe()

    @abstractmethod
    def probe(
        self, G: Generator, stage: Stage, device: torch.device, labels: Callable[[int, int], Tensor], progress: Progress
    ) -> None:
        """Draw from the generator, in evaluation mode; `labels(count, salt)` draws labels [N, K] of the data set."""

    def update(self, batch: Tensor, which: Which) -> None:
        """Nothing: it looks at no images of others."""
