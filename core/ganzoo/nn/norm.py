"""Normalisations without parameters; sums are taken in at least float32."""

from typing import Any

import torch
from torch import Tensor

from ganzoo.nn.precision import at_least_fp32
from ganzoo.types import Maps


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """x / sqrt(mean_c x² + eps): unit RMS over channels, axis 1 (arXiv:1710.10196, 4.2)."""
    return _Normalized.apply(x, (1,), False, eps)


def instance_norm(x: Maps, eps: float = 1e-8) -> Maps:
    """(x - mean) / sqrt(variance + eps) over each map; biased variance (arXiv:1812.04948, Eq. 1)."""
    return _Normalized.apply(x, (2, 3), True, eps)


def normalized(x: Tensor, dims: tuple[int, ...], centred: bool, eps: float) -> tuple[Tensor, Tensor]:
    """(x r, r) with r = 1 / sqrt(mean x² + eps) over `dims`; `centred` subtracts the mean of x first."""
    y = at_least_fp32(x)
    y = y - y.mean(dims, keepdim=True) if centred else y
    r = (y.square().mean(dims, keepdim=True) + eps).rsqrt()
    return ((y * r).to(x.dtype) if centred else x * r.to(x.dtype)), r


class _Normalized(torch.autograd.Function):
    """`normalized`, with a gradient that takes a third of the passes over memory of autograd's.

    With y = x r: dx = r (g - y mean(g y)), less r mean(g) if x was centred. If the gradient itself is to be
    differentiated, autograd differentiates `normalized` twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], centred: bool, eps: float) -> Tensor:
        """Normalise x, and keep x, y and r for the gradient."""
        y, r = normalized(x, dims, centred, eps)
        ctx.save_for_backward(x, y, r)
        ctx.options = dims, centred, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        """Return dx."""
        x, y, r = ctx.saved_tensors
        if torch.is_grad_enabled():
            (dx,) = torch.autograd.grad(normalized(x, *ctx.options)[0], x, g, create_graph=True)
            return dx, None, None, None
        dims, centred, _ = ctx.options
        if centred:  # in at least float32: rounding the mean would shift all pixels of a map by the same amount
            g, y = at_least_fp32(g), at_least_fp32(y)
            dx = g - g.mean(dims, keepdim=True)
            return (dx.addcmul_(y, (g * y).mean(dims, keepdim=True), value=-1) * r).to(x.dtype), None, None, None
        dx = g * r.to(g.dtype)
        dx.addcmul_(y, (at_least_fp32(g * y).mean(dims, keepdim=True) * r).to(g.dtype), value=-1)
        return dx, None, None, None


def group_size(batch: int, group: int | None) -> int:
    """Return the largest divisor of a batch up to `group`; the batch itself for None."""
    return next(size for size in range(min(group or batch, batch), 0, -1) if batch % size == 0)


def minibatch_std(x: Maps, group: int | None = 4, features: int = 1, eps: float = 1e-8) -> Maps:
    """Append `features` channels with each group's mean standard deviation (arXiv:1710.10196, section 3).

    Groups are strided: with M = N / group, samples m, m + M, m + 2M, ... form group m.

    Args:
        x: [N, C, H, W]
        group: largest group size; the largest divisor of N up to it is used. None takes the whole batch
        features: number of statistics, each over C / features channels
    """
    n, c, h, w = x.shape
    g = group_size(n, group)
    y = at_least_fp32(x).reshape(g, -1, features, c // features, h, w)  # [G M F c H W]
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + eps).sqrt()  # [M F c H W]
    y = y.mean(dim=[2, 3, 4])  # [M F]
    y = y.repeat(g, 1)[:, :, None, None].expand(n, features, h, w)
    return torch.cat([x, y.to(x.dtype)], dim=1)
