"""Precision of feature maps: what is half, what stays float32, and how parameters of float32 meet half maps."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ganzoo.types import Maps

HALF = (torch.bfloat16, torch.float16)
HALF_LEVELS = 4  # number of the finest levels that run in float16


def at_least_fp32(x: Tensor) -> Tensor:
    """Bring half precisions to float32; float32 and float64 stay."""
    return x.float() if x.dtype in HALF else x


def channels_last(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Lay maps out channels last, as convolutions prefer, in `dtype`; None keeps theirs."""
    return x.to(dtype or x.dtype, memory_format=torch.channels_last)


def level_dtype(dtype: torch.dtype | None, level: int, levels: int) -> torch.dtype | None:
    """Precision of one level's maps, where `dtype` is the network's; level 0 is the coarsest of `levels`.

    float16 serves the four finest levels, and never the coarsest: it overflows easily, and coarse levels cost little
    (arXiv:2006.06676's released networks: sizes from max(finest / 8, 8) on).
    """
    return torch.float32 if dtype == torch.float16 and level < max(levels - HALF_LEVELS, 1) else dtype


def cast(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Bring maps to another precision; untouched where they have it, or where `dtype` is None."""
    return x if dtype in (None, x.dtype) else channels_last(x, dtype)


def autocast_for(dtype: torch.dtype, device: torch.device, casts_weights: bool) -> AbstractContextManager[Any] | None:
    """The autocast state in which a module runs whose maps are `dtype`; None where that state holds already.

    Half maps meet float32 parameters under torch.autocast, as in mixed-precision training; its cache of cast weights
    is off, since a graph for second derivatives may outlive it. Float32 maps, and modules that cast their weights
    themselves, run without autocast, also inside a module that runs under it.
    """
    if dtype in HALF and not casts_weights:
        return torch.autocast(device.type, dtype, cache_enabled=False)
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return None
    return torch.autocast(device.type, enabled=False)
