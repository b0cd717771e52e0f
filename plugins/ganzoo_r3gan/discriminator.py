"""R3GAN's discriminator, part by part (arXiv:2501.05441, section 3.3)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.nn.resample import Taps, downsample
from ganzoo.types import Count, Image, Label, Logits, Maps, Size
from ganzoo_r3gan.generator import linear
from ganzoo_r3gan.residual import FILTER, PAPER, Conv, PerLevel, residual_blocks, scale_by_depth


class LinearFromRGB(zoo.FromRGB, name="r3gan", paper=PAPER):
    """1x1 convolution without bias, activation or run-time scale."""

    casts_weights = True
    samplewise = True

    def __init__(self, image_channels: int, channels: int, /) -> None:
        super().__init__()
        self.conv = Conv(image_channels, channels)

    def forward(self, x: Image) -> Maps:
        """Turn an image into features: [N, image_channels, H, W] -> [N, C, H, W]."""
        return self.conv(x)


class ResidualDown(zoo.Down, name="r3gan", paper=PAPER):
    """Residual blocks, a filter that halves the size, then a 1x1 convolution where the channels change.

    Args:
        blocks: number of residual blocks, or {height: number}
        expansion: channels of a block's grouped convolution, as a multiple of its input's
        channels_per_group: of the grouped convolution, or {height: number}; the largest divisor of its channels up to
            this number is used
        resample_filter: taps of the low-pass filter
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
        blocks: PerLevel = 2,
        expansion: Count = 2,
        channels_per_group: PerLevel = 16,
        resample_filter: Taps = FILTER,
    ) -> None:
        super().__init__()
        self.blocks = residual_blocks(in_channels, size, blocks, expansion, channels_per_group)
        self.conv = None if in_channels == out_channels else Conv(in_channels, out_channels)
        self.resample_filter = resample_filter

    def forward(self, x: Maps) -> Maps:
        """Halve the size: [N, I, H, W] -> [N, O, H/2, W/2]."""
        x = downsample(self.blocks(x), self.resample_filter)
        return self.conv(x) if self.conv else x


class BasisHead(zoo.Head, name="r3gan", paper=PAPER):
    """Residual blocks, each channel's product with a learned map, a linear layer; a label by projection.

    Args:
        blocks: number of residual blocks, or {height: number}
        expansion: channels of a block's grouped convolution, as a multiple of its input's
        channels_per_group: of the grouped convolution, or {height: number}; the largest divisor of its channels up to
            this number is used
        cmap_dim: length of the vectors that features and label are mapped to; null for the number of channels
    """

    casts_weights = True
    uses_labels = True

    def __init__(
        self,
        channels: int,
        size: Size,
        labels: int,
        /,
        *,
        blocks: PerLevel = 2,
        expansion: Count = 2,
        channels_per_group: PerLevel = 16,
        cmap_dim: Count | None = None,
    ) -> None:
        super().__init__()
        outputs = (cmap_dim or channels) if labels else 1
        self.blocks = residual_blocks(channels, size, blocks, expansion, channels_per_group)
        self.basis = nn.Parameter(torch.randn(channels, *size) / math.sqrt(size[0] * size[1]))
        self.linear = linear(channels, outputs)
        self.embed = linear(labels, outputs, gain=1 / math.sqrt(outputs)) if labels else None

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """<features, embedded label>, [N, 1]; without labels the linear layer's single output."""
        features: Tensor = self.linear((self.blocks(x) * self.basis).sum(dim=[2, 3]))
        return features if self.embed is None else (features * self.embed(label)).sum(dim=1, keepdim=True)


class FixupDiscriminator(ComposedDiscriminator, name="fixup", paper=PAPER):
    """A composed discriminator whose R3GAN blocks are initialised for their number in the network (Fixup)."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        scale_by_depth(self)
