"""ProGAN's generator, part by part (arXiv:1710.10196, appendix A.1)."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Stage
from ganzoo.nn.act import bias_act
from ganzoo.nn.equal import Conv2d, Linear
from ganzoo.nn.norm import pixel_norm
from ganzoo.nn.precision import at_least_fp32
from ganzoo.nn.resample import OddTaps, blurred, upsample
from ganzoo.registry.component import Make
from ganzoo.types import Image, Label, Latent, Maps, Positive, Pyramid, Size, Style, Styles

PAPER = "arXiv:1710.10196"
SLOPE = 0.2  # of leaky ReLU below zero
Slope = Annotated[float, Interval(ge=0, lt=1)]


class PixelNorm(zoo.Norm, name="pixel_norm", paper=PAPER):
    """Each pixel's feature vector is scaled to unit RMS (section 4.2)."""

    casts_weights = True
    samplewise = True

    def __init__(self, channels: int, /) -> None:
        super().__init__()

    def forward(self, x: Maps) -> Maps:
        """x / sqrt(mean_c x² + 1e-8)."""
        return pixel_norm(x)


class BatchNorm(zoo.Norm, name="batch_norm", paper="arXiv:1502.03167"):
    """Each channel is normalised over the batch, then has a learned scale and shift (algorithm 1)."""

    casts_weights = True

    def __init__(self, channels: int, /) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(channels)

    def forward(self, x: Maps) -> Maps:
        """Normalise by the batch's statistics in training, else by their moving averages."""
        y: Maps = self.norm(at_least_fp32(x))
        return y.to(x.dtype)


class LayerNorm(zoo.Norm, name="layer_norm", paper="arXiv:1607.06450"):
    """Each sample is normalised over all its features, then has a learned scale and shift per channel."""

    casts_weights = True
    samplewise = True

    def __init__(self, channels: int, /) -> None:
        super().__init__()
        self.norm = torch.nn.GroupNorm(1, channels)

    def forward(self, x: Maps) -> Maps:
        """Normalise each sample, in training and in evaluation alike."""
        y: Maps = self.norm(at_least_fp32(x))
        return y.to(x.dtype)


