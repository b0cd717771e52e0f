"""Images in rows and columns, with words above and beside them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from ganzoo.io.images import TILE, Pixels, grid

MARGIN = 4  # pixels around a word
LONGEST = 24  # letters of a word; longer ones keep their end


def figure(images: Pixels, columns: Sequence[str], rows: Sequence[str] = ("",)) -> Pixels:
    """uint8 [N, C, H, W], row by row, as one labelled picture [C, H', W'], black on white.

    Args:
        images: as many as rows times columns
        columns: what stands above each column
        rows: what stands left of each row
    """
    tiles = grid(images, len(columns), TILE)
    channels, height, width = tiles.shape
    tall, wide = height // len(rows), width // len(columns)
    above, beside = [_word(text) for text in columns], [_word(text) for text in rows]
    top = max(word.shape[0] for word in above)
    left = max(word.shape[1] for word in beside) if any(rows) else 0
    made = np.full((channels, top + height, left + width), 255, np.uint8)
    made[:, top:, left:] = tiles
    ink = made[:3] if channels == 4 else made  # alpha stays opaque
    for i, word in enumerate(above):
        _put(ink, word, left + i * wide, 0, wide)
    for i, word in enumerate(beside):
        _put(ink, word, 0, top + i * tall + max(0, (tall - word.shape[0]) // 2), left)
    return made


def _put(ink: Pixels, word: Pixels, x: int, y: int, room: int) -> None:
    word = word[: ink.shape[1] - y, :room]
    x += (room - word.shape[1]) // 2
    ink[:, y : y + word.shape[0], x : x + word.shape[1]] = word


def _word(text: str) -> Pixels:
    """Black letters on white, [H, W]."""
    text = text if len(text) <= LONGEST else f"..{text[2 - LONGEST :]}"
    text = text.encode("latin-1", "replace").decode("latin-1")  # what every default font has
    font = ImageFont.load_default()
    _, _, width, _ = (round(x) for x in font.getbbox(text))
    _, _, _, height = (round(x) for x in font.getbbox("Ag"))
    made = PIL.new("L", (width + 2 * MARGIN, height + 2 * MARGIN), 255)
    ImageDraw.Draw(made).text((MARGIN, MARGIN), text, fill=0, font=font)
    return np.asarray(made)
