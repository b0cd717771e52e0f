"""Decoding: bytes of an image file -> uint8 [C, H, W]. Errors are BadImage, without the file's name.

to_channels picture -> picture of mode L, RGB or RGBA
place       picture -> picture of the target's size
load_npy    bytes -> uint8 [C, H, W], for any number of channels
decode      all of these
inspect     bytes -> size and colours, for checks; decodes the whole image, and fits it to no size
"""

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, ImageColor

from ganzoo.interfaces.dataset import UnfitImage
from ganzoo.io import budgets
from ganzoo.io.image_files import HEAD, BadImage, Raster, form_of, picture_size, read_picture, reason
from ganzoo.io.images import to_eight_bits
from ganzoo.types import Size

Colours: TypeAlias = Literal["gray", "colourless", "colour"]
Fit: TypeAlias = Literal["crop", "fit", "error"]
Filter: TypeAlias = Literal["lanczos", "box"]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

NPY, NPY_SUFFIX = b"\x93NUMPY", ".npy"
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Unfit(BadImage):
    """An image of another size, or of other channels, than a dataset was opened for."""

    def __init__(self, error: UnfitImage) -> None:
        super().__init__(error.fault, error.cure)
        self.error = error


@dataclass(frozen=True)
class Target:
    """Format to which every image of a dataset is converted."""

    size: Size
    channels: int
    fit: Fit = "crop"
    filter: Filter = "lanczos"
    background: str = "white"
    upscale: bool = False


@dataclass(frozen=True)
class Seen:
    """Properties of an image's file.

    Args:
        size: (height, width), upright
        colours: "gray" in its own mode; "colourless" where red, green and blue are equal everywhere; or "colour"
        note: oddity, which ends a sentence that begins with the file's name; "" without one
    """

    size: Size
    colours: Colours
    note: str = ""


@dataclass(frozen=True)
class Decoded:
    """A decoded image, fitted to a target."""

    pixels: NDArray[np.uint8]  # [C, H, W]
    source: Size  # (height, width) of the file, upright


def decode(data: bytes, target: Target, *, is_npy: bool, suffix: str = "") -> Decoded:
    """Decode a file and fit it to the target. Raises BadImage for every fault of the file.

    Args:
        data: contents of the file
        target: size, channels and fitting
        is_npy: whether it holds an array rather than a picture
        suffix: of the file's name, which tells some formats
    """
    planes = _planes(data, target, is_npy, suffix)
    source = (planes[0].height, planes[0].width)
    box, (height, width) = geometry(source, target)
    placed = [np.asarray(place(p, box, (height, width), target, i)) for i, p in enumerate(planes)]
    stacked = placed[0] if len(placed) == 1 else np.stack(placed, axis=-1)
    pixels = stacked.reshape(*target.size, target.channels).transpose(2, 0, 1)
    return Decoded(np.ascontiguousarray(pixels), source)


def _planes(data: bytes, target: Target, is_npy: bool, suffix: str) -> list[Image.Image]:
    """Pictures of the target's channels: one for L, RGB or RGBA, else one a channel. Raises BadImage."""
    if is_npy:
        return [Image.fromarray(plane) for plane in load_npy(_some(data), target.channels)]
    return [to_channels(_raster(data, target.channels, suffix).picture, target.channels, target.background)]


def _raster(data: bytes, channels: int, suffix: str) -> Raster:
    if channels not in MODES:
        cure = "use .npy files of [height, width, channels]"
        raise Unfit(UnfitImage("has at most 4 channels", str(channels), change_file=cure))
    return read_picture(_some(data), suffix)


def _some(data: bytes) -> bytes:
    if not data:
        raise BadImage("is empty (0 bytes)", "remove it or copy it again")
    return data


def inspect(data: bytes, channels: int, *, is_npy: bool, suffix: str = "") -> Seen:
    """Decode a file, and tell its size and colours. Raises BadImage, as `decode` would for any size."""
    if is_npy:
        _, height, width = load_npy(_some(data), channels).shape
        return Seen((height, width), "gray" if channels == 1 else "colour")
    raster = _raster(data, channels, suffix)
    picture = raster.picture
    return Seen((picture.height, picture.width), _colours(picture), raster.note)


