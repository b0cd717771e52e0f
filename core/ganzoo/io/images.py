"""Images to files and grids. Pictures carry where they came from in their metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL.PngImagePlugin import PngInfo

from ganzoo.errors import UsageError
from ganzoo.io.files import atomic_write

Pixels = NDArray[np.uint8]


def picture(image: Pixels) -> PIL.Image:
    """uint8 [C, H, W] as a picture: gray, RGB or RGBA; any other number of channels side by side in gray."""
    channels = image.shape[0]
    if channels == 1:
        return PIL.fromarray(image[0], "L")
    if channels in (3, 4):
        return PIL.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)), "RGB" if channels == 3 else "RGBA")
    return PIL.fromarray(np.concatenate(list(image), axis=1), "L")


TILE = 64  # pixels: the images of a run are enlarged to about this, so that a grid of them can be looked at
PIXELS = 500_000_000  # of one picture; larger ones fill memory, and few programs open them


def refuse_huge(what: str, width: int, height: int) -> None:
    """Raise UsageError where a picture would be too large to be made or opened; `what` names what asks for it."""
    if width * height > PIXELS:
        raise UsageError(
            f"{what}: the picture would be {width:,}x{height:,} pixels, more than {PIXELS // 10**6:,} million: choose "
            f"fewer images."
        )


def grid(images: Pixels, columns: int, height: int = 0) -> Pixels:
    """uint8 [N, C, H, W] tiled row by row as [C, rows * H, columns * W]; missing tiles are white.

    Images smaller than `height` are enlarged by repeating each pixel a whole number of times.
    """
    scale = max(1, height // images.shape[2])
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    n, c, h, w = images.shape
    rows = -(-n // columns)
    full = np.full((rows * columns, c, h, w), 255, np.uint8)
    full[:n] = images
    return full.reshape(rows, columns, c, h, w).transpose(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """(columns, rows) of a sample grid of about 1024 pixels, between 4 and 16 each."""
    return max(4, min(16, 1024 // max(width, TILE))), max(4, min(12, 768 // max(height, TILE)))


def to_eight_bits(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """16 bits -> 8 bits: round(x / 257), which maps 65535 to 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def eight_bit_gray(image: PIL.Image) -> PIL.Image:
    """A picture as it is, but one of 16-bit gray with 8 bits. Raises ValueError that says what else it holds."""
    if image.mode == "F":
        raise ValueError("holds floating-point values, whose range is not known: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("holds 32-bit values: save it with 8 or 16 bits")
    return PIL.fromarray(to_eight_bits(values))


def save(image: Pixels, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write uint8 [C, H, W] as PNG, with metadata as text; beside it an .npy where the channels make no picture."""
    info = PngInfo()
    for key, value in (metadata or {}).items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    with atomic_write(path) as temporary:
        picture(image).save(temporary, format="PNG", pnginfo=info)
    if image.shape[0] not in (1, 3, 4):
        with atomic_write(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, image)
