"""ProGAN's generator, part by part (arXiv:1710.10196, appendix A.1)."""

import math

import torch
import torch.nn.functional as F

from ganzoo import interfaces as zoo
from ganzoo.component import Make
from ganzoo.interfaces import Stage
from ganzoo.nn.equal import Conv2d, Linear
from ganzoo.nn.norm import pixel_norm
from ganzoo.nn.resample import upsample
from ganzoo.types import Image, Label, Latent, Maps, Pyramid, Size, Style, Styles

PAPER = "arXiv:1710.10196"
SLOPE = 0.2


class PixelNorm(zoo.Norm, name="pixel_norm", paper=PAPER):
    """Feature vectors to unit RMS, pixel by pixel (4.2)."""

    def __init__(self, channels: int, /) -> None:
        super().__init__()

    def forward(self, x: Maps) -> Maps:
        """x / sqrt(mean_c x² + 1e-8)."""
        return pixel_norm(x)


class Normalize(zoo.Mapping, name="normalize", paper=PAPER):
    """No mapping network: the latent (with its label appended) on the hypersphere is the style."""

    keeps_size = True  # the style is as long as the latent

    def __init__(self, z_dim: int, w_dim: int, labels: int, /) -> None:
        super().__init__()

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Append the label, then normalise once."""
        return pixel_norm(z if label is None or not label.shape[1] else torch.cat([z, label], dim=1))


class Dense(zoo.Stem, name="dense", paper=PAPER):
    """A dense layer from the latent to the coarsest feature maps; bias, leaky ReLU, norm.

    Args:
        norm: after the activation
    """

    styled = True

    def __init__(self, w_dim: int, channels: int, size: Size, /, *, norm: Make[zoo.Norm] | None = PixelNorm) -> None:
        super().__init__()
        self.size = size
        # He's constant of the 4x4 transposed convolution that this once was: fan_in is pixels * w_dim.
        self.dense = Linear(w_dim, channels * size[0] * size[1], bias=None, gain=math.sqrt(2 / (size[0] * size[1])))
        self.bias = torch.nn.Parameter(torch.zeros(channels))
        self.norm = norm(channels) if norm else None

    def forward(self, w: Style) -> Maps:
        """[N, W] -> [N, C, H, W]."""
        x = self.dense(w).unflatten(1, (-1, *self.size)) + self.bias[:, None, None]
        x = F.leaky_relu(x, SLOPE)
        return self.norm(x) if self.norm else x


class Conv(zoo.Layer, name="conv", paper=PAPER):
    """Nearest-neighbour upsampling, 3x3 convolution, bias, leaky ReLU, norm. No style enters.

    Args:
        norm: after the activation
    """

    styled = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: Size,
        up: bool,
        /,
        *,
        norm: Make[zoo.Norm] | None = PixelNorm,
    ) -> None:
        super().__init__()
        self.up = up
        self.conv = Conv2d(in_channels, out_channels, 3, gain=math.sqrt(2))
        self.norm = norm(out_channels) if norm else None

    def forward(self, x: Maps, w: Style) -> Maps:
        """Maps -> Maps at the layer's size."""
        x = F.leaky_relu(self.conv(upsample(x, (1, 1)) if self.up else x), SLOPE)
        return self.norm(x) if self.norm else x


class ConvRGB(zoo.ToRGB, name="conv", paper=PAPER):
    """1x1 convolution without activation."""

    styled = False

    def __init__(self, channels: int, w_dim: int, image_channels: int, /) -> None:
        super().__init__()
        self.conv = Conv2d(channels, image_channels, 1)

    def forward(self, x: Maps, w: Style) -> Image:
        """Maps -> Image."""
        return self.conv(x)


class PlainBlock(zoo.Block, name="plain", paper=PAPER):
    """Two layers, the first one doubling the size; a single layer in the first block.

    Args:
        layer: a convolution with everything around it
    """

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, size: Size, first: bool, /, *, layer: Make[zoo.Layer]
    ) -> None:
        super().__init__()
        self.layers = zoo.block_layers(layer, in_channels, out_channels, w_dim, size, first)
        self.num_ws = len(self.layers)

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """Run the layers, each with its own style."""
        for layer, w in zip(self.layers, ws.unbind(1)):
            x = layer(x, w)
        return x


class LastSynthesis(zoo.Synthesis, name="last", paper="arXiv:1912.04958"):
    """Only the finest resolution has an RGB head (arXiv:1912.04958, figure 7a without its skips)."""

    rgb_at_every_level = False

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """The finest image."""
        return tuple(self.walk(ws, stage))


class ProgressiveSynthesis(zoo.Synthesis, name="progressive", paper=PAPER):
    """The two finest images in use are cross-faded by the stage's alpha (section 2, figure 2)."""

    grows = True

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """lerp(upsampled coarser image, finest image, alpha)."""
        *coarser, image = self.walk(ws, stage)
        if coarser and stage.alpha < 1:
            image = torch.lerp(upsample(coarser[-1], (1, 1)), image, stage.alpha)
        return (image,)
