"""Images uint8 [C, H, W] as pictures, grids and files. Files say in their metadata where they came from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ganzoo.errors import UsageError
from ganzoo.io.files import atomic_write
from ganzoo.version import __version__

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
    """Write uint8 [C, H, W] as PNG with metadata as text, and as .npy too where the channels are no colours.

    The text "ganzoo", the version, comes first, by which datasets know the pictures that are no photographs.
    """
    info = PngInfo()
    for key, value in {"ganzoo": __version__, **(metadata or {})}.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    with atomic_write(path) as temporary:
        picture(image).save(temporary, format="PNG", pnginfo=info)
    if image.shape[0] not in (1, 3, 4):
        with atomic_write(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
            np.save(file, image)


# --- labelled pictures ------------------------------------------------------------------------------------------------

MARGIN = 4  # pixels around a label
LONGEST = 24  # letters of a label; longer ones keep their end


def figure(images: Pixels, columns: Sequence[str], rows: Sequence[str] = ("",)) -> Pixels:
    """Images uint8 [N, C, H, W], row by row, as one labelled picture uint8 [C, H', W'], black on white.

    Args:
        images: rows times columns of them
        columns: label above each column
        rows: label left of each row
    """
    tiles = grid(images, len(columns), TILE)
    channels, height, width = tiles.shape
    row_height, column_width = height // len(rows), width // len(columns)
    column_labels, row_labels = [_label(text) for text in columns], [_label(text) for text in rows]
    top = max(label.shape[0] for label in column_labels)
    left = max(label.shape[1] for label in row_labels) if any(rows) else 0
    canvas = np.full((channels, top + height, left + width), 255, np.uint8)
    canvas[:, top:, left:] = tiles
    ink = canvas[:3] if channels == 4 else canvas  # alpha stays opaque
    for i, label in enumerate(column_labels):
        _paste(ink, label, left + i * column_width, 0, column_width)
    for i, label in enumerate(row_labels):
        _paste(ink, label, 0, top + i * row_height + max(0, (row_height - label.shape[0]) // 2), left)
    return canvas


def _paste(ink: Pixels, label: Pixels, x: int, y: int, width: int) -> None:
    """Write a label [H, W] into all channels of a picture [C, H, W], in the middle of `width` pixels from (x, y)."""
    label = label[: ink.shape[1] - y, :width]
    x += (width - label.shape[1]) // 2
    ink[:, y : y + label.shape[0], x : x + label.shape[1]] = label


def _label(text: str) -> Pixels:
    """Black letters on white, uint8 [H, W]."""
    text = text if len(text) <= LONGEST else f"..{text[2 - LONGEST :]}"
    text = text.encode("latin-1", "replace").decode("latin-1")  # every default font has these letters
    font = ImageFont.load_default()
    _, _, width, _ = (round(x) for x in font.getbbox(text))
    _, _, _, height = (round(x) for x in font.getbbox("Ag"))
    image = PIL.new("L", (width + 2 * MARGIN, height + 2 * MARGIN), 255)
    ImageDraw.Draw(image).text((MARGIN, MARGIN), text, fill=0, font=font)
    return np.asarray(image)
