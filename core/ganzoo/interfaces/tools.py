"""What measures a GAN: metrics, and the feature extractors that they share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ganzoo.component import Component
from ganzoo.interfaces.layers import Shape
from ganzoo.types import Image

Which = Literal["real", "fake"]


class Features(nn.Module, Component, kind="features"):
    """Image -> {name: Tensor}: a fixed network whose outputs metrics compare."""

    def forward(self, images: Image) -> dict[str, Tensor]:
        """Features of images."""
        raise NotImplementedError


class Metric(Component, ABC, kind="metric"):
    """(shape, seed, /)  Accumulates real and fake images, then computes. The algebra is a pure function beside it.

    Args:
        num: number of images of each set
    """

    features: ClassVar[tuple[str, ...]] = ()  # feature extractors it needs
    lower_is_better: ClassVar[bool] = True
    primary: ClassVar[str]  # which of the computed values ranks checkpoints

    options: Mapping[str, Any] = {}  # what the recipe says, for the record

    def __init__(self, shape: Shape, seed: int, /, *, num: int) -> None:
        self.shape, self.seed, self.num = shape, seed, num

    @abstractmethod
    def update(self, images: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W]. Their order, not how they are batched, may matter."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The values by name."""
