"""Fourier features, the first maps of StyleGAN3: plane waves that a style and the user move (arXiv:2106.12423)."""

import math
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.interfaces.layers import Styleable
from ganzoo.nn.equal import Linear
from ganzoo.types import Maps, Size, Style
from ganzoo_stylegan3.layer_table import Signal

PAPER = "arXiv:2106.12423"


class FourierFeatures(Styleable):
    """The first maps: plane waves within the first band, moved by the style and by the user (section 3.1).

    `transform`, [3, 3], is the inverse of the motion of the image, in homogeneous coordinates (x, y) in which the image
    has side 1 and its centre is the origin. It is a buffer; the identity at first.

    Args:
        w_dim: length of a style code
        signal: the band, size and channels
        size: (height, width) of the maps, where they are not square
    """

    casts_weights = True
    styled = True
    freqs: Tensor  # [C, 2] in cycles per side of the image
    phases: Tensor  # [C] in cycles
    transform: Tensor

    def __init__(self, w_dim: int, signal: Signal, size: Size | None = None) -> None:
        super().__init__()
        self.signal = signal
        self.size = size or (signal.size, signal.size)
        g = torch.randn(signal.channels, 2)
        length = g.square().sum(dim=1, keepdim=True).sqrt()
        self.register_buffer("freqs", g / length * (-length.square() / 4).exp() * signal.cutoff)  # uniform in the disc
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        self.affine = Linear(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # type: ignore[union-attr]

    def forward(self, w: Style) -> Maps:
        """Turn style codes [N, W] into maps [N, C, H, W], channels last."""
        freqs, phases = self.moved(w)
        s = self.signal
        damping = 1 - (torch.linalg.vector_norm(freqs, dim=2) - s.cutoff) / (s.rate / 2 - s.cutoff)
        y, x = (
            (torch.arange(n, dtype=freqs.dtype, device=freqs.device) + 0.5 - n / 2)[:, None] / s.rate for n in self.size
        )
        along_y, along_x = y * freqs[:, None, :, 1], x * freqs[:, None, :, 0]  # [N H C], [N W C]
        angle = along_y[:, :, None] + along_x[:, None] + phases[:, None, None]  # [N H W C]
        waves = (2 * math.pi * angle).sin() * damping.clamp(0, 1)[:, None, None]
        return (waves @ (self.weight.T / math.sqrt(s.channels))).permute(0, 3, 1, 2)

    def moved(self, w: Style) -> tuple[Tensor, Tensor]:
        """Frequencies [N, C, 2] and phases [N, C] after the style's motion and the user's."""
        motion = self.affine(w)
        motion = motion / motion[:, :2].norm(dim=1, keepdim=True)
        cos, sin, x, y = motion.unbind(dim=1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).unflatten(1, (3, 3))
        translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).unflatten(1, (3, 3))
        matrix = rotation @ translation @ self.transform  # [N 3 3]
        return self.freqs @ matrix[:, :2, :2], self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)

    def style_weight(self) -> Tensor:
        """Matrix of the affine layer, [4, W]."""
        return self.affine.weight * self.affine.scale


class FourierStem(zoo.Stem, name="fourier", paper=PAPER):
    """Fourier features as the start of any topology, in place of a constant: configuration B of the paper's ablation.

    The generator can then move its images, as far as the layers that follow carry the motion on. Distances are in units
    of the longer side.

    Args:
        cutoff: highest frequency drawn, as a share of the highest that the maps can hold; motions may raise it, and
            waves fade out between the two
    """

    casts_weights = True
    styled = True

    def __init__(
        self,
        w_dim: int,
        channels: int,
        size: Size,
        /,
        *,
        cutoff: Annotated[float, Interval(gt=0, lt=1)] = 0.75,
    ) -> None:
        super().__init__()
        highest = max(size) / 2
        band = Signal(max(size), cutoff * highest, (1 - cutoff) * highest, max(size), channels)
        self.features = FourierFeatures(w_dim, band, size)

    @property
    def transform(self) -> Tensor:
        """The user's transform of the Fourier features."""
        return self.features.transform

    def forward(self, w: Style) -> Maps:
        """Start the feature maps: [N, W] -> [N, C, H, W]."""
        maps: Maps = self.features(w)
        return maps

    def style_weight(self) -> Tensor:
        """Matrix of the affine layer, [4, W]."""
        return self.features.style_weight()
