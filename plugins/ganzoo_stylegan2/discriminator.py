"""StyleGAN2's discriminators, part by part (arXiv:1912.04958, figure 7)."""

import math
from typing import Any

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Stage
from ganzoo.nn.equal import ActConv2d, Conv2d
from ganzoo.nn.resample import Taps, downsample
from ganzoo.registry.component import Make
from ganzoo.types import Maps, Plan, Positive, Pyramid, Size

PAPER = "arXiv:1912.04958"
FILTER: Taps = (1, 3, 3, 1)


class FilteredDown(zoo.Down, name="filtered", paper=PAPER):
    """3x3 convolution, then a low-pass filter and a strided 3x3 convolution, each with bias and leaky ReLU times √2.

    Args:
        resample_filter: taps of the low-pass filter
        clamp: limit of the absolute outputs; null for none
    """

    casts_weights = True
    samplewise = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Size,
        /,
        *,
        resample_filter: Taps = FILTER,
        clamp: Positive | None = None,
    ) -> None:
        super().__init__()
        self.conv0 = ActConv2d(in_channels, in_channels, 3, gain="activation", clamp=clamp)
        self.conv1 = ActConv2d(in_channels, out_channels, 3, gain="activation", clamp=clamp, down=resample_filter)

    def forward(self, x: Maps) -> Maps:
        """Halve the size: [N, I, H, W] -> [N, O, H/2, W/2]."""
        return self.conv1(self.conv0(x))


class ResidualDown(FilteredDown, name="residual", paper=PAPER):
    """The filtered block beside a downsampled 1x1 shortcut, their sum divided by √2 (figure 7c).

    Args:
        resample_filter: taps of the low-pass filters
    """

    casts_weights = True
    samplewise = True

    def __init__(
        self, in_channels: int, out_channels: int, size: Size, /, *, resample_filter: Taps = FILTER, **options: Any
    ) -> None:
        super().__init__(in_channels, out_channels, size, resample_filter=resample_filter, **options)
        self.shortcut = Conv2d(in_channels, out_channels, 1, bias=False, down=resample_filter)

    def forward(self, x: Maps) -> Maps:
        """(block(x) + shortcut(x)) / √2."""
        return (super().forward(x) + self.shortcut(x)) * math.sqrt(0.5)


class SkipTrunk(zoo.Trunk, name="skip", paper=PAPER):
    """Downsampled images enter at every resolution and are added to the features (figure 7b).

    Args:
        resample_filter: taps of the images' low-pass filter
        from_rgb_coarsest: image to features at the coarsest size; null uses from_rgb (arXiv:2006.06676's released
            networks never clamp the coarsest one)
    """

    casts_weights = True
    samplewise = True

    def __init__(
        self,
        plan: Plan,
        image_channels: int,
        /,
        *,
        down: Make[zoo.Down] = FilteredDown,
        resample_filter: Taps = FILTER,
        from_rgb_coarsest: Make[zoo.FromRGB] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(plan, image_channels, down=down, **options)
        self.resample_filter = resample_filter
        if from_rgb_coarsest:
            self.from_rgb["0"] = from_rgb_coarsest(image_channels, plan[0][1])

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Compute features at the coarsest size."""
        image = images[-1]
        x = self.from_image(image, stage.level)
        for level in range(stage.level, 0, -1):
            image = downsample(image, self.resample_filter)
            x = self.down(x, level) + self.from_image(image, level - 1)
        return x
