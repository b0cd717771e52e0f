"""Resampling along an axis as a product with a banded matrix: zeros inserted, a filter, every k-th value kept.

Of small maps it is one dense product, of large ones a product for each block of rows. That takes more multiplications
than a depthwise convolution and a fraction of its time, on a CPU as on a GPU. The adjoint is the product with the
transposed matrix, by the same code.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.types import Maps

DENSE = 192  # rows or columns up to which the matrix is one block
BLOCK = 32  # rows or columns of a block of a larger matrix, whichever are more


class Band(NamedTuple):
    """Resampling of vectors of length `size` into ones of length `out`.

    y[o] = Σ_i taps[offset + up i - down o] x[i], where taps are 0 outside of their range: insert up - 1 zeros after
    each value, pad `offset` zeros (or crop) before the first, correlate with the taps, keep every down-th value.
    """

    taps: tuple[float, ...]
    up: int
    down: int
    offset: int
    size: int
    out: int


Bands = tuple[Band, Band]  # (vertical, horizontal)


class Block(NamedTuple):
    """Rows o0 to o1 of a matrix, which are 0 but in columns i0 to i1."""

    o0: int
    o1: int
    i0: int
    i1: int
    matrix: Tensor  # [o1 - o0, i1 - i0]


def _entries(band: Band, rows: range, columns: range) -> NDArray[np.float64]:
    """Entries of the band's matrix, [rows, columns]."""
    k, taps = band.offset + band.up * np.array(columns) - band.down * np.array(rows)[:, None], np.array(band.taps)
    return np.where((k >= 0) & (k < len(taps)), taps[k.clip(0, len(taps) - 1)], 0.0)


def _reached(band: Band, rows: range, transposed: bool) -> range:
    """Columns in which some row of a range has entries; of the transposed matrix where `transposed`."""
    n, (first, last) = len(band.taps), (rows.start, rows.stop - 1)
    if transposed:  # rows are inputs i: 0 <= offset + up i - down o < n
        low, high = -((n - 1 - band.offset - band.up * first) // band.down), (band.offset + band.up * last) // band.down
    else:
        low, high = -((band.offset - band.down * first) // band.up), (n - 1 - band.offset + band.down * last) // band.up
    length = band.out if transposed else band.size
    start = min(max(low, 0), length)
    return range(start, max(min(high + 1, length), start))


@lru_cache(maxsize=1024)
def _blocks(band: Band, transposed: bool, dtype: torch.dtype, device: torch.device) -> list[Block]:
    height = band.size if transposed else band.out
    width = band.out if transposed else band.size
    step = height if max(height, width) <= DENSE else max(1, BLOCK * height // max(height, width))
    blocks = []
    for start in range(0, height, step):
        rows = range(start, min(start + step, height))
        columns = _reached(band, rows, transposed)
        entries = _entries(band, columns, rows).T if transposed else _entries(band, rows, columns)
        matrix = torch.from_numpy(np.ascontiguousarray(entries)).to(dtype).to(device)
        blocks.append(Block(rows.start, rows.stop, columns.start, columns.stop, matrix))
    return blocks


def _product(x: Tensor, band: Band, transposed: bool) -> Tensor:
    """Multiply the matrix, or its transpose, with each [n, K] of a tensor [B, n, K]."""
    tracing = torch.compiler.is_compiling()  # a matrix made while torch.export traces is a symbol of that trace only
    blocks = (_blocks.__wrapped__ if tracing else _blocks)(band, transposed, x.dtype, x.device)
    parts = [torch.bmm(b.matrix.expand(x.shape[0], -1, -1), x[:, b.i0 : b.i1]) for b in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Banded(torch.autograd.Function):
    """`_product`, whose adjoint is that of the transposed matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Band, transposed: bool) -> Tensor:
        """Multiply."""
        ctx.band, ctx.transposed = band, transposed
        return _product(x, band, transposed)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        """Multiply by the transposed matrix, which can be differentiated again."""
        return _Banded.apply(dy.contiguous(), ctx.band, not ctx.transposed), None, None


def resample(x: Maps, bands: Bands, transposed: bool = False) -> Maps:
    """Resample both axes, [N, C, H, W] -> [N, C, H', W'], channels last in memory; the adjoint where `transposed`."""
    vertical, horizontal = bands
    y = x.permute(0, 2, 3, 1).contiguous()
    n, h, w, c = y.shape
    height = vertical.size if transposed else vertical.out
    if height < h:  # the larger maps in long rows, which products are fastest with
        y = _Banded.apply(y.view(n, h, w * c), vertical, transposed)
        y = _Banded.apply(y.reshape(n * height, w, c), horizontal, transposed)
    else:
        y = _Banded.apply(y.view(n * h, w, c), horizontal, transposed)
        y = _Banded.apply(y.reshape(n, h, -1), vertical, transposed)
    return y.reshape(n, height, -1, c).permute(0, 3, 1, 2)
