"""Bytes of an image file -> uint8 [C, H, W]. Pure functions; BadImage says what is wrong with a file, without its name.

load        bytes -> PIL picture, upright, first frame
to_channels picture -> picture of mode L, RGB or RGBA
place       picture -> picture of exactly the wanted size
load_npy    bytes -> uint8 [C, H, W], for any number of channels
decode      all of it
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from ganzoo.io.images import eight_bit_gray, to_eight_bits
from ganzoo.types import Size

Fit: TypeAlias = Literal["crop", "fit", "error"]
Filter: TypeAlias = Literal["lanczos", "box"]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

# Named, because Pillow would otherwise try every format, and hand an EPS to Ghostscript. JPEG includes MPO.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
MAX_PIXELS = 89_478_485  # Pillow's own threshold for a decompression bomb; held also where Pillow's is switched off
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
BOMB = f"has more than {MAX_PIXELS:,} pixels: scale it down first"


class BadImage(ValueError):
    """A file that cannot be used; the text continues a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Target:
    """What every image of a dataset becomes."""

    size: Size
    channels: int
    fit: Fit = "crop"
    filter: Filter = "lanczos"
    background: str = "white"
    upscale: bool = False


@dataclass(frozen=True)
class Decoded:
    """An image and what a check wants to know about the file it came from."""

    pixels: NDArray[np.uint8]  # [C, H, W]
    source: Size  # (height, width) of the file
    kept: float  # fraction of the file's area that is not cropped away
    upscaled: bool
    gray: bool  # the file itself has no colour


def reason(err: BaseException) -> str:
    """What another library's exception says, fit to stand inside one sentence."""
    text = " ".join(str(err).split()).rstrip(".").replace(". ", "; ")
    return text[:200] or type(err).__name__


def decode(data: bytes, target: Target, *, is_npy: bool) -> Decoded:
    """Decode one file. Raises BadImage, whatever is wrong with it."""
    if not data:
        raise BadImage("is empty (0 bytes): remove it or copy it again")
    if is_npy:
        array = load_npy(data, target.channels)
        planes = [Image.fromarray(plane) for plane in array]
        gray = target.channels == 1
    else:
        if target.channels not in MODES:
            raise BadImage(
                f"has at most 4 channels, the recipe wants {target.channels}: "
                "use .npy files of [height, width, channels]"
            )
        picture = load(data)
        gray = picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I")
        planes = [to_channels(picture, target.channels, target.background)]
    source = (planes[0].height, planes[0].width)
    box, (height, width) = geometry(source, target)
    placed = [np.asarray(place(p, box, (height, width), target, i)) for i, p in enumerate(planes)]
    stacked = placed[0] if len(placed) == 1 else np.stack(placed, axis=-1)
    pixels = stacked.reshape(*target.size, target.channels).transpose(2, 0, 1)
    area = (box[2] - box[0]) * (box[3] - box[1])
    upscaled = height > box[3] - box[1] or width > box[2] - box[0]
    return Decoded(np.ascontiguousarray(pixels), source, area / (source[0] * source[1]), upscaled, gray)


# --- reading ---------------------------------------------------------------------------------------------------------


def load(data: bytes) -> Image.Image:
    """First frame of an encoded image, decoded and turned upright as its EXIF orientation says."""
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise BadImage(BOMB)
        picture.load()
        return ImageOps.exif_transpose(picture)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image: remove it or replace it") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(BOMB) from None
    except Exception as err:  # on damaged bytes Pillow's decoders raise anything, even SyntaxError
        raise BadImage(f"cannot be decoded ({reason(err)}): remove it or copy it again") from err


def dimensions(data: bytes, channels: int, *, is_npy: bool) -> Size:
    """(height, width) of an encoded image, of which no pixel is decoded. Raises BadImage, as `decode` would."""
    if is_npy:
        _, height, width = load_npy(data, channels).shape
        return height, width
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            return picture.height, picture.width
    except Exception as err:
        raise BadImage(f"cannot be decoded ({reason(err)}): remove it or copy it again") from err


def load_npy(data: bytes, channels: int) -> NDArray[np.uint8]:
    """uint8 [C, H, W] from a .npy of uint8 or uint16: [H, W, C] (wins a tie), [C, H, W] or, for one channel, [H, W]."""
    array = _npy_array(data)
    if array.ndim == 2 and channels == 1:
        array = array[None]
    elif array.ndim == 3 and array.shape[2] == channels:
        array = array.transpose(2, 0, 1)
    elif array.ndim != 3 or array.shape[0] != channels:
        wanted = "[height, width]" if channels == 1 else f"[height, width, {channels}] or [{channels}, height, width]"
        raise BadImage(
            f"has the shape {list(array.shape)}, the recipe wants {wanted}: change image.channels or the file"
        )
    if array.shape[1] * array.shape[2] > MAX_PIXELS:
        raise BadImage(BOMB)
    return np.ascontiguousarray(array if array.dtype == np.uint8 else to_eight_bits(array))


