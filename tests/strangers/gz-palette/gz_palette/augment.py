"""An augmentation whose slot takes a palette."""

from typing import Annotated

import torch
from annotated_types import Ge, Interval

from ganzoo import Make
from ganzoo import interfaces as zoo
from gz_palette.interfaces import Palette
from gz_palette.palettes import Poster


class Recolour(zoo.Augment, name="recolour"):
    """Each image is mixed with one colour of a palette.

    Args:
        palette: the colours
        colours: how many of them
        strength: share of the colour
    """

    def __init__(
        self,
        *,
        palette: Make[Palette] = Poster,
        colours: Annotated[int, Ge(1)] = 8,
        strength: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.palette, self.strength = palette(colours), strength

    def forward(self, images):
        colours = self.palette(images[-1].shape[1]).to(images[-1])
        drawn = colours[torch.randint(len(colours), (len(images[-1]),), device=colours.device)]
        return tuple(torch.lerp(x, drawn[:, :, None, None].expand_as(x), self.strength) for x in images)
