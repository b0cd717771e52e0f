"""TODO docstring."""

import torch
from torch import Tensor

from ganzoo.types import Maps


def at_least_fp32(x: Tensor) -> Tensor:
    """At least float32: half precisions are widened, float64 stays."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def channels_last(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Feature maps as the convolutions like them: channels last, in the working precision."""
    return x.to(dtype or x.dtype, memory_format=torch.channels_last)


HALF_LEVELS = 4  # the finest levels, which float16 is for


def level_dtype(dtype: torch.dtype | None, level: int, levels: int) -> torch.dtype | None:
    """The type of the feature maps of a level, where `dtype` is the network's.

    float16 serves the four finest levels, and never the coarsest: it overflows easily, and coarse levels cost little
    (arXiv:2006.06676's released networks: sizes from max(finest / 8, 8) on).
    """
    return torch.float32 if dtype == torch.float16 and level < max(levels - HALF_LEVELS, 1) else dtype


def cast(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Feature maps in another precision; untouched where they have it."""
    return x if dtype in (None, x.dtype) else channels_last(x, dtype)
