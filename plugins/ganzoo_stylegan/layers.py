"""StyleGAN's mapping network, noise inputs and AdaIN layer (arXiv:1812.04948, section 2 and appendix C)."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from pydantic import AfterValidator
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.component import Make
from ganzoo.nn.equal import ActLinear, Conv2d, Gain, Linear
from ganzoo.nn.norm import instance_norm, pixel_norm
from ganzoo.nn.resample import Taps, fir, upfirdn2d, upsample
from ganzoo.nn.stack import Stack
from ganzoo.types import Label, Latent, Maps, Size, Style

PAPER = "arXiv:1812.04948"


def _odd(taps: tuple[float, ...]) -> tuple[float, ...]:
    if len(taps) % 2 == 0:
        raise ValueError("a blur that keeps the size has an odd number of taps")
    return taps


OddTaps = Annotated[Taps, AfterValidator(_odd)]


class MLP(zoo.Mapping, name="mlp", paper=PAPER):
    """Mapping network: normalise, then dense layers with leaky ReLU and a small learning rate.

    Args:
        depth: number of layers
        lr_mul: learning rate multiplier of the layers
        gain: where the √2 of leaky ReLU sits: in the weight (StyleGAN) or after the activation (StyleGAN2)
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        labels: int,
        /,
        *,
        depth: Annotated[int, Ge(1)] = 8,
        lr_mul: Annotated[float, Gt(0)] = 0.01,
        gain: Gain = "weight",
    ) -> None:
        super().__init__()
        self.embed = Linear(labels, w_dim) if labels else None
        widths = [z_dim + (w_dim if labels else 0), *[w_dim] * depth]
        self.layers = Stack(ActLinear(a, b, gain=gain, lr_mul=lr_mul) for a, b in zip(widths, widths[1:]))

    def forward(self, z: Latent, label: Label = None) -> Style:
        """[N, Z] -> [N, W]; latent and embedded label are normalised apart, then joined."""
        x = pixel_norm(z)
        if self.embed is not None:
            assert label is not None
            x = torch.cat([x, pixel_norm(self.embed(label))], dim=1)
        for layer in self.layers:
            x = layer(x)
        return x


class PixelNoise(zoo.Noise, name="pixel_noise", paper=PAPER):
    """Gaussian noise, one value a pixel, times a learned strength (initially 0).

    Args:
        per: one strength for each "channel" (StyleGAN) or for the whole "layer" (StyleGAN2)
    """

    def __init__(self, channels: int, size: Size, /, *, per: Literal["channel", "layer"] = "channel") -> None:
        super().__init__()
        self.size = size
        self.strength = nn.Parameter(torch.zeros(channels if per == "channel" else 1, 1, 1))
        self.const: Tensor
        self.register_buffer("const", torch.randn(1, 1, *size))

    def forward(self, x: Maps) -> Maps:
        """x + strength * noise."""
        noise = self.draw(self, x)
        return x if noise is None else x + (noise * self.strength).to(x.dtype)


class AdaIN(zoo.Layer, name="adain", paper=PAPER):
    """Convolution, noise, bias, leaky ReLU; instance norm, then the style's scale and shift (Eq. 1).

    Where it doubles the size: nearest-neighbour upsampling, the convolution, a blur.

    Args:
        noise: before the bias
        blur: taps of the low-pass filter after an upsampling convolution
    """

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
        noise: Make[zoo.Noise] | None = PixelNoise,
        blur: OddTaps = (1, 2, 1),
    ) -> None:
        super().__init__()
        self.up, self.blur = up, blur
        self.conv = Conv2d(in_channels, out_channels, 3, gain=math.sqrt(2))
        self.noise = noise(out_channels, size) if noise else None
        self.style = Linear(w_dim, 2 * out_channels)

    def forward(self, x: Maps, w: Style) -> Maps:
        """Maps, Style -> Maps at the layer's size."""
        x = self.conv.convolve(upsample(x, (1, 1)) if self.up else x)
        if self.up:
            x = upfirdn2d(x, fir(self.blur, x), padding=(len(self.blur) // 2,) * 4)
        x = self.noise(x) if self.noise else x
        assert self.conv.bias is not None
        x = F.leaky_relu(x + self.conv.bias.to(x.dtype)[:, None, None], 0.2)
        scale, shift = self.style(w).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        return instance_norm(x) * (scale + 1) + shift
