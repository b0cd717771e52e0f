"""Images pass from generator to discriminator at every resolution (arXiv:1903.06048, section 2)."""

import math
from typing import Any, Literal

import torch

from ganzoo import interfaces as zoo
from ganzoo.interfaces import LevelChannels, Stage
from ganzoo.nn.equal import Conv2d
from ganzoo.registry.component import Make
from ganzoo.types import Image, Maps, Plan, Pyramid, Styles

PAPER = "arXiv:1903.06048"
Combine = Literal["lin_cat", "simple", "cat_lin"]


class PyramidSynthesis(zoo.Synthesis, name="pyramid", paper=PAPER):
    """Returns the images of all resolutions (figure 2, left)."""

    emits = "pyramid"

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Return the images, coarse to fine."""
        return tuple(self.walk(ws, stage))


class LinearRGB(zoo.FromRGB, name="linear", paper=PAPER):
    """1x1 convolution without activation, with the gain √2 of the released code."""

    casts_weights = True
    samplewise = True

    def __init__(self, image_channels: int, channels: int, /) -> None:
        super().__init__()
        self.conv = Conv2d(image_channels, channels, 1, gain=math.sqrt(2))

    def forward(self, x: Image) -> Maps:
        """Turn an image into features: [N, image_channels, H, W] -> [N, C, H, W]."""
        return self.conv(x)


class PyramidTrunk(zoo.Trunk, name="pyramid", paper=PAPER):
    """Each resolution's image joins the features of the finer one (figure 2, right).

    Args:
        combine: φ of equations 4 to 6: "simple" appends the image to the features; "lin_cat" appends features of the
            image, half of the channels; "cat_lin" mixes features and image by a 1x1 convolution
    """

    casts_weights = True
    accepts = "pyramid"
    samplewise = True

    def __init__(
        self, *sizes: Any, from_rgb: Make[zoo.FromRGB] = LinearRGB, combine: Combine = "lin_cat", **options: Any
    ) -> None:
        self.combine = combine  # level_channels, which the base's constructor calls, reads it
        super().__init__(*sizes, from_rgb=from_rgb, **options)

    def level_channels(self, level: int, plan: Plan, image_channels: int) -> LevelChannels:
        """Channels at a level: the finest image starts the trunk, the coarser ones join its features."""
        channels = plan[level][1]
        if level == len(plan) - 1:
            return LevelChannels(image=(image_channels, channels), block=channels, merged=channels)
        if self.combine == "simple":
            return LevelChannels(image=None, block=channels, merged=channels + image_channels)
        if self.combine == "cat_lin":
            return LevelChannels(image=(channels + image_channels, channels), block=channels, merged=channels)
        half = channels // 2
        return LevelChannels(image=(image_channels, channels - half), block=half, merged=channels)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Compute features at the coarsest size."""
        x = self.from_image(images[-1], stage.level)
        for level in range(stage.level, 0, -1):
            x = self.joined(self.down(x, level), images[level - 1], level - 1)
        return x

    def joined(self, x: Maps, image: Image, level: int) -> Maps:
        """Concatenate image and features, in this order as in the released code."""
        if self.combine == "lin_cat":
            return torch.cat([self.from_image(image, level), x], dim=1)
        joined = torch.cat([image.to(x.dtype), x], dim=1)
        return joined if self.combine == "simple" else self.from_image(joined, level)
