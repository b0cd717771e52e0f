"""Random images to augment, and whether drawn numbers fit a distribution."""

from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor


def images(n: int, channels: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, channels, *size)))


def fits(values: Tensor, distribution: Any) -> bool:
    return scipy.stats.kstest(values.numpy(), distribution.cdf).pvalue > 1e-3
