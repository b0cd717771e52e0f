"""Images in rows and columns, with labels above and beside them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from ganzoo.io.images import TILE, Pixels, grid

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
