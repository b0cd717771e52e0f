"""Bias, activation, gain and clamp in one call, in the order of arXiv:2006.06676's released networks."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"]
Function = Callable[[Tensor, float], Tensor]  # of x and of the slope below zero

HALF_CLAMP = 256.0  # largest absolute value in float16, whose sums of many larger numbers overflow (arXiv:2006.06676)

# activation -> (function, default gain, which keeps the variance at one)
_ACTIVATIONS: dict[str, tuple[Function, float]] = {
    "linear": (lambda x, _: x, 1.0),
    "relu": (lambda x, _: F.relu(x), math.sqrt(2)),
    "lrelu": (F.leaky_relu, math.sqrt(2)),
    "tanh": (lambda x, _: torch.tanh(x), 1.0),
    "sigmoid": (lambda x, _: torch.sigmoid(x), 1.0),
    "elu": (lambda x, _: F.elu(x), 1.0),
    "selu": (lambda x, _: F.selu(x), 1.0),
    "softplus": (lambda x, _: F.softplus(x), 1.0),
    "swish": (lambda x, _: torch.sigmoid(x) * x, math.sqrt(2)),
}

# activations with act(gain * x) = gain * act(x) for every gain > 0, as functions that overwrite x
_HOMOGENEOUS: dict[str, Function] = {
    "linear": lambda x, _: x,
    "relu": lambda x, _: F.relu_(x),
    "lrelu": F.leaky_relu_,
}


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: Activation = "linear",
    *,
    alpha: float = 0.2,
    gain: float | None = None,
    clamp: float | None = None,
    overwrite: bool = False,
) -> Tensor:
    """clamp(gain * act(x + bias)).

    Args:
        x: [N, C, ...]
        bias: [C]
        act: the activation
        alpha: slope of lrelu below zero
        gain: factor after the activation; None takes the activation's own (√2 for relu, lrelu and swish, else 1)
        clamp: limit of the absolute value, after the gain; None for no limit, and for 256 in float16
        overwrite: x is needed nowhere else, and its memory may hold the result
    """
    function, default_gain = _ACTIVATIONS[act]
    gain = default_gain if gain is None else gain
    bias = None if bias is None else bias.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))
    clamp = HALF_CLAMP if clamp is None and x.dtype == torch.float16 else clamp
    if act in _HOMOGENEOUS and gain > 0 and alpha >= 0:
        y = _scaled_first(x, bias, act, alpha, gain, overwrite)
    else:
        y = function(x if bias is None else x + bias, alpha)
        y = y if gain == 1 else y * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def _scaled_first(x: Tensor, bias: Tensor | None, act: str, alpha: float, gain: float, overwrite: bool) -> Tensor:
    """act(gain * x + gain * bias), written over the sum: two passes over memory fewer than gain * act(x + bias)."""
    if gain != 1:
        x = x * gain if bias is None else torch.add(bias * gain, x, alpha=gain)
    elif bias is not None:
        x = x + bias
    elif not overwrite:
        return _ACTIVATIONS[act][0](x, alpha)
    return _HOMOGENEOUS[act](x, alpha)
