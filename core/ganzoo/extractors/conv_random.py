"""A convolutional network of fixed random weights: features without a download, for tests, smoke runs and comparisons.

Its weights are the same on every machine: they are bits of a counter-based generator, turned into numbers by exact
operations. What is measured through it is no FID, no LPIPS, no IS, and is never called so.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces import Extractor
from ganzoo.nn import random_convs
from ganzoo.nn.random_convs import WIDTHS, RandomConvs, counters, uniform
from ganzoo.types import Image, Maps

DENSE, CLASSES = 128, 32  # width of fc2 and of logits_unbiased
LEAST = 8  # pixels of a side, for the vectors
GRID = 16  # most rows and columns of a map in the output "lpips"


class ConvRandom(RandomConvs, Extractor, name="conv-random"):
    """Three convolutions with fixed random weights, for any number of channels; needs no file.

    It knows colours, edges and small textures, and nothing of what an image shows.

    Outputs: relu1 [N, 16, H, W], relu2 [N, 32, H // 2, W // 2], relu3 [N, 64, H // 4, W // 4], for images from 4x4;
    pool [N, 64], the last maps' means; fc2 [N, 128], from their means in quarters; logits_unbiased [N, 32]; lpips
    [N, D], the maps of all three layers with unit vectors, averaged to at most 16x16: for images from 8x8.
    """

    layers: ClassVar[tuple[str, ...]] = ("relu1", "relu2", "relu3")
    outputs: ClassVar[tuple[str, ...]] = (*layers, "pool", "fc2", "logits_unbiased", "lpips")

    def __init__(self, channels: int, /) -> None:
        bits = counters()
        super().__init__(channels, bits)
        self.register_buffer("dense", uniform(bits, DENSE, 4 * WIDTHS[-1]))
        self.register_buffer("classes", uniform(bits, CLASSES, WIDTHS[-1]))

    @classmethod
    def plan(cls, layer: str) -> tuple[int, ...]:
        """16, halve, 32, halve, 64: as far as the layer."""
        return (WIDTHS[0], 0, WIDTHS[1], 0, WIDTHS[2])[: 2 * cls.layers.index(layer) + 1]

    def least(self, outputs: Sequence[str]) -> int:
        """4 pixels for the maps, 8 for the vectors."""
        return LEAST if set(outputs) - set(self.layers) else random_convs.LEAST

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named outputs. Raises RecipeError, and DataError where the images are too small."""
        self.prepare(outputs)
        h, w = images.shape[2:]
        if min(h, w) < (least := self.least(outputs)):
            raise DataError(f"conv-random takes images of at least {least}x{least} pixels, not {w}x{h}.")
        maps = self.maps(images)
        features = dict(zip(self.layers, maps))
        pool = maps[-1].mean(dim=(2, 3))
        for name in set(outputs) - features.keys():
            features[name] = self._vector(name, maps, pool)
        return {name: features[name] for name in outputs}

    def _vector(self, name: str, maps: list[Maps], pool: Tensor) -> Tensor:
        if name == "fc2":
            quarters = F.adaptive_avg_pool2d(maps[-1], 2).flatten(1)
            return F.relu(F.linear(quarters, self.get_buffer("dense").to(pool.dtype)))
        if name == "logits_unbiased":
            return F.linear(pool, self.get_buffer("classes").to(pool.dtype))
        return pool if name == "pool" else torch.cat([_unit(x) for x in maps], dim=1)


def _unit(x: Maps) -> Tensor:
    """Maps with vectors of unit length, averaged to at most 16x16, each pixel times 1 / sqrt(H W): [N, C H W]."""
    unit = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)
    size = min(x.shape[2], GRID), min(x.shape[3], GRID)
    return F.adaptive_avg_pool2d(unit, size).flatten(1) / math.sqrt(math.prod(size))