class Identity(zoo.Mapping, name="identity", paper="arXiv:1704.00028"):
    """The latent, with its label appended, is the style: no mapping network, no normalisation."""

    keeps_size = True

    def __init__(self, z_dim: int, w_dim: int, labels: int, /) -> None:
        super().__init__()

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Append the label: [N, Z] -> [N, Z + K]."""
        return z if label is None else torch.cat([z, label], dim=1)


class Normalize(zoo.Mapping, name="normalize", paper=PAPER):
    """The latent, with its label appended and normalised to the hypersphere, is the style: no mapping network.

    Args:
        twice: normalise the latent also before the label is appended (genforce's networks)
    """

    keeps_size = True  # the style is as long as the latent

    def __init__(self, z_dim: int, w_dim: int, labels: int, /, *, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Append the label, then normalise: [N, Z] -> [N, Z + K]."""
        z = pixel_norm(z) if self.twice else z
        return pixel_norm(z if label is None else torch.cat([z, label], dim=1))


class Dense(zoo.Stem, name="dense", paper=PAPER):
    """A dense layer turns the latent into the coarsest feature maps; bias, leaky ReLU, norm.

    Args:
        norm: normalisation after the activation; null for none
        norm_first: normalise before the bias instead (batch norm)
        gain: factor of the weight beside √2 / √(pixels w_dim)
        slope: of leaky ReLU below zero; 0 makes it ReLU
        equalized: scale the weight at run time (equalized learning rate, 4.1)
    """

    styled = True

    def __init__(
        self,
        w_dim: int,
        channels: int,
        size: Size,
        /,
        *,
        norm: Make[zoo.Norm] | None = PixelNorm,
        norm_first: bool = False,
        gain: Positive = 1.0,
        slope: Slope = SLOPE,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.slope, self.norm_first = size, slope, norm_first
        pixels = size[0] * size[1]
        he = gain * math.sqrt(2 / pixels)  # fan_in is pixels * w_dim, as of the paper's 4x4 convolution of a 1x1 map
        self.dense = Linear(w_dim, channels * pixels, bias=None, gain=he, equalized=equalized)
        self.bias = torch.nn.Parameter(torch.zeros(channels))
        self.norm = norm(channels) if norm else None

    def forward(self, w: Style) -> Maps:
        """Start the feature maps: [N, W] -> [N, C, H, W]."""
        x = self.dense(w).unflatten(1, (-1, *self.size))
        x = self.norm(x) if self.norm and self.norm_first else x
        x = F.leaky_relu(x + self.bias[:, None, None], self.slope)
        return self.norm(x) if self.norm and not self.norm_first else x


class Conv(zoo.Layer, name="conv", paper=PAPER):
    """Nearest-neighbour upsampling, 3x3 convolution, bias, leaky ReLU, norm; takes no style.

    Args:
        norm: normalisation after the activation; null for none
        norm_first: normalise before the bias instead (batch norm)
        blur: taps of a low-pass filter after an upsampling convolution (arXiv:1812.04948, section 2); null for none
        slope: of leaky ReLU below zero; 0 makes it ReLU
        equalized: scale the weight at run time (equalized learning rate, 4.1)
    """

    casts_weights = True
    styled = False
    retired = frozenset({"fused"})  # upsample within the convolution, which it always does now

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
        norm_first: bool = False,
        blur: OddTaps | None = None,
        slope: Slope = SLOPE,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.up, self.blur = up, blur if up else None
        self.slope, self.norm_first = slope, norm_first
        self.conv = Conv2d(in_channels, out_channels, 3, gain=math.sqrt(2), equalized=equalized)
        self.norm = norm(out_channels) if norm else None

    def forward(self, x: Maps, w: Style) -> Maps:
        """Convolve, double the size where `up`, add the bias, activate, normalise."""
        x = self.conv.after_nearest(x) if self.up else self.conv.convolve(x)
        x = blurred(x, self.blur) if self.blur else x
        x = self.norm(x) if self.norm and self.norm_first else x
        x = bias_act(x, self.conv.bias, "lrelu", alpha=self.slope, gain=1)
        return self.norm(x) if self.norm and not self.norm_first else x


class ConvRGB(zoo.ToRGB, name="conv", paper=PAPER):
    """1x1 convolution without activation.

    Args:
        gain: factor of the weight beside 1/√channels
        equalized: scale the weight at run time (equalized learning rate, 4.1)
    """

    casts_weights = True
    styled = False

    def __init__(
        self, channels: int, w_dim: int, image_channels: int, /, *, gain: Positive = 1.0, equalized: bool = True
    ) -> None:
        super().__init__()
        self.conv = Conv2d(channels, image_channels, 1, gain=gain, equalized=equalized)

    def forward(self, x: Maps, w: Style) -> Image:
        """Turn features into an image: [N, C, H, W] -> [N, image_channels, H, W]."""
        return self.conv(x)


class PlainBlock(zoo.Block, name="plain", paper=PAPER):
    """Two layers, of which the first one doubles the size; the first block has one layer.

    Args:
        layer: convolution with norm, noise, bias and activation
    """

    casts_weights = True

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, size: Size, first: bool, /, *, layer: Make[zoo.Layer]
    ) -> None:
        super().__init__()
        self.layers = zoo.block_layers(layer, in_channels, out_channels, w_dim, size, first)
        self.num_ws = len(self.layers)

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """Apply the layers, each with its own style code."""
        for layer, w in zip(self.layers, ws.unbind(1)):
            x = layer(x, w)
        return x


class LastSynthesis(zoo.Synthesis, name="last", paper="arXiv:1912.04958"):
    """Only the finest resolution has an RGB head (arXiv:1912.04958, figure 7a without its skips)."""

    rgb_at_every_level = False

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Return the finest image alone."""
        return tuple(self.walk(ws, stage))


class ProgressiveSynthesis(zoo.Synthesis, name="progressive", paper=PAPER):
    """The two finest images in use are cross-faded by the stage's alpha (section 2, figure 2)."""

    grows = True

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """lerp(upsampled coarser image, finest image, alpha)."""
        fading = stage.alpha < 1
        *coarser, image = self.walk(ws, stage, first=stage.level - fading)
        if coarser and fading:
            image = torch.lerp(upsample(coarser[-1], (1, 1)), image, stage.alpha)
        return (image,)
