"""Base of folders and archives of images: sorted names, bytes by name, labels, checks, fingerprint."""

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Finding
from ganzoo.io import budgets
from ganzoo.io.files import expand_user
from ganzoo.io.image_files import HEAD, BadImage, form_of, suffix_of
from ganzoo.types import Size
from ganzoo_data import labels as label_files
from ganzoo_data.checks import Checked, Progress, in_threads
from ganzoo_data.decode import (
    NPY,
    NPY_SUFFIX,
    Filter,
    Fit,
    Target,
    Unfit,
    decode,
    dimensions,
    inspect,
    size_in_head,
)
from ganzoo_data.labels import FILE, LabelSource, Table, class_folders, read_table
from ganzoo_data.listing import canonical, choose, visible

MAX_BYTES = budgets.IMAGE_BYTES
SIZE_HEAD = 1 << 16  # bytes of a file that nearly always tell its size: a JPEG's metadata come first
PACKED = "ganzoo.json"  # written by `gz data pack`: how it fitted the images


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
        labels: where labels come from: `file` for dataset.json, or what else the format has; `folders` makes each
            folder at the top a class, in the order of names
    """

    needs_path: ClassVar[bool] = True

    def __init__(
        self,
        size: Size,
        channels: int,
        label_length: int,
        /,
        *,
        path: Path,
        fit: Fit = "crop",
        filter: Filter = "lanczos",
        background: str = "white",
        upscale: bool = False,
        labels: LabelSource = "file",
    ) -> None:
        self.size, self.channels, self.labels = (size[0], size[1]), channels, label_length
        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise DataError(f"dataset.background: '{background}' is no colour: write white or #rrggbb.") from None
        self.path = expand_user(path)
        self.target = Target(self.size, channels, fit, filter, background, upscale)
        self.label_source = labels
        self.names = self._choose(self._list())
        self.checked = Checked(len(self.names))
        self.fitted = {"fit": fit, "filter": filter, "background": background} | self._packed()
        self._labels = self._read_labels() if label_length else None

    def adapted(self, *, size: Size | None = None, labels: int | None = None) -> Self:
        """Return the same images for another size, or with labels of another length, without listing them again.

        Raises DataError as the constructor.
        """
        other = copy(self)
        other.size = size or self.size
        other.target = replace(self.target, size=other.size)
        if labels is not None:
            other.labels = labels
            other._labels = other._read_labels() if labels else None
        return other

    @abstractmethod
    def _list(self) -> Iterable[str]:
        """Relative paths of all files, with slashes. Raises DataError if there is nothing to list."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file of at most MAX_BYTES. Raises BadImage. Thread-safe."""

    @abstractmethod
    def _has(self, name: str) -> bool:
        """Whether a file of that name exists."""

    def _head(self, name: str, count: int = HEAD) -> bytes:
        """Read the first bytes of a file; empty where it cannot be read. Thread-safe."""
        try:
            return self._read(name)[:count]
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

    @property
    def class_folders(self) -> list[str]:
        """Names of the folders that `labels: folders` makes the classes, sorted; none if an image is in no folder."""
        return class_folders(self.names)[0]

    @property
    def likely_classes(self) -> list[str]:
        """Those folders, unless they are numbered as by tools that put a thousand images into each."""
        folders = self.class_folders
        return [] if all(re.fullmatch(r"\d{5}", folder) for folder in folders) else folders

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, where labels come from folders."""
        return self.class_folders if self.label_source == "folders" else []

    def given_labels(self) -> list[Any] | None:
        """Labels of all images as the files or folders give them: class numbers or vectors; None without labels.

        Raises LabelError if an image lacks a label, or a label is neither a class number nor a vector.
        """
        labels, source = self._given()
        if labels is not None:
            label_files.require_labels(labels, self.names, source)
        return labels

    def _given(self) -> tuple[list[Any] | None, str]:
        """Labels of all images, not yet checked, or None; and what holds them."""
        if self.label_source == "folders":
            return label_files.from_folders(self.names, str(self.path)), str(self.path)
        table, source = self._table()
        return (None if table is None else label_files.in_order(table, self.names, source)), source

    def _read_labels(self) -> NDArray[np.float32]:
        labels, source = self._given()
        if labels is None:
            raise label_files.no_labels(source, self.labels, self.names, self.likely_classes, self._has(FILE))
        if len(self.class_names) > self.labels:
            raise label_files.too_many_folders(source, self.labels, self.class_names)
        return label_files.as_vectors(labels, self.names, self.labels, source)

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
            name = self.names[index]
            data = self._read(name)
            return decode(data, self.target, is_npy=_is_npy(name, data), suffix=suffix_of(name)).pixels
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def label(self, index: int) -> NDArray[np.float32]:
        """Label of an image, [K]."""
        return super().label(index) if self._labels is None else self._labels[index]

    def fingerprint(self) -> str:
        """sha256 of the fitting options, names, contents and labels; equal for a folder and its archive."""
        t = self.target
        how = [self.size, t.channels, self.labels, t.fit, t.filter, t.background]
        whole = hashlib.sha256(json.dumps(how).encode())
        in_threads(self._hash, [int(i) for i in np.flatnonzero(~self.checked.hashed)])
        for name, digest in zip(self.names, self.checked.digests):
            whole.update(json.dumps([canonical(name), digest.tobytes().hex()]).encode())
        if self._labels is not None:
            whole.update(self._labels.tobytes())
        return whole.hexdigest()

    def _hash(self, index: int) -> None:
        try:
            self.checked.hash(index, self._read(self.names[index]))
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def smallest_side(self) -> int | None:
        """Height or width, in pixels, of the smallest readable image; None if none is readable."""
        return min((min(size) for size in self.sizes()), default=None)

    def sizes(self) -> set[Size]:
        """(height, width), in pixels, that readable images have before they are fitted; none for none readable."""
        if not self.checked.unread:
            return self.checked.all_sizes()
        return {size for size in in_threads(self._size_of, range(len(self))) if size}

    def _size_of(self, index: int) -> Size | None:
        name = self.names[index]
        if size := size_in_head(self._head(name, SIZE_HEAD), suffix_of(name)):
            return size
        try:
            data = self._read(name)
            return dimensions(data, self.channels, is_npy=_is_npy(name, data), suffix=suffix_of(name))
        except BadImage:
            return None

    # --- checks ------------------------------------------------------------------------------------------------------

    def read_all(self, progress: Progress | None = None) -> None:
        """Decode every image that has not been decoded, once, in threads, and keep its properties in `checked`."""
        in_threads(self._inspect, self.checked.unread, progress)

    def check(self, progress: Progress | None = None) -> list[Finding]:
        """Decode every image once, in threads, and list what is unusable or odd."""
        self.read_all(progress)
        return list(self.checked.findings(lambda index: self._shown(self.names[index]), self.target))

    def _inspect(self, index: int) -> None:
        name = self.names[index]
        try:
            data = self._read(name)
            self.checked.hash(index, data)
            self.checked.keep(index, inspect(data, self.channels, is_npy=_is_npy(name, data), suffix=suffix_of(name)))
        except BadImage as err:
            self.checked.keep(index, str(err))

    def remarks(self) -> list[str]:
        """Sentences about the images as a whole, once they are checked."""
        words = []
        if self.channels == 3 and len(self) == self.checked.gray:
            words.append(f"all {len(self):,} images are gray and become RGB: image.channels=1 trains on gray")
        if self.class_names:
            unused = f", and {FILE} is not read" if self._has(FILE) else ""
            words.append(f"classes are the folders {label_files.numbered(self.class_names)}{unused}")
        return words


def _is_npy(name: str, data: bytes) -> bool:
    """Whether a file holds an array, by its first bytes; by its suffix where they tell nothing."""
    return data.startswith(NPY) or (name.lower().endswith(NPY_SUFFIX) and not form_of(data[:HEAD]))
