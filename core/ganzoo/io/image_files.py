"""Image files that users bring, as pictures of 8 bits a channel, upright: one reader for all commands.

form_of        first bytes of a file -> its format
read_picture   bytes -> picture of mode L, LA, RGB or RGBA
picture_size   bytes -> (height, width), without decoding pixels
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version
from PIL.ImageFile import ImageFile

from ganzoo.io import budgets
from ganzoo.io.image_containers import Stripped, halves, orientation, strip
from ganzoo.io.images import to_eight_bits

HEAD = 512  # bytes of a file that tell its format

# Pillow's names and ours; without a list, Pillow would try all it knows, and pass an EPS file to Ghostscript
FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "AVIF": "AVIF", "BMP": "BMP", "GIF": "GIF", "TIFF": "TIFF"}
FORMATS |= {"PPM": "PPM", "JPEG2000": "JPEG 2000", "QOI": "QOI", "TGA": "TGA"}
FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}  # parts of Pillow that some builds lack
PLUGINS = {"HEIF": ("HEIC", "pillow-heif", "pillow_heif"), "JXL": ("JPEG XL", "pillow-jxl-plugin", "pillow_jxl")}
SUFFIXES = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "QOI": (".qoi",),
    "TGA": (".tga",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JXL": (".jxl",),
}
RAW_SUFFIXES = {  # of cameras; many are TIFFs whose first image is a thumbnail
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"),
    *(".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f"),
}
SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"(II|MM)([*+]\0|\0[*+])",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6f][\s#]",
    "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    "QOI": rb"qoif",
    "JXL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "AVIF": rb"....ftyp.{0,60}avi[fs]",
    "HEIF": rb"....ftyp.{0,60}(he[iv][cxms]|mif1|msf1)",
    "PSD": rb"8BP[SB]",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "DDS": rb"DDS ",
    "ICNS": rb"icns",
    "ICO": rb"\0\0[\1\2]\0[\1-\x40]\0",
    "XCF": rb"gimp xcf",
    "PDF": rb"%PDF-",
    "EPS": rb"%!PS",
    "SVG": rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg\b",
    "web page": rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|!DOCTYPE\s+html|html|HTML)\b",
    "Git LFS pointer": rb"version https://git-lfs",
    "TGA": rb"",  # has no signature: by its suffix, and the numbers at the head
}
COMPILED = {form: re.compile(signature, re.DOTALL) for form, signature in SIGNATURES.items() if signature}
TGA_HEAD = re.compile(rb".[\0\1][\1-\3\x09-\x0b].{13}[\x01\x08\x10\x18\x20]", re.DOTALL)
UNREAD = {  # fault and cure of other kinds of files
    "": (f"is no {', '.join([*FORMATS.values()][:-1])} or TGA image", "remove it or replace it"),
    "camera raw": ("is a camera raw file", "develop it to PNG or JPEG"),
    "web page": ("is a web page, not an image", "download the image again"),
    "Git LFS pointer": ("is a Git LFS pointer, not the image", "fetch it with 'git lfs pull'"),
}

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ValueError):
    """An unusable image file; the message continues a sentence that begins with the file's name.

    Args:
        fault: what is wrong, as "is empty (0 bytes)"
        cure: what to do about it, without a full stop
    """

    def __init__(self, fault: str, cure: str = "") -> None:
        super().__init__(f"{fault}: {cure}" if cure else fault)
        self.fault, self.cure = fault, cure


@dataclass(frozen=True)
class Raster:
    """A decoded image.

    Args:
        picture: mode L, LA, RGB or RGBA
        source: (height, width) in the file, before it is turned
        note: oddity of the file, which ends a sentence that begins with its name; "" without one
    """

    picture: Image.Image
    source: tuple[int, int]
    note: str = ""


# --- formats ---------------------------------------------------------------------------------------------------------


def form_of(head: bytes, suffix: str = "") -> str:
    """Tell a file's format from its first HEAD bytes: Pillow's name of it, that of another known kind, or "".

    The suffix of its name matters only for camera raw files, which look like TIFFs, and for TGA, without a signature.
    """
    if suffix.lower() in RAW_SUFFIXES:
        return "camera raw"
    for form, signature in COMPILED.items():
        if signature.match(head):
            return form
    return "TGA" if suffix.lower() in SUFFIXES["TGA"] and TGA_HEAD.match(head) else ""


def refusal(form: str) -> BadImage | None:
    """Say why files of a format cannot be read here; None where they can."""
    if form in UNREAD:
        return BadImage(*UNREAD[form])
    name, package, module = PLUGINS.get(form, (FORMATS.get(form, form), "", ""))
    article = "an" if name[0] in "AEIOSX" else "a"
    if package:
        with suppress(ImportError):  # the package may be there without having registered itself
            getattr(importlib.import_module(module), "register_heif_opener", lambda: None)()
    elif form not in FORMATS:
        return BadImage(f"{UNREAD[''][0]}, but {article} {name} file", "save it as PNG")
    Image.preinit()
    if form not in Image.OPEN:
        Image.init()
    if form in Image.OPEN and (form not in FEATURES or features.check(FEATURES[form])):
        return None
    if package:
        cure = f"install it with 'pip install {package}', or save the image as PNG"
        return BadImage(f"is {article} {name} image, which is read only with the package {package}", cure)
    fault = f"is {article} {name} image, which Pillow {pillow_version} cannot read as it is installed here"
    return BadImage(fault, "update Pillow, or save the image as PNG")


def label(form: str) -> str:
    """Say in a few words of what kind files are that cannot be read here."""
    if form in PLUGINS:
        name, package, _ = PLUGINS[form]
        return f"{name}, read only with the package {package}"
    if form in FORMATS:
        return f"{FORMATS[form]}, which Pillow {pillow_version} cannot read here"
    return form if form in UNREAD else f"{form}, a format that is not read"


def has_image_suffix(name: str) -> bool:
    """Whether a file's name says that it is an image of a format that can be read here."""
    suffix = suffix_of(name)
    return any(suffix in suffixes and refusal(form) is None for form, suffixes in SUFFIXES.items())


