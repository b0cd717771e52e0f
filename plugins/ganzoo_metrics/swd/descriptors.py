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
PART_ROWS = 512  # of descriptors turned into float64 at a time
CONSTANT = 1e-12  # a variance below this share of the mean square is rounding, not contrast

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def cut_patches(level: Tensor, first: Tensor, second: Tensor, patch: int) -> Tensor:
    """Cut square patches out of images, in memory's own order: runs of neighbours are copied whole.

    Args:
        level: float32 [N, C, A, B]
        first: int64 [N, P], centres along A, in [patch // 2, A - patch + patch // 2]
        second: int64 [N, P], centres along B, in [patch // 2, B - patch + patch // 2]
        patch: side of a patch in pixels

    Returns:
        float32 [N * P, C * patch * patch], image by image; components run over channel, offset along A, along B
    """
    n, channels, a, b = level.shape
    flat = level.contiguous().view(-1)
    runs = flat.as_strided((flat.numel() - patch + 1, patch), (1, 1))
    image = torch.arange(n, device=level.device)[:, None] * (channels * a * b)
    corners = image + (first - patch // 2) * b + (second - patch // 2)
    offsets = torch.arange(channels, device=level.device)[:, None] * (a * b)
    offsets = offsets + torch.arange(patch, device=level.device) * b
    places = corners[..., None] + offsets.flatten()
    return runs.index_select(0, places.flatten()).view(-1, channels * patch * patch)


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
    return cut_patches(level.mT, x, y, patch)


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


class Memory:
    """How many bytes several stores may still hold in memory, together.

    Args:
        size: bytes
    """

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Whether so many bytes are granted."""
        granted = size <= self.left
        self.left -= size if granted else 0
        return granted


class DescriptorStore:
    """The descriptors of one set at one level: [rows, channels * area] float32, appended bit by bit, projected later.

    Full chunks stay in memory as long as there is some left, and then go to an unnamed temporary file, which the
    operating system removes even after a crash. Sums run chunk by chunk, so results do not depend on how rows arrived.
    A full disk is an OSError.

    Args:
        channels: number of image channels
        width: components of a descriptor, channels * area
        memory: what may be held outside of the file; nothing, if left out
    """

    def __init__(self, channels: int, width: int, memory: Memory | None = None) -> None:
        self.channels, self.width, self.memory = channels, width, memory or Memory(0)
        self.rows = 0
        self._chunk: Floats = self._empty()
        self._held = 0  # rows of the chunk in use
        self._kept: list[Floats] = []  # full chunks, before those in the file
        self._file: IO[bytes] | None = None
        self._sums: Doubles = np.zeros((2, width))  # of values and of squares, for the rows of full chunks

    def _empty(self) -> Floats:
        return np.empty((max(1, CHUNK_BYTES // (4 * self.width)), self.width), np.float32)

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
        self._sums += _sums(self._chunk)
        self._held = 0
        if self.memory.take(self._chunk.nbytes):
            self._kept.append(self._chunk)
            self._chunk = self._empty()
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="ganzoo-swd-")  # noqa: SIM115 - lives as long as the store
        self._file.seek(0, os.SEEK_END)  # someone may have stopped reading half-way
        self._file.write(self._chunk.data)
        self._file.flush()  # a full disk is to be noticed here

    def chunks(self) -> Iterator[Floats]:
        """All rows in order, [n, width] at a time. A chunk is valid until the next one is asked for."""
        yield from self._kept
        if self._file is not None:
            buffer = np.empty_like(self._chunk)
            self._file.seek(0)
            for _ in range((self.rows - self._held) // len(buffer) - len(self._kept)):
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
        weight = scaled.T.astype(np.float32)
        offset = -(scaled * mean).sum(axis=0).astype(np.float32)[:, None]
        start = 0
        for chunk in self.chunks():
            part = out[:, start : start + len(chunk)]
            np.matmul(weight, chunk.T, out=part)  # faster than torch's where rows of the result lie apart
            part += offset
            start += len(chunk)

    def close(self) -> None:
        """Forget everything and free the disk space."""
        file, self._file = self._file, None
        self.memory.left += sum(chunk.nbytes for chunk in self._kept)
        self._kept.clear()
        self.rows = self._held = 0
        self._sums[:] = 0
        if file is not None:
            file.close()


def _sums(rows: Floats) -> Doubles:
    """Sum and sum of squares of each component, in float64: [2, width]."""
    sums: Doubles = np.zeros((2, rows.shape[1]))
    for start in range(0, len(rows), PART_ROWS):
        wide = rows[start : start + PART_ROWS].astype(np.float64)
        ones = np.ones(len(wide))
        sums[0] += ones @ wide
        sums[1] += ones @ np.square(wide, out=wide)
    return sums
