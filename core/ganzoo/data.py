"""From a dataset to batches. What is drawn depends on seed and images seen alone, so resuming needs no state.

order   images [position, position + count) of training -> indices of the dataset
mirrored the same images -> which of them are flipped
Loader  reads them in threads, one batch ahead
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.component import options as options_of
from ganzoo.component import summary
from ganzoo.errors import UsageError
from ganzoo.interfaces import Dataset
from ganzoo.recipe import component_from
from ganzoo.registry import Registry
from ganzoo.types import Size

Indices = NDArray[np.int64]


# --- pixels ----------------------------------------------------------------------------------------------------------


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]: x / 127.5 - 1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8: trunc(clamp(x * 127.5 + 128, 0, 255)), the rounding of published metrics."""
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


# --- what is drawn ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _epoch(n: int, seed: int, epoch: int) -> Indices:
    permutation = np.random.default_rng((seed % 2**64, epoch)).permutation(n)
    permutation.flags.writeable = False  # callers share it
    return permutation


def order(n: int, seed: int, position: int, count: int) -> Indices:
    """Dataset indices [count] of the images [position, position + count) of training; an epoch is a permutation."""
    if n < 1 or position < 0 or count < 0:
        raise ValueError(f"order of {count} images from {position} on, out of {n}")
    parts = [np.empty(0, np.int64)]
    while count > 0:
        epoch, start = divmod(position, n)
        parts.append(_epoch(n, seed, epoch)[start : start + count])
        position, count = position + len(parts[-1]), count - len(parts[-1])
    return np.concatenate(parts)


def mirrored(seed: int, position: int, count: int) -> NDArray[np.bool_]:
    """Which [count] of the images [position, position + count) of training are flipped, each with probability 1/2.

    One bit of splitmix64, a hash of (seed, position): so flips do not depend on how training is cut
    into batches.
    """
    mask = 2**64 - 1
    start = (seed * 0xD1342543DE82EF95 + position * 0x9E3779B97F4A7C15) & mask
    with np.errstate(over="ignore"):  # modulo 2^64
        x = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits: NDArray[np.bool_] = (x >> np.uint64(63)).astype(bool)
    return bits


# --- labels ----------------------------------------------------------------------------------------------------------


def labels_at(dataset: Dataset, indices: Iterable[int]) -> Tensor:
    """Labels float32 [N, K] of some images."""
    rows = [dataset.label(int(i)) for i in indices]
    return torch.from_numpy(np.array(rows, np.float32).reshape(len(rows), dataset.labels))


def class_labels(dataset: Dataset, count: int, generator: torch.Generator) -> Tensor:
    """Labels float32 [count, K] for generated images: those of images drawn uniformly.

    So classes are as frequent as in the data. Without labels: [count, 0], and nothing is drawn.
    """
    if not dataset.labels:
        return torch.zeros(count, 0)
    drawn = torch.randint(len(dataset), (count,), generator=generator, device=generator.device)
    return labels_at(dataset, drawn.tolist())


# --- which dataset ---------------------------------------------------------------------------------------------------


def claim(source: str, registry: Registry) -> type[Dataset]:
    """The dataset that `--data SOURCE` means. Raises UsageError that lists what there is.

    The name of a dataset that needs no path comes first, then the first whose `claims()` says yes: a folder named
    `shapes` is written `./shapes`.
    """
    known = [cls for cls in registry if issubclass(cls, Dataset)]
    named = [cls for cls in known if cls.name == source and not cls.needs_path]
    for cls in named or (cls for cls in known if cls.claims(source)):
        return cls
    accepted = ", ".join(f"{cls.name} ({summary(cls).rstrip('.')})" for cls in known) or "none is installed"
    what = (
        "is a file that no dataset knows"
        if Path(source).is_file()
        else "is no folder that exists, and no dataset knows it"
    )
    raise UsageError(f"--data '{source}' {what}; datasets: {accepted}.")


def section(source: str, registry: Registry) -> dict[str, str]:
    """The `dataset:` section that `--data SOURCE` means; its path is absolute, so a checkpoint finds it again."""
    cls = claim(source, registry)
    name = cls.name if registry.get("dataset", cls.name) is cls else f"{registry.owner(cls)}:{cls.name}"
    return {"use": name} | ({"path": str(Path(source).expanduser().absolute())} if cls.needs_path else {})


def open_set(
    source: str, size: Size, channels: int, labels: int, registry: Registry, options: Mapping[str, Any] | None = None
) -> Dataset:
    """Open what `--data SOURCE` means, with options of its section where they are given.

    Raises UsageError or DataError.
    """
    dataset: Dataset = component_from("dataset", {**(options or {}), **section(source, registry)}, registry).bind()(
        size, channels, labels
    )
    return dataset


@runtime_checkable
class Measured(Protocol):
    """A dataset whose images have a size of their own, before they are fitted."""

    def smallest_side(self) -> int | None:
        """Height or width, in pixels, of the smallest image that can be read; None where none can."""


def smallest_side(source: str, channels: int, registry: Registry) -> int | None:
    """Of the images that `--data SOURCE` means; None where they have no size of their own. Raises as `open_set`."""
    dataset = open_set(source, (1, 1), channels, 0, registry)
    return dataset.smallest_side() if isinstance(dataset, Measured) else None


def options_for(source: str, given: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Those of a `dataset:` section's options that the dataset which `--data SOURCE` means has too."""
    known = options_of(claim(source, registry)).model_fields
    return {name: value for name, value in given.items() if name in known and name != "path"}


CACHE_BYTES = 2 << 30  # a dataset whose decoded images fit is decoded once


# --- batches ---------------------------------------------------------------------------------------------------------


@dataclass
class _Batch:
    position: int
    tensor: Tensor  # on its way to a GPU it must not be mistaken for free memory: so it is kept, not only its pixels
    images: NDArray[np.uint8]  # its pixels
    labels: NDArray[np.float32]
    parts: "list[Future[None]]"


class Loader:
    """Batches of a dataset, read one batch ahead. What a batch holds depends on (seed, position, count) alone.

    Args:
        dataset: Where images come from.
        seed: Decides their order and flips.
        mirror: Flip each drawn image with probability 1/2.
        workers: Threads that read; 0 reads in the caller's, without reading ahead.
        cache_bytes: Images stay in memory once read if the whole dataset fits in so many bytes.
    """

    def __init__(
        self, dataset: Dataset, *, seed: int, mirror: bool = False, workers: int = 2, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.dataset, self.seed, self.mirror, self.workers = dataset, seed, mirror, workers
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
        """The images [position, position + count) of training: uint8 [N, C, H, W] and labels float32 [N, K].

        `following` is where the next batch will begin, by default where this one ends; it is read meanwhile.
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
        pinned = torch.cuda.is_initialized()  # so that copies to the GPU need not wait
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
            self._cached[index] = True  # after the pixels: another thread may look; at worst both read the same image
        return self._cache[index]

    def close(self) -> None:
        """Stop the threads. What is being read is finished first."""
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