def suffix_of(name: str) -> str:
    """Last suffix of a file's name, in lower case; "" without one."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if stem and dot else ""


# --- reading ---------------------------------------------------------------------------------------------------------


def read_picture(data: bytes, suffix: str = "", limit: int = budgets.IMAGE_PIXELS) -> Raster:
    """Decode the first frame of an image of at most `limit` pixels, upright, without its metadata. Raises BadImage.

    Gray of 16 bits a sample becomes round(x / 257), and of 12 bits round(x / 4095 * 255); of colours of 16 bits the
    upper 8 are kept.
    """
    with _opened(data, suffix, limit) as (opened, stripped):
        source = (opened.height, opened.width)
        if stripped.split:
            picture = _from_halves(stripped)
        else:
            opened.load()
            picture = _eight_bits(opened, stripped)
        turned = stripped.orientation
        if opened.format not in ("PNG", "JPEG", "TIFF"):
            turned = orientation(*(_as_bytes(opened.info.get(key)) for key in ("exif", "xmp")))
        if turned in TURNED:
            picture = picture.transpose(TURNED[turned])
    return Raster(picture, source, stripped.note)


def picture_size(data: bytes, suffix: str = "", limit: int = budgets.IMAGE_PIXELS) -> tuple[int, int]:
    """Read (height, width) of an encoded image, before it is turned, without decoding pixels. Raises BadImage."""
    with _opened(data, suffix, limit) as (opened, _):
        return opened.height, opened.width


@contextmanager
def _opened(data: bytes, suffix: str, limit: int) -> Iterator[tuple[Image.Image, Stripped]]:
    """Open an image without its metadata; exceptions within the block become BadImage."""
    if not data:
        raise BadImage("is empty (0 bytes)", "remove it or copy it again")
    form = form_of(data[:HEAD], suffix)
    if bad := refusal(form):
        raise bad
    again = "remove it or copy it again"
    try:
        stripped = strip(data, form)
        if stripped.size:
            _require_size(*stripped.size, limit)
        if stripped.fault[0]:
            raise BadImage(*stripped.fault)
        with _header_read(stripped.data, form) as opened:
            _require_size(opened.height, opened.width, limit)
            yield opened, stripped
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"has more than {limit:,} pixels, too many to open", "scale it down first") from None
    except Exception as err:  # on damaged bytes Pillow's decoders raise any exception, even SyntaxError
        raise BadImage(f"cannot be decoded ({reason(err)})", again) from err


def _header_read(data: bytes, form: str) -> ImageFile:
    """Read an image's header, without the warning of Image.open for what is refused here. Raises BadImage."""
    try:
        return Image.OPEN[form][0](BytesIO(data), "")
    except SyntaxError as err:
        fault = f"is a damaged {FORMATS.get(form, form)}, or one of a kind that Pillow cannot read ({reason(err)})"
        raise BadImage(fault, "remove it, copy it again, or save it as PNG") from None


