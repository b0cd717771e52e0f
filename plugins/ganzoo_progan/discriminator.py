"""ProGAN's discriminator down to 4x4, part by part (arXiv:1710.10196, appendix A.1)."""

from typing import Any, Literal

import torch

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Stage
from ganzoo.nn.equal import ActConv2d, Gain
from ganzoo.nn.resample import OddTaps, Taps, blurred, downsample
from ganzoo.registry.component import Make
from ganzoo.types import Image, Maps, Pyramid, Size

PAPER = "arXiv:1710.10196"
FUSED_FROM = 128  # pixels: side from which the released networks resample within the convolution


class FromRGB(zoo.FromRGB, name="plain", paper=PAPER):
    """1x1 convolution, bias, leaky ReLU.

    Args:
        gain: where the √2 of leaky ReLU sits: in the weight (ProGAN, StyleGAN) or after the activation (StyleGAN2)
        clamp: limit of the absolute output; null for none
        equalized: scale the weight at run time (equalized learning rate, 4.1)
    """

    casts_weights = True
    samplewise = True

    def __init__(
        self,
        image_channels: int,
        channels: int,
        /,
        *,
        gain: Gain = "weight",
        clamp: float | None = None,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.conv = ActConv2d(image_channels, channels, 1, gain=gain, clamp=clamp, equalized=equalized)

    def forward(self, x: Image) -> Maps:
        """Turn an image into features: [N, image_channels, H, W] -> [N, C, H, W]."""
        return self.conv(x)


class PlainDown(zoo.Down, name="plain", paper=PAPER):
    """Two 3x3 convolutions with leaky ReLU, then the mean of 2x2 pixels.

    Args:
        gain: where the √2 of leaky ReLU sits
        blur: taps of a low-pass filter before the second convolution (arXiv:1812.04948, section 2); null for none
        fused: halve the size within the second convolution, which is faster and not the same function: the mean then
            comes before bias and activation, as in StyleGAN and in ProGAN's fused kernels. "auto" does so from 128x128
            on
        norm: of each convolution, before its bias; null for none
        equalized: scale the weights at run time (equalized learning rate, 4.1)
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
        gain: Gain = "weight",
        blur: OddTaps | None = None,
        fused: bool | Literal["auto"] = False,
        norm: Make[zoo.Norm] | None = None,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.blur, self.fused = blur, min(size) >= FUSED_FROM if fused == "auto" else fused
        down: Taps | None = (1, 1) if self.fused else None
        self.conv0 = ActConv2d(in_channels, in_channels, 3, gain=gain, equalized=equalized)
        self.conv1 = ActConv2d(in_channels, out_channels, 3, gain=gain, equalized=equalized, down=down)
        self.norm0 = norm(in_channels) if norm else None
        self.norm1 = norm(out_channels) if norm else None

    def forward(self, x: Maps) -> Maps:
        """Halve the size: [N, I, H, W] -> [N, O, H/2, W/2]."""
        x = self.conv0(x, self.norm0)
        x = self.conv1(blurred(x, self.blur) if self.blur else x, self.norm1)
        return x if self.fused else downsample(x, (1, 1))


class PlainTrunk(zoo.Trunk, name="plain", paper="arXiv:1912.04958"):
    """The image enters at the finest resolution only."""

    casts_weights = True
    rgb_at_every_level = False
    samplewise = True

    def __init__(self, *sizes: Any, from_rgb: Make[zoo.FromRGB] = FromRGB, **options: Any) -> None:
        super().__init__(*sizes, from_rgb=from_rgb, **options)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Compute features at the coarsest size."""
        x = self.from_image(images[-1], stage.level)
        for level in range(stage.level, 0, -1):
            x = self.down(x, level)
        return x


class ProgressiveTrunk(zoo.Trunk, name="progressive", paper=PAPER):
    """The newest block's features are cross-faded with those of the halved image (section 2, figure 2)."""

    casts_weights = True
    grows = True
    samplewise = True

    def __init__(
        self, *sizes: Any, down: Make[zoo.Down] = PlainDown, from_rgb: Make[zoo.FromRGB] = FromRGB, **options: Any
    ) -> None:
        super().__init__(*sizes, down=down, from_rgb=from_rgb, **options)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Compute features at the coarsest size."""
        x = self.from_image(images[-1], stage.level)
        for level in range(stage.level, 0, -1):
            x = self.down(x, level)
            if level == stage.level and stage.alpha < 1:
                x = torch.lerp(self.from_image(downsample(images[-1], (1, 1)), level - 1), x, stage.alpha)
        return x
