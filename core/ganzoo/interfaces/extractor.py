"""The slot for a network that sees: images in, feature maps and vectors out, by name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor, nn

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.io import hashes
from ganzoo.registry.component import Component
from ganzoo.types import Image, Progress


class Extractor(nn.Module, Component, ABC, kind="extractor"):
    """(channels, /)  Images [N, C, H, W] in [-1, 1] -> {output: maps [N, C_l, H_l, W_l] or vectors [N, D]}.

    A fixed network: nothing in it learns, and gradients reach the images. Metrics, perceptual distances and style
    transfer are functions of what it gives. The features of an image do not depend on the others of its batch. It
    computes in the images' precision, given modules of the same (`extractor.double()`), and does its own resizing.
    """

    outputs: ClassVar[tuple[str, ...]]  # names of all that it can give
    layers: ClassVar[tuple[str, ...]] = ()  # those outputs that are feature maps, shallow to deep; others are vectors
    rgb: ClassVar[bool] = False  # whether it was trained on RGB images: it takes 3 channels, or 1, which it repeats
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights

    @abstractmethod
    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named outputs, in the order in which they are named.

        Raises:
            RecipeError: it has no such output
            CheckpointError: weights that only this output needs are missing or wrong
            DataError: the images are too small
        """

    def prepare(self, outputs: Sequence[str]) -> None:
        """Make sure that these outputs can be computed: load weights that were not needed so far.

        Whoever builds an extractor calls this with all that it will ask for, so that a missing file is known before any
        work; `forward` does the same. Raises RecipeError and CheckpointError as `forward`.
        """
        if unknown := [name for name in outputs if name not in self.outputs]:
            raise RecipeError(
                f"the extractor '{self.name}' has no output '{unknown[0]}'. Choose one of {', '.join(self.outputs)}."
            )

    def least(self, outputs: Sequence[str]) -> int:
        """Pixels that a side of the images must have for these outputs."""
        return 1

    def fingerprint(self, output: str) -> str:
        """sha256 over all that decides an output, weights and options: part of every metric's record."""
        return hashes.fingerprint(self)

    @classmethod
    def plan(cls, layer: str) -> tuple[int, ...]:
        """Widths of the convolutions up to a layer, in order, with 0 where the size is halved.

        () for a network that is no plain chain of 3x3 convolutions. A decoder mirrors the plan, and memory is estimated
        by it.
        """
        return ()

    @classmethod
    def weight_files(cls) -> list[str]:
        """Return a line for each published file of its weights: name, size, sha256, licence and address."""
        return []

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring its weights into the cache directory, where a user asks for it, and return their paths.

        Raises CheckpointError that says what to put where: for weights that cannot be fetched, or always if `offline`.
        """
        raise CheckpointError(f"the extractor '{cls.name}' needs no file of weights.")

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)
