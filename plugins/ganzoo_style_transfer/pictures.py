"""The pictures of a style transfer: read as users have them, with their alpha."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PIL
from PIL import ImageOps, UnidentifiedImageError

from ganzoo.errors import DataError
from ganzoo.io.images import PIXELS, Pixels, eight_bit_gray
from ganzoo.nn.pixels import to_unit
from ganzoo.types import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


@dataclass(frozen=True)
class Picture:
    """A picture: colours uint8 [3, H, W], alpha uint8 [H, W] where it has one, (height, width) of the file."""

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
        """A painting [1, 3, H, W] in [-1, 1] as uint8 [3 or 4, H, W], rounded to nearest, under this one's alpha."""
        rgb = ((picture[0].float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
        return rgb if self.alpha is None else np.concatenate([rgb, self.alpha[None]])


def read(path: Path, size: int, *, flat: bool = False) -> Picture:
    """Read a picture, upright, at most `size` pixels a side. Raises DataError that names the file.

    Gray pictures become RGB. With `flat`, what is transparent shows white. Else alpha is kept, pixels that nobody sees
    are white, and those that are seen in part keep their own colour.
    """
    try:
        with PIL.open(path, formats=FORMATS) as file:
            if file.width * file.height > PIXELS:
                raise DataError(f"{path} has {file.width:,}x{file.height:,} pixels, too many to open: scale it down.")
            source = (file.height, file.width)
            file.draft("RGB", (size, size))  # a JPEG can be decoded at a fraction of its size
            picture = ImageOps.exif_transpose(file)
            try:
                picture = eight_bit_gray(picture)
            except ValueError as err:
                raise DataError(f"{path} {err}.") from None
            made = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path} is no file: name a picture.") from None
    except UnidentifiedImageError:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty (0 bytes): remove it or copy it again.") from None
        known = "PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
        raise DataError(f"{path} is no {known} image: remove it or replace it.") from None
    except (OSError, SyntaxError, ValueError, PIL.DecompressionBombError) as err:
        reason = " ".join(str(err).split())[:120].rstrip(".")
        raise DataError(f"{path} cannot be decoded ({reason}): remove it or copy it again.") from None
    if max(made.size) > size:
        width, height = (max(1, round(side * size / max(made.size))) for side in made.size)
        made = made.resize((width, height), PIL.Resampling.LANCZOS)
    if made.mode == "RGBA" and flat:
        made = PIL.alpha_composite(PIL.new("RGBA", made.size, "white"), made).convert("RGB")
    pixels = np.array(made).transpose(2, 0, 1)
    alpha = np.ascontiguousarray(pixels[3]) if len(pixels) == 4 else None
    rgb = np.ascontiguousarray(pixels[:3]) if alpha is None else np.where(alpha == 0, np.uint8(255), pixels[:3])
    return Picture(rgb, alpha, source)
