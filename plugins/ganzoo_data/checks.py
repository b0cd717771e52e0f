"""Checks of all images of a dataset: each is decoded once, and 42 bytes are kept of it.

What is kept depends on the file only. How an image fits a size is computed from it, so a dataset that has been checked
can be described for any size without reading its files again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganzoo.interfaces import Finding
from ganzoo.types import Size
from ganzoo_data.decode import Seen, Target, Unfit, geometry

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]
Read: TypeAlias = Callable[[int], bytes]  # index of an image -> contents of its file; raises BadImage

CHUNK = 64  # images per task of a thread
THREADS = min(8, os.cpu_count() or 1)
DIGEST = hashlib.sha256().digest_size
KEPT = 0.5  # an image of which less than this part of its area is kept is odd
STATES = ("unread", "bad", "gray", "colourless", "colour")  # of an image
UNREAD, BAD, GRAY, COLOURLESS, COLOUR = range(len(STATES))


def in_threads(work: Callable[[int], T], indices: Sequence[int], progress: Progress | None = None) -> list[T]:
    """Map `work` over indices in threads; results are in order. The first exception cancels the rest."""
    chunks = [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]
    results: list[T] = []
    pool = ThreadPoolExecutor(THREADS)
    try:
        for part in pool.map(lambda chunk: [work(i) for i in chunk], chunks):
            results += part
            if progress:
                progress(len(results), len(indices))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


@dataclass
class Checked:
    """Properties of a dataset's images, as far as they have been read, by index.

    Args:
        count: number of images, N
    """

    count: int
    state: NDArray[np.uint8] = field(init=False)  # [N]: index into STATES
    sizes: NDArray[np.int32] = field(init=False)  # [N, 2]: (height, width)
    digests: NDArray[np.uint8] = field(init=False)  # [N, 32]: sha256 of the files
    hashed: NDArray[np.bool_] = field(init=False)  # [N]: whether the digest is there
    notes: dict[int, str] = field(default_factory=dict)  # oddities of files
    faults: dict[int, str] = field(default_factory=dict)  # of images that cannot be read

    def __post_init__(self) -> None:
        self.state = np.zeros(self.count, np.uint8)
        self.sizes = np.zeros((self.count, 2), np.int32)
        self.digests = np.zeros((self.count, DIGEST), np.uint8)
        self.hashed = np.zeros(self.count, bool)

    @property
    def unread(self) -> list[int]:
        """Indices of the images that have not been decoded."""
        return [int(i) for i in np.flatnonzero(self.state == UNREAD)]

    @property
    def gray(self) -> int:
        """Number of images without colour, among those that have been decoded."""
        return int(np.isin(self.state, (GRAY, COLOURLESS)).sum())

    @property
    def readable(self) -> int:
        """Number of images that have been decoded."""
        return int((self.state > BAD).sum())

    def all_sizes(self) -> set[Size]:
        """(height, width) of the images that have been decoded, each once."""
        return {(int(h), int(w)) for h, w in np.unique(self.sizes[self.state > BAD], axis=0)}

    def hash(self, index: int, data: bytes) -> None:
        """Keep the digest of a file."""
        self.digests[index] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        self.hashed[index] = True

    def keep(self, index: int, seen: Seen | str) -> None:
        """Keep what has been seen of an image, or why it cannot be read."""
        if isinstance(seen, str):
            self.faults[index] = seen
            self.state[index] = BAD
            return
        if seen.note:
            self.notes[index] = seen.note
        self.sizes[index] = seen.size
        self.state[index] = STATES.index(seen.colours)

    def findings(self, names: Callable[[int], str], target: Target) -> Iterator[Finding]:
        """Yield what is wrong with the images, in their order, once all are decoded.

        Unreadable images, and those that do not fit the target, are fatal. Odd are images mostly cropped away, scaled
        up, duplicate, or gray among colour.

        Args:
            names: name of the image of an index
            target: format that the images are fitted to
        """
        gray_is_odd = target.channels in (3, 4) and 2 * (self.state == GRAY).sum() < self.readable
        fits = {size: fit(size, target) for size in self.all_sizes()}
        twins = self._twins()
        for index in range(self.count):
            if index in self.faults:
                yield Finding(names(index), self.faults[index], fatal=True)
                continue
            height, width = self.sizes[index]
            problems, fatal = fits[int(height), int(width)]
            yield from (Finding(names(index), problem, fatal=fatal) for problem in problems)
            if fatal:
                continue
            if index in self.notes:
                yield Finding(names(index), self.notes[index], fatal=False)
            if gray_is_odd and self.state[index] == GRAY:
                yield Finding(names(index), "is gray among colour images", fatal=False)
            if index in twins:
                yield Finding(names(index), f"has exactly the bytes of {names(twins[index])}", fatal=False)

    def _twins(self) -> dict[int, int]:
        """Index of an image -> that of the first with the same bytes, for all others of equal bytes."""
        usable = np.flatnonzero(self.hashed & (self.state != BAD))
        if not len(usable):
            return {}
        _, first, group = np.unique(self.digests[usable], axis=0, return_index=True, return_inverse=True)
        firsts = usable[first[group.reshape(-1)]]
        return {int(i): int(f) for i, f in zip(usable, firsts) if i != f}


def fit(source: Size, target: Target) -> tuple[list[str], bool]:
    """List what is wrong with images of a size, (height, width), and whether it makes them unusable."""
    try:
        (left, top, right, bottom), (rows, columns) = geometry(source, target)
    except Unfit as err:
        return [str(err)], True
    height, width = source
    kept = (right - left) * (bottom - top) / (height * width)
    wanted = f"{target.size[1]}x{target.size[0]}"
    problems = [f"is {width}x{height}, of which the crop to {wanted} keeps {kept:.0%}"] if kept < KEPT else []
    if rows > bottom - top or columns > right - left:
        problems.append(f"is {width}x{height} and is scaled up to {wanted}")
    return problems, False
