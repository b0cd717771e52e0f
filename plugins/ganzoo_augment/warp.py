"""Images resampled along an affine map, filtered and masked (arXiv:2006.06676, appendix B).

Every function is linear in its images and made of products, gathers and sums, so that it can be differentiated any
number of times on every device. An image's result does not depend on the other images of its batch.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.types import Image, Size
from ganzoo_augment.wavelets import filter_bank, lowpass

REACH = 3  # pixels by which the halving filter reaches beyond an image's border
TILE = 128  # rows of a banded matrix multiplied at once


def fold(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Indices reflected into 0 ... n - 1 about the centres of the outermost pixels, repeatedly if needed."""
    period = max(2 * (n - 1), 1)
    return (n - 1) - np.abs(index % period - (n - 1))


@lru_cache(maxsize=64)
def _doubling(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, NDArray[np.int64]]:
    """Matrix from n pixels, reflected by n - 1 on either side, to samples -2 (n - 1) ... 4 n - 3 of twice the rate.

    Returns:
        the matrix [6 n - 4, n], and the first and last + 1 nonzero column of each row
    """
    f = 2 * lowpass()
    sample = np.arange(2 - 2 * n, 4 * n - 2)[:, None]
    # the pixels that contribute to a sample, [6 n - 4, 6]: every other tap of the filter meets one
    pixel = (sample + len(f) // 2 - 1) // 2 - np.arange(len(f) // 2)
    taps = f[sample - 2 * pixel + len(f) // 2 - 1] * ((pixel > -n) & (pixel < 2 * n - 1))
    matrix = np.zeros((len(sample), n))
    np.add.at(matrix, (np.arange(len(sample))[:, None], fold(pixel, n)), taps)
    return torch.from_numpy(matrix).to(dtype).to(device), _band(matrix)


@lru_cache(maxsize=64)
def _halving(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, NDArray[np.int64]]:
    """Matrix from samples -6 ... 2 n + 5 of twice the rate to n pixels: the transposed filter of the doubling.

    Returns:
        the matrix [n, 2 n + 12], and the first and last + 1 nonzero column of each row
    """
    f = lowpass()
    offset = np.arange(-2 * REACH, 2 * (n + REACH)) - 2 * np.arange(n)[:, None] + (len(f) // 2 - 1)
    matrix = np.where((offset >= 0) & (offset < len(f)), f[offset.clip(0, len(f) - 1)], 0)
    return torch.from_numpy(matrix).to(dtype).to(device), _band(matrix)


def _band(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    nonzero = matrix != 0
    return np.stack([nonzero.argmax(axis=1), matrix.shape[1] - nonzero[:, ::-1].argmax(axis=1)], axis=1)


def _rows(banded: tuple[Tensor, NDArray[np.int64]], x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """Rows start ... stop - 1 of a banded matrix times x [..., n, m], in tiles that skip most zeros."""
    matrix, band = banded
    stop, tiles = len(matrix) if stop is None else stop, []
    for first in range(start, stop, TILE):
        last = min(first + TILE, stop)
        low, high = int(band[first:last, 0].min()), int(band[first:last, 1].max())
        tiles.append(matrix[first:last, low:high] @ x[..., low:high, :])
    return torch.cat(tiles, dim=-2) if len(tiles) > 1 else tiles[0]


def warp(x: Image, inverse: Tensor) -> Image:
    """Resample along affine maps: output pixel (u, v) is the input at inverse @ (u, v, 1).

    Images are doubled, sampled bilinearly and halved: at the doubled rate bilinear samples are accurate enough. Each
    image is reflected once on either side, with zeros beyond.

    Args:
        x: [N, C, H, W]
        inverse: [N, 3, 3], in pixels from the image's centre, x to the right and y down
    """
    (h, w), kind = x.shape[2:], (x.dtype, x.device)
    x_at, y_at = _sources(inverse.to(x.dtype), (h, w))
    left, right = _extent(x_at, w)
    top, bottom = _extent(y_at, h)
    wide = _rows(_doubling(w, *kind), x.transpose(2, 3), left + 2 * (w - 1), right + 2 * (w - 1)).transpose(2, 3)
    doubled = _rows(_doubling(h, *kind), wide, top + 2 * (h - 1), bottom + 2 * (h - 1))
    sampled = _sample(doubled, x_at - left, y_at - top)
    sampled = sampled.unflatten(2, (2 * (h + 2 * REACH), 2 * (w + 2 * REACH)))
    narrow = _rows(_halving(w, *kind), sampled.transpose(2, 3)).transpose(2, 3)
    return _rows(_halving(h, *kind), narrow)


def _sources(inverse: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Positions in the doubled input of each sample of the doubled output: x and y, [N, samples]."""
    h, w = size
    axes = [
        torch.arange(-2 * REACH, 2 * (n + REACH), dtype=inverse.dtype, device=inverse.device) / 2 - (n - 1) / 2
        for n in (h, w)
    ]
    ones = torch.ones(len(axes[0]), len(axes[1]), dtype=inverse.dtype, device=inverse.device)
    here = torch.stack([axes[1] * ones, axes[0][:, None] * ones, ones]).flatten(1)  # [3, samples]
    there = inverse[:, :2] @ here
    return 2 * there[:, 0] + (w - 1), 2 * there[:, 1] + (h - 1)


def _extent(at: Tensor, n: int) -> tuple[int, int]:
    """First and last + 1 sample of the reflected input that a batch needs."""
    low, high = torch.stack([at.min(), at.max()]).tolist()
    first, last = 2 - 2 * n, 4 * n - 3
    low, high = (min(max(v, first), last) for v in (math.floor(low), math.floor(high) + 1))
    return low, high + 1


def _sample(x: Image, x_at: Tensor, y_at: Tensor) -> Tensor:
    """Bilinear samples [N, C, samples] of x [N, C, H, W] at pixels x_at, y_at [N, samples]; zeros outside."""
    h, w = x.shape[2:]
    left, top = x_at.floor(), y_at.floor()
    columns, rows = torch.stack([left, left + 1], dim=1)[:, None], torch.stack([top, top + 1], dim=1)[:, :, None]
    inside = ((columns >= 0) & (columns < w)) & ((rows >= 0) & (rows < h))  # [N, 2, 2, samples]
    weight = (1 - (x_at[:, None, None] - columns).abs()) * (1 - (y_at[:, None, None] - rows).abs()) * inside
    index = (rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)).long()
    corners = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1)).unflatten(2, (4, -1))
    return (corners * weight.flatten(1, 2)[:, None]).sum(dim=2)


@lru_cache(maxsize=64)
def _bank(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filter bank as matrices [4, n, n], with reflected borders."""
    bank = filter_bank()
    reach = bank.shape[1] // 2
    out, pixels = np.arange(n)[:, None], fold(np.arange(n)[:, None] + np.arange(-reach, reach + 1), n)
    matrices = np.zeros((len(bank), n, n))
    for matrix, taps in zip(matrices, bank):
        np.add.at(matrix, (out, pixels), taps)
    return torch.from_numpy(matrices).to(dtype).to(device)


def amplify(x: Image, gains: Tensor) -> Image:
    """Multiply the octaves of images [N, C, H, W], from low to high, by gains [N, 4] along either axis."""
    gains = gains.to(x.dtype)
    across, down = (torch.einsum("nb,bij->nij", gains, _bank(n, x.dtype, x.device)) for n in (x.shape[3], x.shape[2]))
    return down[:, None] @ x @ across.transpose(1, 2)[:, None]


def shift(x: Image, by: Tensor) -> Image:
    """Shift images [N, C, H, W] right and down by [N, 2] pixels, with linear interpolation and zeros outside."""

    def along(n: int, by: Tensor) -> Tensor:
        i = torch.arange(n, dtype=x.dtype, device=x.device)
        return (1 - (i[:, None] - i - by[:, None, None]).abs()).clamp_min(0)[:, None]  # [N, 1, n, n]

    by = by.to(x.dtype)
    return along(x.shape[2], by[:, 1]) @ x @ along(x.shape[3], by[:, 0]).transpose(2, 3)


def erase(x: Image, centre: Tensor, sides: Tensor) -> Image:
    """Set a box of images [N, C, H, W] to 0; centre and sides [N, 2], x first, are fractions of the image's sides."""

    def beyond(n: int, axis: int) -> Tensor:
        at = (torch.arange(n, dtype=centre.dtype, device=x.device) + 0.5) / n
        return (at - centre[:, axis, None]).abs() >= sides[:, axis, None] / 2  # [N, n]

    keep = beyond(x.shape[2], 1)[:, :, None] | beyond(x.shape[3], 0)[:, None]
    return x * keep[:, None]
