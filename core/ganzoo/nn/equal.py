"""Equalized learning rate: weights of unit variance, scaled at run time (arXiv:1710.10196, section 4.1).

Adam's step does not depend on a parameter's scale, so layers learn equally fast only if all weights have the same
scale.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.nn.act import bias_act
from ganzoo.nn.resample import Taps, conv2d_down, conv2d_up
from ganzoo.types import Maps

# where the √2 of a layer with leaky ReLU sits: in the weight (ProGAN, StyleGAN) or after the activation (StyleGAN2)
Gain = Literal["weight", "activation"]


class Linear(nn.Module):
    """[N, fan_in] -> [N, fan_out], in float32.

    Args:
        fan_in: input features
        fan_out: output features
        bias: initial value of the bias; None for no bias
        gain: factor of the weight beside 1/√fan_in
        lr_mul: learning rate multiplier of weight and bias
        equalized: scale at run time; False scales the initial weight instead
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        *,
        bias: float | None = 0.0,
        gain: float = 1.0,
        lr_mul: float = 1.0,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        he = gain / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) * (1 if equalized else he) / lr_mul)
        self.bias = None if bias is None else nn.Parameter(torch.full([fan_out], float(bias)))
        self.scale, self.lr_mul = (he if equalized else 1) * lr_mul, lr_mul

    def forward(self, x: Tensor) -> Tensor:
        """x W^T scale + b lr_mul."""
        bias = self.bias if self.bias is None or self.lr_mul == 1 else self.bias * self.lr_mul
        return F.linear(x * self.scale, self.weight, bias)  # scaling x moves less memory than scaling the weight


class Conv2d(nn.Module):
    """[N, fan_in, H, W] -> [N, fan_out, H, W] in the precision of x; may double or halve the size.

    Args:
        fan_in: input channels
        fan_out: output channels
        kernel: side of the kernel; odd
        bias: add a bias, initially 0
        gain: factor of the weight beside 1/√(fan_in kernel²)
        up: taps of the filter; None does not upsample
        down: taps of the filter; None does not downsample
        equalized: scale at run time; False scales the initial weight instead
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        kernel: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        up: Taps | None = None,
        down: Taps | None = None,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        he = gain / math.sqrt(fan_in * kernel**2)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel) * (1 if equalized else he))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.scale, self.up, self.down = he if equalized else 1.0, up, down

    def convolve(self, x: Maps, bias: Tensor | None = None, gain: float = 1.0) -> Maps:
        """gain * (x convolved + bias)."""
        weight = (self.weight * (self.scale * gain)).to(x.dtype)
        if bias is not None:
            bias = (bias if gain == 1 else bias * gain).to(x.dtype)
        if self.up:
            return conv2d_up(x, weight, self.up, bias)
        if self.down:
            return conv2d_down(x, weight, self.down, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def after_nearest(self, x: Maps) -> Maps:
        """x doubled by nearest neighbours, then convolved, without the bias.

        A strided transposed convolution and a 2x2 box are the same function in a quarter of the multiplications.
        """
        weight = (self.weight * self.scale).to(x.dtype)
        return conv2d_up(x, weight.flip([2, 3]), (1, 1))

    def forward(self, x: Maps) -> Maps:
        """Convolve and add the bias."""
        return bias_act(self.convolve(x, self.bias), overwrite=True)


class ActConv2d(Conv2d):
    """Convolution, bias, leaky ReLU(0.2); other arguments as in Conv2d.

    Args:
        gain: what √2 multiplies, the weight or the activation
        clamp: limit of the absolute output; None for no limit
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        kernel: int,
        *,
        gain: Gain = "weight",
        clamp: float | None = None,
        down: Taps | None = None,
        equalized: bool = True,
    ) -> None:
        in_weight = math.sqrt(2) if gain == "weight" else 1.0
        super().__init__(fan_in, fan_out, kernel, gain=in_weight, down=down, equalized=equalized)
        self.act_gain = 1.0 if gain == "weight" else math.sqrt(2)
        self.clamp = clamp

    def forward(self, x: Maps, norm: nn.Module | None = None) -> Maps:
        """Convolve, normalise where there is a norm, add the bias, activate."""
        if norm:
            return bias_act(norm(self.convolve(x)), self.bias, "lrelu", gain=self.act_gain, clamp=self.clamp)
        x = self.convolve(x, self.bias, self.act_gain)  # the same before leaky ReLU as after it
        return bias_act(x, None, "lrelu", gain=1, clamp=self.clamp, overwrite=True)


class ActLinear(Linear):
    """Linear layer, bias, leaky ReLU(0.2); `gain` as in ActConv2d."""

    def __init__(
        self, fan_in: int, fan_out: int, *, gain: Gain = "weight", lr_mul: float = 1.0, equalized: bool = True
    ) -> None:
        in_weight = math.sqrt(2) if gain == "weight" else 1.0
        super().__init__(fan_in, fan_out, gain=in_weight, lr_mul=lr_mul, equalized=equalized)
        self.act_gain = 1.0 if gain == "weight" else math.sqrt(2)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, add the bias, activate."""
        return bias_act(super().forward(x), None, "lrelu", gain=self.act_gain, overwrite=True)
