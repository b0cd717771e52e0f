"""Images uint8 [C, H, W] as pictures, grids and files. Files say in their metadata where they came from."""

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

TILE = 64  # pixels a side, to about which small images are enlarged in a grid, so that one sees what they show
PIXELS = 500_000_000  # pixels of the largest picture; larger ones fill memory, and few programs open them


def picture(image: Pixels) -> PIL.Image:
    """uint8 [C, H, W] as gray, RGB or RGBA; any other number of channels side by side in gray."""
    channels = image.shape[0]
    if channels == 1:
        return PIL.fromarray(image[0], "L")
    if channels in (3, 4):
        return PIL.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)), "RGB" if channels == 3 else "RGBA")
    return PIL.fromarray(np.concatenate(list(image), axis=1), "L")


def refuse_huge(what: str, width: int, height: int) -> None:
    """Raise UsageError where a picture has too many pixels to be made or opened; `what` names the option at fault."""
    if width * height > PIXELS:
        raise UsageError(
            f"the picture would be {width:,}x{height:,} pixels, more than {PIXELS // 10**6:,} million",
            place=f"{what}:",
            cure="choose fewer images",
        )


def grid(images: Pixels, columns: int, height: int = 0) -> Pixels:
    """uint8 [N, C, H, W] tiled row by row as [C, rows * H, columns * W]; missing tiles are white.

    Images smaller than `height` are enlarged by repeating each pixel a whole number of times.
    """
    scale = max(1, height // images.shape[2])
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    n, c, h, w = images.shape
    rows = -(-n // columns)
    tiles = np.full((rows * columns, c, h, w), 255, np.uint8)
    tiles[:n] = images
    return tiles.reshape(rows, columns, c, h, w).transpose(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """(columns, rows) of a grid of samples of about 1024x768 pixels: 4 to 16 columns and 4 to 12 rows."""
    return max(4, min(16, 1024 // max(width, TILE))), max(4, min(12, 768 // max(height, TILE)))


def to_eight_bits(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Map 0..65535 to 0..255: round(x / 257)."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def save(image: Pixels, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write uint8 [C, H, W] as PNG with metadata as text, and as .npy too where the channels are no colours."""
    info = PngInfo()
    for key, value in (metadata or {}).items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    with atomic_write(path) as temporary:
        picture(image).save(temporary, format="PNG", pnginfo=info)
    if image.shape[0] not in (1, 3, 4):
        with atomic_write(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, image)
