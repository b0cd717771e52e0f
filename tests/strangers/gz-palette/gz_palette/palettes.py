"""Palettes."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from gz_palette.interfaces import Palette


class Ramp(Palette, name="ramp"):
    """Grays in even steps.

    Args:
        dark: the first one
        light: the last one
    """

    def __init__(
        self,
        count: int,
        /,
        *,
        dark: Annotated[float, Interval(ge=-1, le=1)] = -1.0,
        light: Annotated[float, Interval(ge=-1, le=1)] = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("steps", torch.linspace(dark, light, count))

    def forward(self, channels: int) -> Tensor:
        return self.steps[:, None].expand(-1, channels)


class Poster(Palette, name="poster"):
    """Corners of the colour cube, in binary order."""

    def __init__(self, count: int, /) -> None:
        super().__init__()
        self.count = count

    def forward(self, channels: int) -> Tensor:
        bits = torch.arange(self.count)[:, None] >> torch.arange(channels) & 1
        return bits * 2.0 - 1.0
