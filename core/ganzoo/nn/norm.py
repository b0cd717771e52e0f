"""Normalisations without parameters. Sums run in at least float32."""

import torch
from torch import Tensor

from ganzoo.types import Maps


def wide(x: Tensor) -> Tensor:
    """At least float32: half precisions are widened, float64 stays."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """x / sqrt(mean_c x² + eps): unit RMS over channels, axis 1 (arXiv:1710.10196, 4.2)."""
    return x * (wide(x).square().mean(dim=1, keepdim=True) + eps).rsqrt().to(x.dtype)


def instance_norm(x: Maps, eps: float = 1e-8) -> Maps:
    """(x - mean) / sqrt(variance + eps) over each map; biased variance (arXiv:1812.04948, Eq. 1)."""
    y = wide(x)
    centred = y - y.mean(dim=[2, 3], keepdim=True)
    return (centred * (centred.square().mean(dim=[2, 3], keepdim=True) + eps).rsqrt()).to(x.dtype)


def minibatch_std(x: Maps, group: int | None = 4, features: int = 1, eps: float = 1e-8) -> Maps:
    """Append `features` channels that hold each group's mean standard deviation (arXiv:1710.10196, section 3).

    Groups are strided: with M = N / group, samples m, m + M, m + 2M, ... form group m.

    Args:
        x: [N, C, H, W]
        group: largest group size; the largest divisor of N up to it is used. None takes the whole batch.
        features: number of statistics, each over C / features channels
    """
    n, c, h, w = x.shape
    g = next(g for g in range(min(group or n, n), 0, -1) if n % g == 0)
    y = wide(x).reshape(g, -1, features, c // features, h, w)  # [G M F c H W]
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + eps).sqrt()  # [M F c H W]
    y = y.mean(dim=[2, 3, 4])  # [M F]
    y = y.repeat(g, 1)[:, :, None, None].expand(n, features, h, w)
    return torch.cat([x, y.to(x.dtype)], dim=1)