def _npy_array(data: bytes) -> NDArray[np.unsignedinteger]:
    # numpy.load would allocate whatever the header claims: here the header is compared with the bytes that follow.
    stream = BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except Exception as err:  # the header is a Python literal; a damaged one raises anything
        raise BadImage(f"is no .npy file ({reason(err)}): write it with numpy.save") from None
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise BadImage(f"holds {dtype}, not uint8 or uint16: convert it before numpy.save")
    count = int(np.prod(shape, dtype=object))
    if count == 0 or len(data) - stream.tell() != count * dtype.itemsize:
        raise BadImage(
            f"is damaged: {len(data) - stream.tell()} bytes of pixels where the shape {list(shape)} needs "
            f"{count * dtype.itemsize}: write it again with numpy.save"
        )
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


# --- channels --------------------------------------------------------------------------------------------------------


def to_channels(picture: Image.Image, channels: int, background: str) -> Image.Image:
    """A picture of any mode as L, RGB or RGBA; transparency is composited on the background unless RGBA keeps it."""
    try:
        picture = eight_bit_gray(picture)
    except ValueError as err:
        raise BadImage(str(err)) from None
    try:
        if channels < 4 and picture.has_transparency_data:
            rgba = picture.convert("RGBA")
            ground = Image.new("RGBA", rgba.size, (*ImageColor.getrgb(background)[:3], 255))
            picture = Image.alpha_composite(ground, rgba).convert("RGB")
        return picture.convert(MODES[channels])
    except ValueError as err:  # rare modes, such as LAB, have no conversion
        raise BadImage(
            f"has the colour mode {picture.mode}, which cannot be converted ({reason(err)}): save it as RGB"
        ) from None


# --- size ------------------------------------------------------------------------------------------------------------


def geometry(source: Size, target: Target) -> tuple[Box, Size]:
    """Which box of the source is used, and the size it is resized to. BadImage where `fit` or `upscale` forbid it."""
    height, width = source
    rows, columns = target.size
    is_wanted = f"is {width}x{height}, the recipe wants {columns}x{rows}"
    if target.fit == "error" and source != target.size:
        raise BadImage(f"{is_wanted}: resize it, or set dataset.fit=crop or dataset.fit=fit")
    if target.fit == "fit":
        scale = min(columns / width, rows / height)
        box = (0, 0, width, height)
        new = (max(1, min(rows, round(height * scale))), max(1, min(columns, round(width * scale))))
    else:
        w = max(1, min(width, round(height * columns / rows)))
        h = max(1, min(height, round(width * rows / columns)))
        left, top = (width - w) // 2, (height - h) // 2
        box, new = (left, top, left + w, top + h), target.size
    if not target.upscale and (new[0] > box[3] - box[1] or new[1] > box[2] - box[0]):
        raise BadImage(f"{is_wanted}: choose a smaller image.size or set dataset.upscale=true")
    return box, new


def place(picture: Image.Image, box: Box, new: Size, target: Target, plane: int = 0) -> Image.Image:
    """Resize a box of the picture, and put it in the middle of the background where it does not fill the target.

    Pillow premultiplies RGBA by its alpha before it resizes. `plane` is the channel that a picture of mode L is.
    """
    rows, columns = target.size
    if box != (0, 0, *picture.size):
        picture = picture.crop(box)
    if picture.size != (new[1], new[0]):
        picture = picture.resize((new[1], new[0]), FILTERS[target.filter])
    if new == target.size:
        return picture
    canvas = Image.new(picture.mode, (columns, rows), padding(picture.mode, target, plane))
    canvas.paste(picture, ((columns - new[1]) // 2, (rows - new[0]) // 2))
    return canvas


def padding(mode: str, target: Target, plane: int) -> int | tuple[int, ...]:
    """Colour of the bars beside a fitted picture: the background; 0 where the channels are no colours."""
    if mode != "L":
        return ImageColor.getcolor(target.background, mode)
    if target.channels == 1:
        value = ImageColor.getcolor(target.background, "L")
        return value if isinstance(value, int) else value[0]
    if target.channels in MODES:
        return (*ImageColor.getrgb(target.background), 255)[plane]
    return 0
