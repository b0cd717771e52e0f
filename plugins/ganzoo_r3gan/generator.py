"""R3GAN's generator, part by part (arXiv:2501.05441, section 3.3)."""

from typing import Any

import torch
from torch import nn

from ganzoo import interfaces as zoo
from ganzoo.gan.generator import ComposedGenerator
from ganzoo.nn.equal import Linear
from ganzoo.nn.resample import Taps, upsample
from ganzoo.registry.component import Make
from ganzoo.types import Count, Image, Label, Latent, Maps, Size, Style, Styles
from ganzoo_r3gan.residual import FILTER, PAPER, Conv, PerLevel, at_level, residual_blocks, scale_by_depth


def linear(fan_in: int, fan_out: int, gain: float = 1.0) -> Linear:
    """Build a linear layer without bias; weights begin as N(0, gain² / fan_in), nothing is scaled at run time."""
    return Linear(fan_in, fan_out, bias=None, gain=gain, equalized=False)


class LabelEmbedding(zoo.Mapping, name="label_embedding", paper=PAPER):
    """The latent beside a linear embedding of its label is the style: no mapping network.

    A linear layer without bias follows where w_dim is not z_dim + embed_dim, or z_dim without labels.

    Args:
        embed_dim: length of the label's embedding
    """

    def __init__(self, z_dim: int, w_dim: int, labels: int, /, *, embed_dim: Count = 64) -> None:
        super().__init__()
        self.embed = linear(labels, embed_dim) if labels else None
        length = z_dim + embed_dim * bool(labels)
        self.project = None if length == w_dim else linear(length, w_dim)

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Append the embedded label: [N, Z] -> [N, W]."""
        w = z if self.embed is None else torch.cat([z, self.embed(label)], dim=1)
        return w if self.project is None else self.project(w)


class Basis(zoo.Stem, name="basis", paper=PAPER):
    """A learned map a channel, drawn from N(0, 1), times a linear function of the style."""

    styled = True

    def __init__(self, w_dim: int, channels: int, size: Size, /) -> None:
        super().__init__()
        self.linear = linear(w_dim, channels)
        self.basis = nn.Parameter(torch.randn(channels, *size))

    def forward(self, w: Style) -> Maps:
        """Start the feature maps: [N, W] -> [N, C, H, W]."""
        return self.linear(w)[:, :, None, None] * self.basis


class ResidualLayer(zoo.Layer, name="r3gan", paper=PAPER):
    """1x1 convolution where the channels change, a filter where the size doubles, then a residual block; no style.

    Args:
        expansion: channels of the block's grouped convolution, as a multiple of the layer's
        channels_per_group: of the grouped convolution, or {height: number}; the largest divisor of its channels up to
            this number is used
        resample_filter: taps of the filter when doubling the size
    """

    casts_weights = True
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
        expansion: Count = 2,
        channels_per_group: PerLevel = 16,
        resample_filter: Taps = FILTER,
    ) -> None:
        super().__init__()
        self.conv = None if in_channels == out_channels else Conv(in_channels, out_channels)
        self.up = resample_filter if up else None
        self.blocks = residual_blocks(out_channels, size, 1, expansion, channels_per_group)

    def forward(self, x: Maps, w: Style) -> Maps:
        """Change the channels, double the size where `up`, add the block's output."""
        x = self.conv(x) if self.conv else x
        return self.blocks(upsample(x, self.up) if self.up else x)


class Stack(zoo.Block, name="stack", paper=PAPER):
    """Any number of layers, of which the first one doubles the size, unless the block is the first.

    Args:
        layer: convolution with everything around it
        layers: number of layers, or {height: number}
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
        layers: PerLevel = 2,
    ) -> None:
        super().__init__()
        self.num_ws = at_level(layers, size, "layers")
        inputs = [(in_channels, not first)] + [(out_channels, False)] * (self.num_ws - 1)
        self.layers = nn.ModuleList(layer(channels, out_channels, w_dim, size, up) for channels, up in inputs)

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """Apply the layers, each with its own style code."""
        for layer, w in zip(self.layers, ws.unbind(1)):
            x = layer(x, w)
        return x


class LinearRGB(zoo.ToRGB, name="r3gan", paper=PAPER):
    """1x1 convolution without bias or run-time scale."""

    casts_weights = True
    styled = False

    def __init__(self, channels: int, w_dim: int, image_channels: int, /) -> None:
        super().__init__()
        self.conv = Conv(channels, image_channels)

    def forward(self, x: Maps, w: Style) -> Image:
        """Turn features into an image: [N, C, H, W] -> [N, image_channels, H, W]."""
        return self.conv(x)


class FixupGenerator(ComposedGenerator, name="fixup", paper=PAPER):
    """A composed generator whose R3GAN layers are initialised for their number in the network (Fixup)."""

    def __init__(
        self,
        *sizes: Any,
        mapping: Make[zoo.Mapping] = LabelEmbedding,
        z_dim: Count = 64,
        w_dim: Count = 64,
        **options: Any,
    ) -> None:
        super().__init__(*sizes, mapping=mapping, z_dim=z_dim, w_dim=w_dim, **options)
        scale_by_depth(self)
