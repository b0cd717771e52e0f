"""Convolutions of fixed random weights: features that need no file.

The weights are the same on every machine: they are bits of a counter-based generator, turned into numbers by exact
operations.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.errors import DataError
from ganzoo.types import Maps

KEY = 0x67616E7A6F6F  # "ganzoo"
WIDTHS = (16, 32, 64)
LEAST = 2 ** (len(WIDTHS) - 1)  # pixels of a side


def counters() -> np.random.Philox:
    """The generator of all fixed weights, at its start (Philox4x64-10; Salmon et al., 2011)."""
    return np.random.Philox(key=KEY)


def uniform(bits: np.random.Philox, *shape: int) -> Tensor:
    """Weights [O, I, ...] of variance 2 / fan_in, uniform: (2 (r >> 11) / 2^53 - 1) sqrt(6 / fan_in), r 64 random bits.

    Every operation is exact or correctly rounded, in float64 and then to float32.
    """
    raw = bits.random_raw(math.prod(shape)).reshape(shape)
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1
    return torch.from_numpy((unit * math.sqrt(6 / math.prod(shape[1:]))).astype(np.float32))


class RandomConvs(nn.Module):
    """Three 3x3 convolutions with ReLUs, 2x2 means between them: images of any number of channels -> 16, 32, 64 maps.

    Built with the images' channels, and with the generator that weights are drawn from, `counters()` if none is given;
    what follows in it is the caller's.
    """

    def __init__(self, channels: int, bits: np.random.Philox | None = None) -> None:
        super().__init__()
        bits = bits or counters()
        for i, (inputs, width) in enumerate(zip((channels, *WIDTHS), WIDTHS)):
            self.register_buffer(f"conv{i}", uniform(bits, width, inputs, 3, 3))

    def maps(self, x: Maps) -> list[Maps]:
        """The three layers' maps, after their ReLUs, of images [N, C, H, W] in [-1, 1], in the images' type.

        Sizes are H, H // 2 and H // 4, as of W. Raises DataError for images smaller than 4x4.
        """
        if min(x.shape[2:]) < LEAST:
            h, w = x.shape[2:]
            raise DataError(f"the random convolutions need images of at least {LEAST}x{LEAST} pixels, not {w}x{h}.")
        maps: list[Maps] = []
        for i in range(len(WIDTHS)):
            weight = self.get_buffer(f"conv{i}").to(x.dtype)
            x = F.relu(F.conv2d(F.avg_pool2d(x, 2) if i else x, weight, padding=1))
            maps.append(x)
        return maps