def _colours(picture: Image.Image) -> Colours:
    if picture.mode in ("L", "LA"):
        return "gray"
    red, green, blue, *_ = picture.getpixel((picture.width // 2, picture.height // 2))  # type: ignore[misc]
    if not red == green == blue:  # as in nearly all pictures with colours, which are not searched
        return "colour"
    bands = np.asarray(picture)
    equal = (bands[..., 0] == bands[..., 1]).all() and (bands[..., 0] == bands[..., 2]).all()
    return "colourless" if equal else "colour"


# --- reading ---------------------------------------------------------------------------------------------------------


def dimensions(data: bytes, channels: int, *, is_npy: bool, suffix: str = "") -> Size:
    """Read (height, width) of an encoded image without decoding pixels. Raises BadImage, as `decode` would."""
    if is_npy:
        _, height, width = load_npy(data, channels).shape
        return height, width
    return picture_size(data, suffix)


def size_in_head(head: bytes, suffix: str = "") -> Size | None:
    """(height, width) of a PNG or JPEG from a file's first bytes, before it is turned; None if they do not tell."""
    form, size = form_of(head[:HEAD], suffix), None
    if form == "PNG" and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        size = height, width
    elif form == "JPEG":
        size = _size_of_jpeg(head)
    return size if size and 0 < size[0] * size[1] <= budgets.IMAGE_PIXELS else None


def _size_of_jpeg(head: bytes) -> Size | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of a frame; not a table or an extension
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return height, width
        at += 1 if marker == 0xFF else 2 + struct.unpack(">H", head[at + 2 : at + 4])[0]
    return None


def load_npy(data: bytes, channels: int) -> NDArray[np.uint8]:
    """Load a .npy file of uint8 or uint16 as uint8 [C, H, W]. Raises BadImage.

    Its shape is [H, W, C], which takes precedence, [C, H, W], or [H, W] for one channel.
    """
    array = _npy_array(data)
    if array.ndim == 2 and channels == 1:
        array = array[None]
    elif array.ndim == 3 and array.shape[2] == channels:
        array = array.transpose(2, 0, 1)
    elif array.ndim != 3 or array.shape[0] != channels:
        wanted = "[height, width]" if channels == 1 else f"[height, width, {channels}] or [{channels}, height, width]"
        found = f"has the shape {list(array.shape)}"
        raise Unfit(UnfitImage(found, wanted, change_file="change the file", change_recipe="change image.channels"))
    if array.shape[1] * array.shape[2] > budgets.IMAGE_PIXELS:
        raise BadImage(f"has more than {budgets.IMAGE_PIXELS:,} pixels, too many to open", "scale it down first")
    return np.ascontiguousarray(array if array.dtype == np.uint8 else to_eight_bits(array))


def _npy_array(data: bytes) -> NDArray[np.unsignedinteger]:
    # numpy.load would allocate what the header declares: so the header is first compared with the bytes that follow
    stream = BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except Exception as err:  # the header is a Python literal; a damaged one raises any exception
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
    """Convert mode L, LA, RGB or RGBA to L, RGB or RGBA; L and RGB composite transparency on the background."""
    if channels < 4 and picture.mode in ("LA", "RGBA"):
        rgba = picture.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*ImageColor.getrgb(background)[:3], 255))
        picture = Image.alpha_composite(ground, rgba).convert("RGB")
    return picture.convert(MODES[channels])


# --- size ------------------------------------------------------------------------------------------------------------


def geometry(source: Size, target: Target) -> tuple[Box, Size]:
    """Box of the source to use, and the size to resize it to. Raises BadImage if `fit` or `upscale` forbid it."""
    height, width = source
    rows, columns = target.size
    found, wanted = f"is {width}x{height}", f"{columns}x{rows}"
    if target.fit == "error" and source != target.size:
        raise Unfit(UnfitImage(found, wanted, change_file="resize it", options=("fit=crop", "fit=fit")))
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
        cure = "choose a smaller image.size"
        raise Unfit(UnfitImage(found, wanted, change_recipe=cure, options=("upscale=true",)))
    return box, new


def place(picture: Image.Image, box: Box, new: Size, target: Target, plane: int = 0) -> Image.Image:
    """Resize a box of the picture, and centre it on the background if it does not fill the target.

    Args:
        picture: mode L, RGB or RGBA, which Pillow premultiplies by its alpha before resizing
        box: pixels to use
        new: size of the resized box
        target: size, filter and background
        plane: index of the channel that a picture of mode L holds
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
    """Colour of the bars beside a fitted picture: the background, or 0 if the channels are not colours."""
    if mode != "L":
        return ImageColor.getcolor(target.background, mode)
    if target.channels == 1:
        value = ImageColor.getcolor(target.background, "L")
        return value if isinstance(value, int) else value[0]
    if target.channels in MODES:
        return (*ImageColor.getrgb(target.background), 255)[plane]
    return 0
