"""Packing: a dataset's images, fitted once and written into one file, which gives the same pixels and decodes faster.

Images are numbered in the dataset's order, 00000/img00000000.png and so on, as uncompressed PNG, or as .npy [H, W, C]
if PNG has no such number of channels. A zip is as StyleGAN's, stored, with labels in dataset.json. A tar is as
WebDataset's, with class numbers in key.cls and vectors in key.json. Both record how they were made: the zip in
ganzoo.json, the tar in the comment of its pax header.
"""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ganzoo import __version__
from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Dataset
from ganzoo.io.files import atomic_write, ensure_folder

Format = Literal["zip", "tar"]
Label = int | list[float]  # a class number, or a vector
Add = Callable[[str, bytes, Label | None], None]

COLOURS = {1: 0, 3: 2, 4: 6}  # channels -> PNG's colour type: gray, RGB, RGBA
THREADS = 8
AHEAD = 64  # images encoded ahead of writing


@runtime_checkable
class Labelled(Protocol):
    """A dataset whose files have labels, even where the recipe wants none."""

    def given_labels(self) -> list[Label] | None:
        """A class number or a vector for each image; None without labels. Raises DataError."""


def labels_of(dataset: Dataset) -> Sequence[Label] | None:
    """Labels to write: class numbers if the dataset's vectors are one-hot, else vectors, or what the files hold."""
    if not dataset.labels:
        return dataset.given_labels() if isinstance(dataset, Labelled) else None
    rows = np.stack([dataset.label(i) for i in range(len(dataset))])
    if ((rows == 1).sum(axis=1) == 1).all() and (np.count_nonzero(rows, axis=1) == 1).all():
        return [int(i) for i in rows.argmax(axis=1)]
    return [[float(v) for v in row] for row in rows]


def require_colour(text: str | None) -> None:
    """Raise DataError for a --background that is no colour."""
    try:
        ImageColor.getrgb(text or "white")
    except ValueError:
        raise DataError("is no colour", place=f"--background {text}", cure="write white or #rrggbb") from None


def destination(out: Path, form: Format | None, source: str, overwrite: bool) -> Path:
    """Path of the file to write, with its folder created. Raises UsageError for an unclear or an existing name.

    Args:
        out: its path; `form` is appended if it has no suffix
        form: "zip" or "tar"; None takes the suffix of `out`
        source: path of the dataset, which must not be overwritten
        overwrite: replace an existing file
    """
    suffix = out.suffix.lower().lstrip(".")
    if form and suffix not in get_args(Format):
        out = out.with_name(f"{out.name}.{form}")
    elif suffix not in get_args(Format) or (form or suffix) != suffix:
        raise UsageError(f"{out}: end the name in .zip or .tar, as --format wants it.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder: name the file to be written.")
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise UsageError(f"{out} is what is to be packed: choose another name.")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already: choose another name, or say --overwrite.")
    ensure_folder(out.parent, "gz data pack")
    return out


def write(
    dataset: Dataset,
    out: Path,
    labels: Sequence[Label] | None = None,
    progress: Callable[[int, int], None] | None = None,
    grays: list[int] | None = None,
) -> dict[str, Any]:
    """Write all images of a dataset, in its order, into a .zip or .tar, which is complete or not written at all.

    Args:
        dataset: the images, fitted by its own options
        out: the file, .zip or .tar
        labels: one per image; None writes no labels
        progress: called with (images written, all images) every AHEAD images
        grays: grows by the index of each image of three channels that are equal everywhere

    Returns:
        the record of how the file was made, as it stands in the file

    Raises:
        DataError: an image cannot be read
    """
    about = {
        "packed_by": f"ganzoo {__version__}",
        "source": dataset.title,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "images": len(dataset),
        "size": list(dataset.size),
        "channels": dataset.channels,
        "fitted": {**dataset.fitted, "size": list(dataset.size)},
    }
    if names := getattr(dataset, "class_names", []):
        about["classes"] = list(names)
    opened = _zip if out.suffix.lower() == ".zip" else _tar
    with atomic_write(out) as temporary, opened(temporary, about, labels is not None) as add:
        for done, (name, data) in enumerate(_encoded(dataset, [] if grays is None else grays), 1):
            add(name, data, None if labels is None else labels[done - 1])
            if progress and (done % AHEAD == 0 or done == len(dataset)):
                progress(done, len(dataset))
    return about


def key(index: int) -> str:
    """Name of an image without its suffix: a folder for each thousand images, as 00001/img00001234."""
    return f"{index // 1000:05d}/img{index:08d}"


def encode(image: NDArray[np.uint8]) -> tuple[str, bytes]:
    """Encode uint8 [C, H, W] as (".png", bytes), uncompressed, or as (".npy", bytes) if C is not 1, 3 or 4."""
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    if image.shape[0] in COLOURS:
        return ".png", png(pixels)
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=False)
    return ".npy", stream.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, C], C of 1, 3 or 4, as PNG that is neither compressed nor filtered.

    Pillow's uncompressed PNGs have filtered rows, and undoing the filter takes most of the time of decoding.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter type, 0 for none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b"")]
    framed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _encoded(dataset: Dataset, grays: list[int]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of all images in order, encoded ahead in threads. The first exception ends it."""

    def encoded(index: int) -> tuple[str, bytes]:
        image = dataset.image(index)
        if len(image) == 3 and (image[0] == image[1]).all() and (image[0] == image[2]).all():
            grays.append(index)
        suffix, data = encode(image)
        return key(index) + suffix, data

    waiting: deque[Future[tuple[str, bytes]]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for index in range(len(dataset)):
            waiting.append(pool.submit(encoded, index))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- the two formats, without times and owners, so that the same images give the same bytes ---------------------------


@contextmanager
def _zip(path: Path, about: Mapping[str, Any], labelled: bool) -> Iterator[Add]:
    table: list[Any] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def store(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name)  # dated 1980
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)

        def add(name: str, data: bytes, label: Label | None) -> None:
            store(name, data)
            table.append([name, label])

        yield add
        store("dataset.json", json.dumps({"labels": table if labelled else None}).encode())
        store("ganzoo.json", json.dumps(about, indent=1).encode())


@contextmanager
def _tar(path: Path, about: Mapping[str, Any], labelled: bool) -> Iterator[Add]:
    comment = {"comment": json.dumps(about)}  # a separate file would be one more sample, without an image
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=comment) as archive:

        def store(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)  # dated 1970
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        def add(name: str, data: bytes, label: Label | None) -> None:
            store(name, data)
            if labelled:
                end = ".cls" if isinstance(label, int) else ".json"
                store(str(PurePosixPath(name).with_suffix(end)), json.dumps(label).encode())

        yield add
