"""From a dataset to batches, whose contents depend on seed and position only, so that resuming needs no state.

order     images [position, position + count) of a training -> indices of the dataset
mirrored  the same images -> which of them are flipped
Loader    reads them in threads, one batch ahead
"""

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.interfaces import Dataset

Indices = NDArray[np.int64]
CACHE_BYTES = 2 << 30  # a dataset whose decoded images fit is decoded once


def images_at(dataset: Dataset, indices: Iterable[int]) -> Tensor:
    """Return some images of a dataset, uint8 [N, C, H, W]. Raises what the dataset raises."""
    return torch.from_numpy(np.stack([dataset.image(int(i)) for i in indices]))


def shuffled(dataset: Dataset, seed: int = 0) -> Indices:
    """Return the indices of all images in an order drawn from a seed."""
    order: Indices = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))
    return order


@lru_cache(maxsize=4)
def _epoch(n: int, seed: int, epoch: int) -> Indices:
    permutation = np.random.default_rng((seed % 2**64, epoch)).permutation(n)
    permutation.flags.writeable = False  # callers share it
    return permutation


def order(n: int, seed: int, position: int, count: int) -> Indices:
    """Dataset indices [count] of the images [position, position + count) of a training; an epoch is a permutation."""
    if n < 1 or position < 0 or count < 0:
        raise ValueError(f"order of {count} images from {position} on, out of {n}")
    epochs = [np.empty(0, np.int64)]
    while count > 0:
        epoch, start = divmod(position, n)
        epochs.append(_epoch(n, seed, epoch)[start : start + count])
        position, count = position + len(epochs[-1]), count - len(epochs[-1])
    return np.concatenate(epochs)


def mirrored(seed: int, position: int, count: int) -> NDArray[np.bool_]:
    """Whether each of the images [position, position + count) of a training is flipped, [count], with probability 1/2.

    One bit of splitmix64, a hash of (seed, position), so that flips do not depend on how training is cut into batches.
    """
    mask = 2**64 - 1
    start = (seed * 0xD1342543DE82EF95 + position * 0x9E3779B97F4A7C15) & mask
    with np.errstate(over="ignore"):  # modulo 2^64
        x = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits: NDArray[np.bool_] = (x >> np.uint64(63)).astype(bool)
    return bits


@dataclass
class _Batch:
    position: int  # index of its first image in the training
    tensor: Tensor  # uint8 [N, C, H, W]; kept, since memory that a copy to a GPU still reads must not be reused
    images: NDArray[np.uint8]  # the same memory, as the threads fill it
    labels: NDArray[np.float32]  # [N, K]
    parts: "list[Future[None]]"  # one a thread


class Loader:
    """Batches of a dataset, read one batch ahead. Their contents depend on (seed, position, count) only.

    Args:
        dataset: where images come from
        seed: decides their order and flips
        mirror: flip each image with probability 1/2
        workers: threads that read; with 0 the caller's reads, and nothing is read ahead
        cache_bytes: images stay in memory once read if the whole dataset fits in so many bytes
    """

    def __init__(
        self, dataset: Dataset, *, seed: int, mirror: bool = False, workers: int = 2, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.mirror = mirror
        self.workers = workers
        self.waited = 0.0  # seconds that callers have waited for images
        self._shape = (dataset.channels, *dataset.size)
        self.decoded_bytes = len(dataset) * int(np.prod(self._shape))
        fits = self.decoded_bytes <= cache_bytes
        self._cache = np.empty((len(dataset), *self._shape), np.uint8) if fits else None
        self._cached = np.zeros(len(dataset), bool)
        self.cache_bytes = self.decoded_bytes if fits else 0  # once all images have been read
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ganzoo-data") if workers else None
        self._ahead: _Batch | None = None

    def batch(self, position: int, count: int, *, following: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the images [position, position + count) of a training, uint8 [N, C, H, W], and labels, float32 [N, K].

        Args:
            position: of the first image in the training
            count: N
            following: position of the next batch, which is read meanwhile; None for where this one ends

        Raises what the dataset raises.
        """
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        if ahead and (ahead.position, len(ahead.images)) != (position, count):
            _cancel(ahead)
            ahead = None
        batch = ahead or self._start(position, count)
        try:
            for part in batch.parts:
                part.result()
        except BaseException:
            _cancel(batch)
            raise
        self.waited += time.perf_counter() - began
        if self._pool:
            self._ahead = self._start(position + count if following is None else following, count)
        return batch.tensor, torch.from_numpy(batch.labels)

    def _start(self, position: int, count: int) -> _Batch:
        indices = order(len(self.dataset), self.seed, position, count)
        flips = mirrored(self.seed, position, count) if self.mirror else np.zeros(count, bool)
        pinned = torch.cuda.is_initialized()  # copies from pinned memory to the GPU are asynchronous
        images = torch.empty((count, *self._shape), dtype=torch.uint8, pin_memory=pinned)
        batch = _Batch(position, images, images.numpy(), np.empty((count, self.dataset.labels), np.float32), [])
        if self._pool:
            batch.parts = [self._pool.submit(self._fill, batch, indices, flips, k) for k in range(self.workers)]
        else:
            self._fill(batch, indices, flips, 0)
        return batch

    def _fill(self, batch: _Batch, indices: Indices, flips: NDArray[np.bool_], first: int) -> None:
        for row in range(first, len(indices), max(self.workers, 1)):
            index = int(indices[row])
            image = self._image(index)
            batch.images[row] = image[:, :, ::-1] if flips[row] else image
            batch.labels[row] = self.dataset.label(index)

    def _image(self, index: int) -> NDArray[np.uint8]:
        if self._cache is None:
            return self.dataset.image(index)
        if not self._cached[index]:
            self._cache[index] = self.dataset.image(index)
            self._cached[index] = True  # after the pixels, since other threads read it; at worst two decode one image
        return self._cache[index]

    def close(self) -> None:
        """Stop the threads, once they have finished the images that they are reading."""
        if self._ahead:
            _cancel(self._ahead)
            self._ahead = None
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _cancel(batch: _Batch) -> None:
    for part in batch.parts:
        part.cancel()
