"""StyleGAN's mapping network, noise inputs and AdaIN layer (arXiv:1812.04948, section 2 and appendix C)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo import interfaces as zoo
from ganzoo.nn.act import bias_act
from ganzoo.nn.equal import ActLinear, Conv2d, Gain, Linear
from ganzoo.nn.norm import instance_norm, pixel_norm
from ganzoo.nn.resample import OddTaps, blurred
from ganzoo.nn.stack import Stack
from ganzoo.registry.component import Make
from ganzoo.types import Count, Label, Latent, Maps, Positive, Size, Style

PAPER = "arXiv:1812.04948"


class MLP(zoo.Mapping, name="mlp", paper=PAPER):
    """Mapping network: normalisation, then dense layers with leaky ReLU and a small learning rate.

    Args:
        depth: number of layers
        width: features of the hidden layers; null for w_dim
        lr_mul: learning rate multiplier of the layers
        gain: where the √2 of leaky ReLU sits: in the weight (StyleGAN) or after the activation (StyleGAN2)
        embed: how a label joins the latent: "matrix" multiplies it by an unscaled matrix and normalises both together
            (the released code of StyleGAN), "linear" embeds it by a dense layer and normalises it separately
            (arXiv:2006.06676)
        embed_dim: length of an embedded label; null takes that of the latent (matrix) or of the style (linear)
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        labels: int,
        /,
        *,
        depth: Count = 8,
        width: Count | None = None,
        lr_mul: Positive = 0.01,
        gain: Gain = "weight",
        embed: Literal["linear", "matrix"] = "linear",
        embed_dim: Count | None = None,
    ) -> None:
        super().__init__()
        self.joint = embed == "matrix"  # latent and label are normalised together
        length = embed_dim or (z_dim if self.joint and z_dim else w_dim)
        bias, scale = (None, math.sqrt(labels)) if self.joint else (0.0, 1.0)
        self.embed = Linear(labels, length, bias=bias, gain=scale) if labels else None
        widths = [z_dim + (length if labels else 0), *[width or w_dim] * (depth - 1), w_dim]
        self.layers = Stack(ActLinear(a, b, gain=gain, lr_mul=lr_mul) for a, b in zip(widths, widths[1:]))

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Map latents to style codes: [N, Z] -> [N, W]; with Z = 0 the label alone is mapped."""
        x = self.joined(z, label)
        for layer in self.layers:
            x = layer(x)
        return x

    def joined(self, z: Latent, label: Label) -> Latent:
        """Normalise the latent and the embedded label: [N, Z + length of the label]."""
        if self.embed is None:
            return pixel_norm(z)
        assert label is not None
        if self.joint:
            return pixel_norm(torch.cat([z, self.embed(label)], dim=1))
        embedded = pixel_norm(self.embed(label))
        return torch.cat([pixel_norm(z), embedded], dim=1) if z.shape[1] else embedded


class PixelNoise(zoo.Noise, name="pixel_noise", paper=PAPER):
    """Gaussian noise, one value per pixel, times a learned strength (initially 0).

    Args:
        per: one strength for each "channel" (StyleGAN) or for the whole "layer" (StyleGAN2)
    """

    casts_weights = True

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


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm and style, after the constant and after each convolution (Eq. 1).

    Args:
        channels: channels of the maps
        w_dim: length of a style code
        size: (height, width) of the maps
        noise: added before the bias
        eps: added to the variances
    """

    def __init__(self, channels: int, w_dim: int, size: Size, noise: Make[zoo.Noise] | None, eps: float) -> None:
        super().__init__()
        self.noise = noise(channels, size) if noise else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = Linear(w_dim, 2 * channels)
        self.eps = eps

    def forward(self, x: Maps, w: Style) -> Maps:
        """(y_s + 1) * normalised maps + y_b."""
        x = self.noise(x) if self.noise else x
        x = bias_act(x, self.bias, "lrelu", gain=1)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift.to(x.dtype), instance_norm(x, self.eps), (scale + 1).to(x.dtype))

    def style_weight(self) -> Tensor:
        """Matrix from a style code to scales and shifts, [2 channels, W]."""
        return self.style.weight * self.style.scale


class AdaIN(zoo.Layer, name="adain", paper=PAPER):
    """Convolution, noise, bias, leaky ReLU; instance norm, then the style's scale and shift (Eq. 1).

    To double the size: nearest-neighbour upsampling, the convolution, a blur.

    Args:
        noise: added before the bias; null for none
        blur: taps of the low-pass filter after an upsampling convolution; null for none
        eps: added to the variances of the instance norm
    """

    casts_weights = True
    styled = True
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
        noise: Make[zoo.Noise] | None = PixelNoise,
        blur: OddTaps | None = (1, 2, 1),
        eps: Positive = 1e-8,
    ) -> None:
        super().__init__()
        self.up, self.blur = up, blur if up else None
        self.conv = Conv2d(in_channels, out_channels, 3, bias=False, gain=math.sqrt(2))
        self.epilogue = Epilogue(out_channels, w_dim, size, noise, eps)

    def forward(self, x: Maps, w: Style) -> Maps:
        """Convolve, double the size where `up`, then apply the epilogue."""
        x = self.conv.after_nearest(x) if self.up else self.conv.convolve(x)
        return self.epilogue(blurred(x, self.blur) if self.blur else x, w)

    def style_weight(self) -> Tensor:
        """Matrix from a style code to scales and shifts, [2 channels, W]."""
        return self.epilogue.style_weight()


class AdaINStem(zoo.Stem, name="adain", paper=PAPER):
    """A learned constant, initially 1, or a dense layer of the style; then noise, bias, leaky ReLU, AdaIN (figure 1b).

    Args:
        input: "constant", or "dense" as in the paper's configurations A to C
        noise: added before the bias; null for none
        eps: added to the variances of the instance norm
    """

    styled = True

    def __init__(
        self,
        w_dim: int,
        channels: int,
        size: Size,
        /,
        *,
        input: Literal["constant", "dense"] = "constant",
        noise: Make[zoo.Noise] | None = PixelNoise,
        eps: Positive = 1e-8,
    ) -> None:
        super().__init__()
        self.size = size
        pixels, constant = size[0] * size[1], input == "constant"
        self.const = nn.Parameter(torch.ones(1, channels, *size)) if constant else None
        self.dense = None if constant else Linear(w_dim, channels * pixels, bias=None, gain=math.sqrt(2 / pixels))
        self.epilogue = Epilogue(channels, w_dim, size, noise, eps)

    def forward(self, w: Style) -> Maps:
        """Start the feature maps: [N, W] -> [N, C, H, W]."""
        if self.dense is not None:
            return self.epilogue(self.dense(w).unflatten(1, (-1, *self.size)), w)
        assert self.const is not None
        return self.epilogue(self.const.expand(w.shape[0], -1, -1, -1), w)

    def style_weight(self) -> Tensor:
        """Matrix from a style code to scales and shifts, [2 channels, W]."""
        return self.epilogue.style_weight()
