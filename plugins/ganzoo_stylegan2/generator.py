"""StyleGAN2's generator, part by part (arXiv:1912.04958, figures 2 and 7)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Stage
from ganzoo.nn.act import bias_act
from ganzoo.nn.equal import Conv2d, Linear
from ganzoo.nn.resample import Taps, upsample
from ganzoo.registry.component import Make
from ganzoo.types import Image, Maps, Positive, Pyramid, Size, Style, Styles
from ganzoo_stylegan2.modulation import modulated_conv2d

PAPER = "arXiv:1912.04958"
FILTER: Taps = (1, 3, 3, 1)


class Constant(zoo.Stem, name="constant", paper=PAPER):
    """A learned constant, drawn from N(0, 1), without a style."""

    styled = False

    def __init__(self, w_dim: int, channels: int, size: Size, /) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, channels, *size))

    def forward(self, w: Style) -> Maps:
        """Repeat the constant for each sample: [N, W] -> [N, C, H, W]."""
        return self.const.expand(w.shape[0], -1, -1, -1)


class ModConv(zoo.Layer, name="modconv", paper=PAPER):
    """Modulated 3x3 convolution, demodulated; noise, bias, leaky ReLU times √2.

    Args:
        noise: added before the bias
        demodulate: scale the modulated weights of each output channel to unit norm (Eq. 3)
        equalized: scale the weight by 1/√fan_in first, as the paper's released code does; before demodulation it
            changes the effect of epsilon only. Without demodulation it is always on
        resample_filter: taps of the filter when doubling the size
        clamp: limit of the absolute output; null for none
    """

    casts_weights = True
    styled = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: Size,
        up: bool,
        /,
        *,
        noise: Make[zoo.Noise] | None = None,
        demodulate: bool = True,
        equalized: bool = False,
        resample_filter: Taps = FILTER,
        clamp: Positive | None = None,
    ) -> None:
        super().__init__()
        self.affine = Linear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise = noise(out_channels, size) if noise else None
        self.demodulate, self.up, self.clamp = demodulate, resample_filter if up else None, clamp
        self.scale = 1 / math.sqrt(in_channels * 9) if equalized or not demodulate else 1.0

    def forward(self, x: Maps, w: Style) -> Maps:
        """Convolve, double the size where `up`, add noise and bias, activate."""
        weight = self.weight if self.scale == 1 else self.weight * self.scale
        x = modulated_conv2d(x, weight, self.affine(w), demodulate=self.demodulate, up=self.up)
        x = self.noise(x) if self.noise else x
        return bias_act(x, self.bias, "lrelu", clamp=self.clamp)

    def style_weight(self) -> Tensor:
        """Matrix of the affine layer, [in_channels, W]."""
        return self.affine.weight * self.affine.scale


class ModConvRGB(zoo.ToRGB, name="modconv", paper=PAPER):
    """Modulated 1x1 convolution without demodulation, then a bias.

    Args:
        clamp: limit of the absolute output; null for none
    """

    casts_weights = True
    styled = True

    def __init__(self, channels: int, w_dim: int, image_channels: int, /, *, clamp: Positive | None = None) -> None:
        super().__init__()
        self.affine = Linear(w_dim, channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.scale, self.clamp = 1 / math.sqrt(channels), clamp

    def forward(self, x: Maps, w: Style) -> Image:
        """Turn features into an image: [N, C, H, W] -> [N, image_channels, H, W]."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.scale, demodulate=False)
        return bias_act(x, self.bias, clamp=self.clamp)

    def style_weight(self) -> Tensor:
        """Matrix of the affine layer, [channels, W]."""
        return self.affine.weight * self.affine.scale * self.scale


class ResidualBlock(zoo.Block, name="residual", paper=PAPER):
    """Two layers and an upsampled 1x1 shortcut, their sum divided by √2 (figure 7c).

    Args:
        layer: convolution with noise, bias and activation
        resample_filter: taps of the shortcut's filter
    """

    casts_weights = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: Size,
        first: bool,
        /,
        *,
        layer: Make[zoo.Layer],
        resample_filter: Taps = FILTER,
    ) -> None:
        super().__init__()
        self.layers = zoo.block_layers(layer, in_channels, out_channels, w_dim, size, first)
        self.shortcut = None if first else Conv2d(in_channels, out_channels, 1, bias=False, up=resample_filter)
        self.num_ws = len(self.layers)

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """(layers(x) + shortcut(x)) / √2; the first block has no shortcut."""
        y = x
        for layer, w in zip(self.layers, ws.unbind(1)):
            y = layer(y, w)
        return y if self.shortcut is None else (y + self.shortcut(x)) * math.sqrt(0.5)


class SkipSynthesis(zoo.Synthesis, name="skip", paper=PAPER):
    """Each resolution's RGB image is added to the upsampled sum of the coarser ones (figure 7b).

    Args:
        resample_filter: taps of the images' filter
    """

    def __init__(self, *sizes: Any, resample_filter: Taps = FILTER, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.resample_filter = resample_filter

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Sum the images from coarse to fine."""
        image, *finer = self.walk(ws, stage)
        for rgb in finer:
            image = upsample(image, self.resample_filter) + rgb
        return (image,)
