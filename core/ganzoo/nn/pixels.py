"""Pixels as bytes and as numbers in [-1, 1]."""

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]: x / 127.5 - 1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8: trunc(clamp(x * 127.5 + 128, 0, 255)), the rounding of published metrics."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
