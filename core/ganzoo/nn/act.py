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


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: Activation = "linear",
    *,
    alpha: float = 0.2,
    gain: float | None = None,
    clamp: float | None = None,
    dim: int = 1,
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
    """
    function, own_gain = _ACTIVATIONS[act]
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    x = function(x, alpha)
    gain = own_gain if gain is None else gain
    if gain != 1:
        x = x * gain
    clamp = HALF_CLAMP if clamp is None and x.dtype == torch.float16 else clamp
    return x if clamp is None else x.clamp(-clamp, clamp)
