"""Bias, activation, gain and clamp in one call (the order of arXiv:2006.06676's released networks)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"]

HALF_CLAMP = 256.0  # in float16, whose sums of many larger numbers overflow (arXiv:2006.06676's released networks)

# activation -> (function of x and the negative slope, default gain that keeps unit variance)
_ACTIVATIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
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


# those with gain * act(x) = act(gain * x), which can write their result over x
_IN_PLACE: dict[str, Callable[[Tensor, float], Tensor]] = {
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
    dim: int = 1,
    overwrite: bool = False,
) -> Tensor:
    """clamp(gain * act(x + bias)).

    Args:
        x: any shape
        bias: [x.shape[dim]]
        act: the activation
        alpha: slope of lrelu below zero
        gain: factor after the activation; None takes the activation's own (√2 for relu, lrelu and swish, else 1)
        clamp: limit of the absolute value, after the gain; None for none, and for 256 in float16
        dim: the axis of the bias
        overwrite: x is needed nowhere else, and its memory may hold the result
    """
    function, own_gain = _ACTIVATIONS[act]
    gain = own_gain if gain is None else gain
    if bias is not None:
        bias = bias.to(x.dtype).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    first = act in _IN_PLACE and gain > 0 and alpha >= 0  # the gain: one pass over memory less
    if first and gain != 1:
        x, overwrite = x * gain if bias is None else torch.add(bias * gain, x, alpha=gain), True
    elif bias is not None:
        x, overwrite = x + bias, True
    x = _IN_PLACE[act](x, alpha) if first and overwrite else function(x, alpha)
    if gain != 1 and not first:
        x = x * gain
    clamp = HALF_CLAMP if clamp is None and x.dtype == torch.float16 else clamp
    return x if clamp is None else x.clamp(-clamp, clamp)
