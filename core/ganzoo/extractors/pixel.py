"""The pixels themselves, as an extractor."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ganzoo.interfaces import Extractor
from ganzoo.types import Image


class Pixel(Extractor, name="pixel"):
    """The images themselves, for any number of channels and any size; needs no file.

    Outputs: pixels [N, C, H, W], from -1 to 1.
    """

    outputs: ClassVar[tuple[str, ...]] = ("pixels",)
    layers: ClassVar[tuple[str, ...]] = ("pixels",)

    def __init__(self, channels: int, /) -> None:
        super().__init__()

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the images. Raises RecipeError."""
        self.prepare(outputs)
        return dict.fromkeys(outputs, images)
