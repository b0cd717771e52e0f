"""Base of folders and archives of images: sorted names, bytes by name, labels, checks, fingerprint."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Finding
from ganzoo.io import budgets
from ganzoo.io.files import expand_user
from ganzoo.io.image_files import HEAD, BadImage, form_of, suffix_of
from ganzoo.types import Size
from ganzoo_data.decode import NPY, NPY_SUFFIX, Decoded, Filter, Fit, Target, Unfit, decode, dimensions
from ganzoo_data.labels import FILE, Table, as_vectors, in_order, is_vector, read_table
from ganzoo_data.listing import canonical, choose, visible

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]

MAX_BYTES = budgets.IMAGE_BYTES
CHUNK = 32  # images per task of a thread
PACKED = "ganzoo.json"  # written by `gz data pack`: how it fitted the images


def in_threads(work: Callable[[int], T], indices: Sequence[int], progress: Progress | None = None) -> list[T]:
    """Map `work` over indices in threads; results are in order. The first exception cancels the rest."""
    chunks = [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]
    done: list[T] = []
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for results in pool.map(lambda chunk: [work(i) for i in chunk], chunks):
            done += results
            if progress:
                progress(len(done), len(indices))
    finally:
        pool.shutdown(cancel_futures=True)
    return done


@dataclass(frozen=True)
class Facts:
    """Properties of a readable image that a check compares."""

    gray: bool
    odd: list[str]  # problems, each the end of a sentence about the file


class ImageSet(Dataset):
    """Images by name.

    Args:
        path: path of the images; `~` is the home folder
        fit: how images of other proportions are fitted: `crop` cuts out the middle, `fit` adds bars, `error` refuses
            every other size
        filter: filter for scaling down, `lanczos` or `box`
        background: colour behind transparent pixels and of the bars, as `white` or `#ffffff`; images of four channels
            keep their alpha, and `#ffffff00` gives them transparent bars; bars of other than 1, 3 or 4 channels are 0
        upscale: accept images that are smaller than the recipe's size
    """

    needs_path: ClassVar[bool] = True

    def __init__(
        self,
        size: Size,
        channels: int,
        labels: int,
        /,
        *,
        path: Path,
        fit: Fit = "crop",
        filter: Filter = "lanczos",
        background: str = "white",
        upscale: bool = False,
    ) -> None:
        self.size, self.channels, self.labels = (size[0], size[1]), channels, labels
        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise DataError(f"dataset.background: '{background}' is no colour: write white or #rrggbb.") from None
        self.path = expand_user(path)
        self.target = Target(self.size, channels, fit, filter, background, upscale)
        self._digests: dict[int, bytes] = {}
        self.names = self._choose(self._list())
        self.fitted = {"fit": fit, "filter": filter, "background": background} | self._packed()
        self._labels = self._read_labels() if labels else None

    @abstractmethod
    def _list(self) -> Iterable[str]:
        """Relative paths of all files, with slashes. Raises DataError if there is nothing to list."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file of at most MAX_BYTES. Raises BadImage. Thread-safe."""

    @abstractmethod
    def _has(self, name: str) -> bool:
        """Whether a file of that name exists."""

    def _head(self, name: str) -> bytes:
        """Read the first HEAD bytes of a file; empty where it cannot be read. Thread-safe."""
        try:
            return self._read(name)[:HEAD]
        except BadImage:
            return b""

    def _is_known(self, name: str) -> bool:
        """Whether a file holds labels or a record, so that it is not counted as left out."""
        return name in (FILE, PACKED)

    def _choose(self, files: Iterable[str]) -> list[str]:
        """Tell the images among the files, and count the others in `left_out`. Raises DataError without images."""
        files = list(files)
        names, self.left_out = choose(
            files, self._is_known, lambda some: in_threads(lambda i: self._head(some[i]), range(len(some)))
        )
        if not names:
            others = sum(visible(name) and not self._is_known(name) for name in files)
            fault = f"holds no images ({others} other files), but {self.left_out_in_words()}" if others else ""
            cure = "put image files there, such as .png, .jpg, .webp or .npy"
            raise DataError(fault or "holds no images", place=str(self.path), cure=cure)
        return names

    def _shown(self, name: str) -> str:
        """Name of a file in messages, relative to `root`."""
        return name

    @property
    def root(self) -> Path:
        """Path that precedes a file's name in messages."""
        return self.path

    def _bad(self, name: str, err: BadImage) -> DataError:
        place = f"{self.root}/{self._shown(name)}"
        return err.error.at(place) if isinstance(err, Unfit) else DataError(f"{place} {err}.")

    def _about(self) -> bytes | str:
        """Record of `gz data pack`, as JSON; "null" without one. Raises BadImage."""
        return self._read(PACKED) if self._has(PACKED) else "null"

    def _packed(self) -> dict[str, Any]:
        """How `gz data pack` fitted these images; {} without a readable record."""
        try:
            about = json.loads(self._about())
        except (BadImage, ValueError, RecursionError):
            return {}
        fitted = about.get("fitted") if isinstance(about, dict) else None
        return {"packed": fitted} if isinstance(fitted, dict) else {}

    # --- labels ------------------------------------------------------------------------------------------------------

    def _table(self) -> tuple[Table | None, str]:
        """({name: label}, or None without labels; the file that holds them). Raises DataError."""
        source = f"{self.path}/{FILE}"
        if not self._has(FILE):
            return None, source
        try:
            return read_table(self._read(FILE), str(self.path)), source
        except BadImage as err:
            raise self._bad(FILE, err) from err

    def given_labels(self) -> list[Any] | None:
        """Labels of all images as the files give them; None without labels.

        Raises DataError if an image lacks a label, or a label is neither a class number nor a vector.
        """
        table, source = self._table()
        if table is None:
            return None
        labels = in_order(table, self.names, source)
        for name, label in zip(self.names, labels):
            if type(label) is not int and not is_vector(label):
                raise DataError(
                    f"{source}: {name} has the label '{json.dumps(label)[:40]}': write a class number or a vector, "
                    "or set labels=0."
                )
        return labels

    def _read_labels(self) -> NDArray[np.float32]:
        table, source = self._table()
        if table is None:
            lack = "holds no labels" if self._has(FILE) else "is not there"
            raise DataError(f"{source} {lack}, the recipe wants {self.labels} labels: add it or set labels=0.")
        return as_vectors(in_order(table, self.names, source), self.names, self.labels, source)

    # --- images ------------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Stem of the path."""
        return self.path.resolve().stem

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read, decode and fit an image: uint8 [C, H, W]. Raises DataError, which names the file."""
        try:
            return self._decode(index).pixels
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def label(self, index: int) -> NDArray[np.float32]:
        """Label of an image, [K]."""
        return super().label(index) if self._labels is None else self._labels[index]

    def _decode(self, index: int, *, keep_digest: bool = False) -> Decoded:
        name = self.names[index]
        data = self._read(name)
        if keep_digest:
            self._digests[index] = hashlib.sha256(data).digest()
        return decode(data, self.target, is_npy=_is_npy(name, data), suffix=suffix_of(name))

    def fingerprint(self) -> str:
        """sha256 of the fitting options, names, contents and labels; equal for a folder and its archive."""
        t = self.target
        how = [self.size, t.channels, self.labels, t.fit, t.filter, t.background]
        whole = hashlib.sha256(json.dumps(how).encode())
        missing = [i for i in range(len(self)) if i not in self._digests]
        in_threads(self._digest, missing)
        for index, name in enumerate(self.names):
            whole.update(json.dumps([canonical(name), self._digests[index].hex()]).encode())
        if self._labels is not None:
            whole.update(self._labels.tobytes())
        return whole.hexdigest()

    def _digest(self, index: int) -> None:
        try:
            self._digests[index] = hashlib.sha256(self._read(self.names[index])).digest()
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def smallest_side(self) -> int | None:
        """Height or width, in pixels, of the smallest readable image; None if none is readable."""
        return min((min(size) for size in self.sizes()), default=None)

    def sizes(self) -> set[Size]:
        """(height, width), in pixels, that readable images have before they are fitted; none for none readable."""
        return {size for size in in_threads(self._size_of, range(len(self))) if size}

    def _size_of(self, index: int) -> Size | None:
        name = self.names[index]
        try:
            data = self._read(name)
            return dimensions(data, self.channels, is_npy=_is_npy(name, data), suffix=suffix_of(name))
        except BadImage:
            return None

    # --- checks ------------------------------------------------------------------------------------------------------

    def check(self, progress: Progress | None = None) -> list[Finding]:
        """Decode every image once, in threads.

        Unreadable images are fatal. Odd are images mostly cropped away, scaled up, duplicate, or gray among colour.
        """
        results = in_threads(self._inspect, range(len(self)), progress)
        grays = [i for i, r in enumerate(results) if isinstance(r, Facts) and r.gray]
        colours = sum(isinstance(r, Facts) and not r.gray for r in results)
        gray_is_odd = set(grays) if self.channels in (3, 4) and len(grays) < colours else set()
        findings: list[Finding] = []
        first: dict[bytes, str] = {}
        for index, (name, result) in enumerate(zip(map(self._shown, self.names), results)):
            if not isinstance(result, Facts):
                findings.append(Finding(name, result, fatal=True))
                continue
            odd = result.odd + (["is gray among colour images"] if index in gray_is_odd else [])
            twin = first.setdefault(self._digests[index], name)
            odd += [f"has exactly the bytes of {twin}"] if twin != name else []
            findings += [Finding(name, problem, fatal=False) for problem in odd]
        return findings

    def _inspect(self, index: int) -> Facts | str:
        try:
            decoded = self._decode(index, keep_digest=True)
        except BadImage as err:
            return str(err)
        (height, width), (rows, columns) = decoded.source, self.size
        odd = [decoded.note] if decoded.note else []
        if decoded.kept < 0.5:
            odd.append(f"is {width}x{height}, of which the crop to {columns}x{rows} keeps {decoded.kept:.0%}")
        if decoded.upscaled:
            odd.append(f"is {width}x{height} and is scaled up to {columns}x{rows}")
        return Facts(decoded.gray, odd)


def _is_npy(name: str, data: bytes) -> bool:
    """Whether a file holds an array, by its first bytes; by its suffix where they tell nothing."""
    return data.startswith(NPY) or (name.lower().endswith(NPY_SUFFIX) and not form_of(data[:HEAD]))
