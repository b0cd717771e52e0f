"""Random images in float64."""

import torch
from torch import Tensor


def pixels(*sizes: int, seed: int = 0) -> Tensor:
    return torch.rand(sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