def _require_size(height: int, width: int, limit: int) -> None:
    if height * width > limit:
        fault = f"has {width:,}x{height:,} pixels, too many to open (more than {limit:,})"
        raise BadImage(fault, "scale it down first")


def reason(err: BaseException) -> str:
    """Message of another library's exception, in a form that fits inside a sentence."""
    text = " ".join(str(err).split()).rstrip(".").replace(". ", "; ")
    return text[:200] or type(err).__name__


def _as_bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""


# --- pixels ----------------------------------------------------------------------------------------------------------


def _eight_bits(opened: Image.Image, stripped: Stripped) -> Image.Image:
    """Convert a picture of any mode to L, LA, RGB or RGBA. Raises BadImage."""
    if stripped.transparent is not None:
        colours = opened.convert("RGB" if len(stripped.transparent) == 3 else "L")
        return _with_transparent(colours, np.asarray(colours), stripped.transparent)
    if opened.mode == "F" or opened.mode.startswith("I"):
        return Image.fromarray(_gray(opened, stripped))
    if stripped.signed:
        raise BadImage("holds signed values", "save it with 8 or 16 bits without a sign")
    is_gray, has_alpha = opened.mode in ("1", "L", "LA", "La"), opened.has_transparency_data
    if opened.format == "TGA" and not stripped.data[17] & 0x0F and opened.mode == "RGBA":
        has_alpha = opened.getchannel("A").getextrema() != (
            0,
            0,
        )  # bits of alpha by the header; where all are 0 there is none
    picture = opened.convert(("LA" if has_alpha else "L") if is_gray else ("RGBA" if has_alpha else "RGB"))
    if stripped.inverted and is_gray:
        gray, *alpha = picture.split()
        picture = Image.merge(picture.mode, (gray.point(lambda value: 255 - value), *alpha))
    return picture


def _gray(opened: Image.Image, stripped: Stripped) -> NDArray[np.uint8]:
    """Convert gray of more than 8 bits a sample. Raises BadImage."""
    if opened.mode == "F":
        raise BadImage("holds floating-point values, whose range is not known", "save it with 8 or 16 bits")
    if stripped.signed and stripped.depth == 16:
        raise BadImage("holds signed values", "save it with 8 or 16 bits without a sign")
    values = np.asarray(opened)
    if values.min() < 0 or values.max() > 65535:
        raise BadImage("holds 32-bit values", "save it with 8 or 16 bits")
    values = values.astype(np.uint32)
    if stripped.depth == 12:
        values = (values * 65535 + 2047) // 4095
    return to_eight_bits(65535 - values if stripped.inverted else values)


def _from_halves(stripped: Stripped) -> Image.Image:
    """Picture of a PNG with 16 bits a sample that Pillow would cut to 8 before its transparent colour is compared."""
    parts = []
    for half in halves(stripped.data):
        with Image.open(BytesIO(half), formats=("PNG",)) as opened:
            parts.append(np.asarray(opened))
    high, low = parts
    samples = high.astype(np.uint16) << 8 | low
    if stripped.transparent is None:
        return Image.fromarray(to_eight_bits(samples), "LA")
    picture = Image.fromarray(to_eight_bits(samples) if samples.ndim == 2 else high)
    return _with_transparent(picture, samples, stripped.transparent)


def _with_transparent(picture: Image.Image, samples: NDArray[np.unsignedinteger], key: tuple[int, ...]) -> Image.Image:
    """Give L or RGB an alpha channel that is 0 where the samples are those of the transparent colour, else 255."""
    opaque = (samples.reshape(*samples.shape[:2], -1) != np.array(key)).any(axis=2)
    picture.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return picture
