"""Claims the norm 'pixel_norm', which ProGAN's plugin has, and brings one component of its own."""

import torch
from torch import Tensor

from ganzoo import hookimpl
from ganzoo.interfaces import Norm


class Halved(Norm, name="halved"):
    """x / 2."""

    def __init__(self, channels: int, /) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class PixelNorm(Norm, name="pixel_norm"):
    """Not the one you know: x / (1 + |x|), and it has a weight."""

    def __init__(self, channels: int, /) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (1 + x.abs())


@hookimpl
def ganzoo_components() -> list[type]:
    return [PixelNorm, Halved]
