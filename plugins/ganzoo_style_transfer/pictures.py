"""The pictures of a style transfer: read as users have them, with their alpha."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PIL

from ganzoo.errors import DataError
from ganzoo.io import budgets
from ganzoo.io.image_files import BadImage, read_picture, suffix_of
from ganzoo.io.images import Pixels
from ganzoo.nn.pixels import to_unit
from ganzoo.types import Image

PIXELS = budgets.IMAGE_PIXELS  # of a picture; larger ones are refused


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        rgb: colours, uint8 [3, H, W]
        alpha: uint8 [H, W]; None where it has none
        source: (height, width) of the file, before it was scaled down
    """

    rgb: Pixels
    alpha: Pixels | None
    source: tuple[int, int]

    @property
    def digest(self) -> str:
        """sha256 of the pixels."""
        return hashlib.sha256(self.rgb.tobytes() + (b"" if self.alpha is None else self.alpha.tobytes())).hexdigest()

    def unit(self) -> Image:
        """The colours as [1, 3, H, W] in [-1, 1]."""
        return to_unit(torch.from_numpy(self.rgb)[None])

    def with_alpha(self, picture: Image) -> Pixels:
        """Another picture [1, 3, H, W] in [-1, 1], rounded to uint8 [3 or 4, H, W], with the alpha of this one."""
        rgb = ((picture[0].float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
        return rgb if self.alpha is None else np.concatenate([rgb, self.alpha[None]])


def read(path: Path, size: int, *, flat: bool = False) -> Picture:
    """Read a picture, upright, at most `size` pixels a side. Raises DataError that names the file.

    Gray pictures become RGB. With `flat`, what is transparent shows white. Else alpha is kept, invisible pixels are
    white, and partly visible ones keep their own colour.
    """
    try:
        raster = read_picture(_contents(path), suffix_of(path.name), PIXELS)
    except BadImage as err:
        raise DataError(err.fault, place=str(path), cure=err.cure) from None
    image = raster.picture.convert("RGBA" if raster.picture.mode in ("LA", "RGBA") else "RGB")
    if max(image.size) > size:
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
        image = image.resize((width, height), PIL.Resampling.LANCZOS)
    if image.mode == "RGBA" and flat:
        image = PIL.alpha_composite(PIL.new("RGBA", image.size, "white"), image).convert("RGB")
    pixels = np.array(image).transpose(2, 0, 1)
    alpha = np.ascontiguousarray(pixels[3]) if len(pixels) == 4 else None
    rgb = np.ascontiguousarray(pixels[:3]) if alpha is None else np.where(alpha == 0, np.uint8(255), pixels[:3])
    return Picture(rgb, alpha, raster.source)


def _contents(path: Path) -> bytes:
    """Read a file of at most `budgets.IMAGE_BYTES`. Raises BadImage."""
    if not path.is_file():  # a pipe would block for ever
        raise BadImage("is no file", "name a picture")
    try:
        if path.stat().st_size > budgets.IMAGE_BYTES:
            raise BadImage(f"is larger than {budgets.IMAGE_BYTES >> 20} MiB", "scale the picture down first")
        return path.read_bytes()
    except OSError as err:
        raise BadImage(f"cannot be read ({err.strerror or err})", "make it readable") from None
