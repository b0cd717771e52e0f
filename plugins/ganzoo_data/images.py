"""What folders and archives of images share: names in order, bytes by name, labels, checks, fingerprint."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Finding
from ganzoo.types import Size
from ganzoo_data.decode import SUFFIXES, BadImage, Decoded, Filter, Fit, Target, decode, dimensions
from ganzoo_data.labels import FILE, Table, as_vectors, in_order, is_vector, read_table

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]

MAX_BYTES = 512 << 20  # of one file, unpacked; more is a bomb or no image
CHUNK = 32  # images that a thread takes at a time when all are read
PACKED = "ganzoo.json"  # how `gz data pack` fitted the images beside it


def visible(name: str) -> bool:
    """Whether a relative path is the user's own: no dot files, none of what macOS adds to a zip."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def is_image(name: str) -> bool:
    """Whether a name ends in one of the suffixes that are read."""
    return name.lower().endswith(SUFFIXES)


def in_threads(work: Callable[[int], T], indices: Sequence[int], progress: Progress | None = None) -> list[T]:
    """`work` of each index, in order. The first exception ends it, and no work that waits is begun."""
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
    """What a check remembers of an image that can be read."""

    gray: bool
    odd: list[str]


class ImageSet(Dataset):
    """Images by name.

    Args:
        path: Where the images are; `~` is your home.
        fit: What other proportions become: `crop` cuts the middle out, `fit` adds bars, `error` wants no other size.
        filter: How images are scaled down: `lanczos` or `box`.
        background: Colour behind transparent pixels and of the bars, as `white` or `#ffffff`. Four channels keep their
            alpha, and `#ffffff00` gives them transparent bars. Bars are 0 where channels are neither 1, 3 nor 4.
        upscale: Accept images that are smaller than the recipe's size.
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
        self.path = Path(path).expanduser()
        self.target = Target(self.size, channels, fit, filter, background, upscale)
        self._digests: dict[int, bytes] = {}
        self.names = self._choose(self._list())
        self.fitted = {"fit": fit, "filter": filter, "background": background} | self._packed()
        self._labels = self._read_labels() if labels else None

    @abstractmethod
    def _list(self) -> Iterable[str]:
        """Relative paths of all files, with slashes. Raises DataError where there is nothing to list."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """A file's bytes, at most MAX_BYTES. Raises BadImage. Safe from several threads."""

    @abstractmethod
    def _has(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def _choose(self, files: Iterable[str]) -> list[str]:
        seen = [name for name in files if visible(name) and name != FILE]
        names = sorted(filter(is_image, seen))
        if not names:
            others = f" ({len(seen)} other files)" if seen else ""
            raise DataError(f"{self.path} holds no images{others}: put files there that end in {', '.join(SUFFIXES)}.")
        return names

    def _shown(self, name: str) -> str:
        """A file's name as findings call it, relative to `root`."""
        return name

    @property
    def root(self) -> Path:
        """What sentences put before a file's name."""
        return self.path

    def _bad(self, name: str, err: BadImage) -> DataError:
        return DataError(f"{self.root}/{self._shown(name)} {err}.")

    def _about(self) -> bytes | str:
        """What `gz data pack` wrote of how it made this, as JSON. Raises BadImage."""
        return self._read(PACKED) if self._has(PACKED) else "null"

    def _packed(self) -> dict[str, Any]:
        """How `gz data pack` fitted these images, where it did. It is for the record, and no reason to fail."""
        try:
            about = json.loads(self._about())
        except (BadImage, ValueError, RecursionError):
            return {}
        fitted = about.get("fitted") if isinstance(about, dict) else None
        return {"packed": fitted} if isinstance(fitted, dict) else {}

    # --- labels ------------------------------------------------------------------------------------------------------

    def _table(self) -> tuple[Table | None, str]:
        """{name: label} of what has one, None for no labels at all; and what says so. Raises DataError."""
        source = f"{self.path}/{FILE}"
        if not self._has(FILE):
            return None, source
        try:
            return read_table(self._read(FILE), str(self.path)), source
        except BadImage as err:
            raise self._bad(FILE, err) from err

    def given_labels(self) -> list[Any] | None:
        """The images' labels as the files give them, whatever the recipe wants; None where there are none.

        Raises DataError where some images have one and others not, or one is neither a class number nor a vector.
        """
        table, source = self._table()
        if table is None:
            return None
        found = in_order(table, self.names, source)
        for name, label in zip(self.names, found):
            if type(label) is not int and not is_vector(label):
                raise DataError(
                    f"{source}: {name} has the label '{json.dumps(label)[:40]}': write a class number or a vector, "
                    "or set labels=0."
                )
        return found

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
        """Read, decode and fit one image: uint8 [C, H, W]. Raises DataError that names the file."""
        try:
            return self._decode(index).pixels
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def label(self, index: int) -> NDArray[np.float32]:
        """The label that the files give the image: [K]."""
        return super().label(index) if self._labels is None else self._labels[index]

    def _decode(self, index: int, *, keep_digest: bool = False) -> Decoded:
        name = self.names[index]
        data = self._read(name)
        if keep_digest:
            self._digests[index] = hashlib.sha256(data).digest()
        return decode(data, self.target, is_npy=name.lower().endswith(".npy"))

    def fingerprint(self) -> str:
        """sha256 of how images are fitted, their names, contents and labels. The same for a folder and its archive."""
        t = self.target
        how = [self.size, t.channels, self.labels, t.fit, t.filter, t.background]
        whole = hashlib.sha256(json.dumps(how).encode())
        missing = [i for i in range(len(self)) if i not in self._digests]
        in_threads(self._digest, missing)
        for index, name in enumerate(self.names):
            whole.update(json.dumps([name, self._digests[index].hex()]).encode())
        if self._labels is not None:
            whole.update(self._labels.tobytes())
        return whole.hexdigest()

    def _digest(self, index: int) -> None:
        try:
            self._digests[index] = hashlib.sha256(self._read(self.names[index])).digest()
        except BadImage as err:
            raise self._bad(self.names[index], err) from err

    def smallest_side(self) -> int | None:
        """Height or width, in pixels, of the smallest image that can be read; None where none can."""
        return min((side for side in in_threads(self._side, range(len(self))) if side), default=None)

    def _side(self, index: int) -> int | None:
        name = self.names[index]
        try:
            return min(dimensions(self._read(name), self.channels, is_npy=name.lower().endswith(".npy")))
        except BadImage:
            return None

    # --- checks ------------------------------------------------------------------------------------------------------

    def check(self, progress: Progress | None = None) -> list[Finding]:
        """Decode every image once, in threads.

        Fatal: unreadable. Odd: mostly cropped away, scaled up, the same bytes twice, gray among colour.
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
            found = self._decode(index, keep_digest=True)
        except BadImage as err:
            return str(err)
        (height, width), (rows, columns) = found.source, self.size
        odd = []
        if found.kept < 0.5:
            odd.append(f"is {width}x{height}, of which the crop to {columns}x{rows} keeps {found.kept:.0%}")
        if found.upscaled:
            odd.append(f"is {width}x{height} and is scaled up to {columns}x{rows}")
        return Facts(found.gray, odd)
