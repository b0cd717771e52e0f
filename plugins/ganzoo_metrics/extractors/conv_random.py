"""A convolutional network of fixed random weights: features without a download, for tests, smoke runs and comparisons.

Its weights are the same on every machine: they are bits of a counter-based generator, turned into numbers by exact
operations. What is measured through it is no FID, no LPIPS, no IS, and is never called so.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces import Features
from ganzoo.io.hashes import fingerprint
from ganzoo.nn.random_convs import WIDTHS, RandomConvs, counters, uniform
from ganzoo.types import Maps

DENSE, CLASSES = 128, 32
LEAST = 8  # pixels of a side
GRID = 16  # most rows and columns of a map in the output "lpips"


class ConvRandom(RandomConvs, Features, name="conv-random"):
    """Three convolutions with fixed random weights, for any number of channels and any size from 8x8.

    Outputs: pool [N, 64], the last maps' means; fc2 [N, 128], from their means in quarters; logits_unbiased [N, 32];
    lpips [N, D], the maps of all three layers with unit vectors, averaged to at most 16x16.
    """

    taps: ClassVar[tuple[str, ...]] = ("pool", "fc2", "logits_unbiased", "lpips")

    def __init__(self, channels: int, /) -> None:
        bits = counters()
        super().__init__(channels, bits)
        self.register_buffer("dense", uniform(bits, DENSE, 4 * WIDTHS[-1]))
        self.register_buffer("classes", uniform(bits, CLASSES, WIDTHS[-1]))
        self.fingerprint = fingerprint(self)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images [N, C, H, W] with values 0 to 255. Raises DataError where they are smaller than 8x8."""
        h, w = images.shape[2:]
        if min(h, w) < LEAST:
            raise DataError(f"conv-random looks at images of at least {LEAST}x{LEAST} pixels, not {w}x{h}.")
        x = images if images.is_floating_point() else images.float()
        maps = self.maps(x / 127.5 - 1)
        pool = maps[-1].mean(dim=(2, 3))
        quarters = F.adaptive_avg_pool2d(maps[-1], 2).flatten(1)
        return {
            "pool": pool,
            "fc2": F.relu(F.linear(quarters, self.get_buffer("dense").to(x.dtype))),
            "logits_unbiased": F.linear(pool, self.get_buffer("classes").to(x.dtype)),
            "lpips": torch.cat([_unit(x) for x in maps], dim=1),
        }


def _unit(x: Maps) -> Tensor:
    """Maps with vectors of unit length, averaged to at most 16x16, each pixel times 1 / sqrt(H W): [N, C H W]."""
    unit = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)
    size = min(x.shape[2], GRID), min(x.shape[3], GRID)
    return F.adaptive_avg_pool2d(unit, size).flatten(1) / math.sqrt(math.prod(size))
