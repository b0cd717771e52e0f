"""Images to train on and to compare with."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ganzoo.errors import DataError
from ganzoo.registry.component import Component
from ganzoo.types import Size


class UnfitImage(DataError):
    """An image whose size or channels are not those that a dataset was opened for; the sentence speaks of a recipe.

    A command without a recipe builds a sentence of its own from the fields.

    Args:
        actual: the image's size or channels, as "is 5x5"
        expected: those that the dataset was opened for, as "16x16"
        place: the file
        change_file: what to do with the file, as "resize it"
        change_recipe: what to do with a recipe, as "choose a smaller image.size"
        options: options of the dataset, each of which makes it fit, as "upscale=true"
    """

    def __init__(
        self,
        actual: str,
        expected: str,
        *,
        place: str = "",
        change_file: str = "",
        change_recipe: str = "",
        options: Sequence[str] = (),
    ) -> None:
        settings = " or ".join(f"dataset.{option}" for option in options)
        cures = filter(None, (change_recipe, change_file, settings and f"set {settings}"))
        super().__init__(f"{actual}, the recipe wants {expected}", place=place, cure=" or ".join(cures))
        self.args = (actual, expected)  # a copy is built with these
        self.actual, self.expected = actual, expected
        self.change_file, self.options = change_file, tuple(options)


GROUPS = 5  # kinds of files left out that are named


@dataclass(frozen=True)
class Finding:
    """A problem with one file."""

    file: str
    problem: str
    fatal: bool  # whether training cannot use the file


class Dataset(Component, ABC, kind="dataset"):
    """A set of images, each with a label.

    Built with (size, channels, label_length, /). Index -> image uint8 [C, H, W] and label float32 [K], in numpy. A
    subclass defines `__len__` and `image`. An index always gives the same image; reading is safe from several threads.
    """

    size: Size
    channels: int
    labels: int
    needs_path: ClassVar[bool] = False
    fitted: Mapping[str, Any] = {}  # how images are brought to the size (filter and so on), for the record
    left_out: Mapping[str, int] = {}  # number of files beside the images that are not read, by what they are

    def __init__(self, size: Size, channels: int, label_length: int, /) -> None:
        self.size, self.channels, self.labels = size, channels, label_length

    @classmethod
    def claims(cls, source: str) -> bool:
        """Whether `--data SOURCE` means this dataset (a folder, an archive, a registered name)."""
        return source == cls.name

    @property
    def title(self) -> str:
        """A short name for run directories."""
        return self.name

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """Return one image as uint8 [C, H, W], in the size and channels it was built with.

        Raises DataError that names the file.
        """

    def label(self, index: int) -> NDArray[np.float32]:
        """Return the image's label, float32 [K]; one-hot for classes. Zeros by default."""
        return np.zeros(self.labels, np.float32)

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        """Read everything once and report what is unreadable or odd. Called before training. Reads nothing by default.

        `progress(done, total)` is called now and then, from the calling thread.
        """
        return []

    def left_out_in_words(self) -> str:
        """Count the files that are left out by what they are, in one line; "" where there are none."""
        groups = sorted(self.left_out.items(), key=lambda group: (-group[1], group[0]))
        rest = sum(count for _, count in groups[GROUPS:])
        return ", ".join(f"{count:,} {kind}" for kind, count in groups[:GROUPS] + [("others", rest)] * bool(rest))

    def fingerprint(self) -> str:
        """Return a hash that changes when an image changes; checkpoints and every metric's record hold it.

        By default sha256 over all images and labels, which reads them once.
        """
        return self._hash_of_all_images

    @cached_property
    def _hash_of_all_images(self) -> str:
        total = hashlib.sha256(repr((self.size, self.channels, self.labels, len(self))).encode())
        for index in range(len(self)):
            total.update(np.ascontiguousarray(self.image(index)).tobytes())
            total.update(np.ascontiguousarray(self.label(index)).tobytes())
        return total.hexdigest()
