"""TODO docstring."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from ganzoo.errors import CheckpointError
from ganzoo.registry.component import Component
from ganzoo.types import Progress


class Features(nn.Module, Component, kind="features"):
    """(channels, /)  images [N, C, H, W] with values 0 to 255, uint8 or float -> {tap: [N, D]}.

    A fixed network through which metrics look. It does its own resizing.
    """

    taps: ClassVar[tuple[str, ...]]  # names of its outputs
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights
    fingerprint: str  # sha256 of its weights: in every metric's provenance

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images, float32."""
        raise NotImplementedError

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring its weights into the cache directory, on a user's word, and say where they are.

        Raises CheckpointError that says what to put where: for weights that cannot be fetched, or always if `offline`.
        """
        raise CheckpointError(f"the extractor '{cls.name}' needs no file of weights.")
