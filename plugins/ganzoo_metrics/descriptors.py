"""Patch descriptors: cutting them out, normalising them, and keeping millions of them outside of memory.

A descriptor is a patch of one pyramid level, flattened as channel, horizontal offset, vertical offset.
"""

import os
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK_BYTES = 4 * 2**20  # of descriptors held, written and read at a time: stays within a core's cache
CONSTANT = 1e-12  # a variance below this share of the mean square is rounding, not contrast

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def extract_descriptors(level: Tensor, y: Tensor, x: Tensor, patch: int = 7) -> Tensor:
    """Cut patches out of one pyramid level (arXiv:1710.10196, section 5).

    Args:
        level: float32 [N, C, H, W]
        y: int64 [N, P], rows of the patch centres, in [patch // 2, H - patch + patch // 2]
        x: int64 [N, P], columns of the patch centres, in [patch // 2, W - patch + patch // 2]
        patch: side of a patch in pixels

    Returns:
        float32 [N * P, C * patch * patch], image by image; components run over channel, horizontal and vertical offset
    """
    windows = level.unfold(2, patch, 1).unfold(3, patch, 1)  # [N, C, Y, X, dy, dx], a view
    image = torch.arange(level.shape[0], device=level.device)[:, None]
    cut = windows.permute(0, 2, 3, 1, 5, 4)[image, y - patch // 2, x - patch // 2]  # [N, P, C, dx, dy]
    return cut.reshape(-1, level.shape[1] * patch * patch)


def normalize_descriptors(descriptors: Tensor, channels: int) -> Tensor:
    """Give each channel mean 0 and (population) standard deviation 1 over all pixels of all descriptors of a set.

    Args:
        descriptors: float32 [N, channels * area]
        channels: number of image channels

    Returns:
        float32 [N, channels * area]; a channel without contrast becomes 0
    """
    rows = descriptors.reshape(len(descriptors), channels, -1)
    var, mean = torch.var_mean(rows.double(), dim=(0, 2), correction=0, keepdim=True)
    constant = var <= CONSTANT * (var + mean.square())
    scale = torch.where(constant, torch.zeros_like(var), var.rsqrt())
    return ((rows - mean) * scale).float().reshape(descriptors.shape)


class DescriptorStore:
    """The descriptors of one set at one level: [rows, channels * area] float32, appended bit by bit, projected later.

    Full chunks go to an unnamed temporary file, which the operating system removes even after a crash; a set smaller
    than one chunk never touches the disk. Sums run chunk by chunk, so results do not depend on how rows arrived. A
    full disk is an OSError.

    Args:
        channels: number of image channels
        width: components of a descriptor, channels * area
    """

    def __init__(self, channels: int, width: int) -> None:
        self.channels, self.width = channels, width
        self.rows = 0
        self._chunk: Floats = np.empty((max(1, CHUNK_BYTES // (4 * width)), width), np.float32)
        self._held = 0  # rows of the chunk in use
        self._file: IO[bytes] | None = None
        self._sums: Doubles = np.zeros((2, width))  # of values and of squares, for the rows in the file

    def append(self, descriptors: Tensor) -> None:
        """Take in float32 [N, width]."""
        new: Floats = descriptors.cpu().numpy()
        while len(new):
            part = new[: len(self._chunk) - self._held]
            self._chunk[self._held : self._held + len(part)] = part
            self._held += len(part)
            self.rows += len(part)
            new = new[len(part) :]
            if self._held == len(self._chunk):
                self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="ganzoo-swd-")  # noqa: SIM115 - lives as long as the store
        self._file.seek(0, os.SEEK_END)  # someone may have stopped reading half-way
        self._file.write(self._chunk.data)
        self._file.flush()  # a full disk is to be noticed here
        self._sums += _sums(self._chunk)
        self._held = 0

    def chunks(self) -> Iterator[Floats]:
        """All rows in order, [n, width] at a time. A chunk is valid until the next one is asked for."""
        if self._file is not None:
            buffer = np.empty_like(self._chunk)
            self._file.seek(0)
            for _ in range((self.rows - self._held) // len(buffer)):
                if self._file.readinto(buffer.data) != buffer.nbytes:  # type: ignore[attr-defined]
                    raise OSError("the temporary file ends too early")
                yield buffer
        if self._held:
            yield self._chunk[: self._held]

    def moments(self) -> tuple[Doubles, Doubles]:
        """Mean and 1 / standard deviation of each channel, [channels] float64; 0 in place of 1 / 0."""
        sums = self._sums + _sums(self._chunk[: self._held])
        mean, square = sums.reshape(2, self.channels, -1).mean(axis=2) / self.rows
        var = square - mean**2
        contrast = var > CONSTANT * square
        return mean, np.where(contrast, 1 / np.sqrt(np.where(contrast, var, 1)), 0)

    def project(self, directions: Tensor, out: Floats) -> None:
        """Write the normalised descriptors' projections on directions [width, K] to out [K, rows].

        The normalisation is folded into the directions, so no normalised copy exists:
        sum_c (d_c - mean_c) / std_c * dir_c = sum_c d_c * (dir_c / std_c) - sum_c mean_c / std_c * sum(dir_c).
        """
        mean, scale = (np.repeat(v, self.width // self.channels)[:, None] for v in self.moments())
        scaled = directions.double().numpy() * scale
        weight = torch.from_numpy(scaled.T.astype(np.float32))
        offset = torch.from_numpy(-(scaled * mean).sum(axis=0, keepdims=True).T.astype(np.float32))
        target, start = torch.from_numpy(out), 0
        for chunk in self.chunks():
            part = target[:, start : start + len(chunk)]
            torch.addmm(offset, weight, torch.from_numpy(chunk).T, out=part)
            start += len(chunk)

    def close(self) -> None:
        """Forget everything and free the disk space."""
        file, self._file = self._file, None
        self.rows = self._held = 0
        self._sums[:] = 0
        if file is not None:
            file.close()


def _sums(rows: Floats) -> Doubles:
    """Sum and sum of squares of each component, in float64: [2, width]."""
    wide = rows.astype(np.float64)
    return np.stack([wide.sum(axis=0), np.einsum("nd,nd->d", wide, wide)])
