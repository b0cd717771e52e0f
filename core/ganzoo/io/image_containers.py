"""PNG, JPEG, AVIF and TIFF files without metadata, so that no text, profile or odd tag keeps pixels from being read.

A stripped file holds what decides about pixels and nothing else. Read from the metadata are the orientation, by EXIF
or else XMP, and the transparent colour of a PNG. Damaged structure is passed on as it is, for the decoder to refuse.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from ganzoo.io import budgets, tiff

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # chunks without which there is no image
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples of a pixel by colour type
GRAY, RGB, PALETTE, GRAY_ALPHA = 0, 2, 3, 4  # colour types
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
EXIF_SEGMENT, XMP_SEGMENT = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
FILL = re.compile(rb"\xff*")  # bytes before a JPEG's marker
EXIF_IN_AVIF = re.compile(rb"(?:Exif\0\0|\0{4})((?:II\*\0|MM\0\*).{4})", re.DOTALL)
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\s*[\"'<]")
BARE_MARKERS = frozenset({0x00, 0x01, 0xD8, 0xD9, 0xDA, *range(0xD0, 0xD8)})  # without a segment, or of the pixels
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # of the JPEG segments that hold the size

# tags of TIFF and EXIF; the descriptive ones say nothing about pixels
PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT, XMP = 262, 274, 339, 700
DESCRIPTIVE = {269, 270, 271, 272, 282, 283, 285, 286, 287, 290, 291, 296, 305, 306, 315, 316, 337, ORIENTATION}
LAST_STRUCTURAL, LERC = 599, 50674  # larger tags are private; LERC's parameters decide about pixels all the same
SIGNED = 2  # a sample format


@dataclass(frozen=True)
class Stripped:
    """An encoded image without metadata.

    Args:
        data: the file that the decoder gets
        orientation: 1 to 8, as EXIF counts them
        size: (height, width) before the image is turned; None where only the decoder knows
        depth: bits of a sample; 0 where only the decoder knows
        transparent: samples of a PNG's one transparent colour, scaled from 1, 2 and 4 bits to 8
        split: whether the decoder would drop bits that are needed: `halves` keeps them
        inverted: whether zero is white in a TIFF, which the decoder does not know
        signed: whether samples are signed
        note: oddity of the file; continues a sentence that begins with its name
        fault: what is wrong, and a cure, where the decoder would give wrong pixels; ("", "") for none
    """

    data: bytes
    orientation: int = 1
    size: tuple[int, int] | None = None
    depth: int = 0
    transparent: tuple[int, ...] | None = None
    split: bool = False
    inverted: bool = False
    signed: bool = False
    note: str = ""
    fault: tuple[str, str] = ("", "")


def strip(data: bytes, form: str) -> Stripped:
    """Leave out the metadata of an image in the format that Pillow calls `form`; other formats stay as they are.

    Raises ValueError for more chunks than `budgets.IMAGE_CHUNKS`.
    """
    known = {"PNG": _strip_png, "JPEG": _strip_jpeg, "AVIF": _strip_avif, "TIFF": _strip_tiff}
    return known[form](data) if form in known else Stripped(data)


def orientation(exif: bytes = b"", xmp: bytes = b"") -> int:
    """Orientation 1 to 8 by an EXIF block, whose other tags do not matter, else by XMP; 1 where neither gives one."""
    found = [tag.values[0] for tag in tiff.directory(exif.removeprefix(EXIF_SEGMENT)) if tag.number == ORIENTATION]
    if not found and (match := XMP_ORIENTATION.search(xmp[: budgets.METADATA_BYTES])):
        found = [int(match[1])]
    return found[0] if found and 1 <= found[0] <= 8 else 1


# --- PNG -------------------------------------------------------------------------------------------------------------

Chunk = tuple[bytes, memoryview, memoryview]  # kind, contents, and all bytes; of kind b"" from where it is damaged


def _strip_png(data: bytes) -> Stripped:
    """Keep the chunks of pixels, palette and transparency; checksums of the others do not matter."""
    chunks = list(_png_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return Stripped(data)
    width, height, depth, colours, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    alpha, palette, note = _png_transparency(chunks), b"", ""
    transparent: tuple[int, ...] | None = None
    if alpha is not None and colours == PALETTE and 0 < len(alpha) <= 256:
        palette = _png_chunk(b"tRNS", bytes(alpha))
    elif alpha is not None and colours in (GRAY, RGB) and len(alpha) == 2 * PNG_SAMPLES[colours]:
        scale = 255 // ((1 << depth) - 1) if depth in (1, 2, 4) else 1
        transparent = tuple((s & ((1 << depth) - 1)) * scale for s in struct.unpack(f">{len(alpha) // 2}H", alpha))
    elif alpha is not None:
        note = "has a damaged tRNS chunk, so its transparency is left out"
    kept: list[bytes | memoryview] = [PNG_SIGNATURE]
    for kind, _, raw in chunks:
        if kind == b"IDAT" and palette:
            kept, palette = [*kept, palette], b""
        if kind in PNG_PIXELS or not kind:
            kept.append(raw)
    if any(kind == b"IDAT" and zlib.crc32(raw[4:-4]) != int.from_bytes(raw[-4:], "big") for kind, _, raw in chunks):
        note = "has a wrong checksum in its pixels, which may be damaged"
    split = depth == 16 and (colours == GRAY_ALPHA or transparent is not None)
    upright = orientation(*_png_metadata(chunks))
    return Stripped(b"".join(kept), upright, (height, width), depth, transparent, split, note=note)


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    whole, position = memoryview(data), len(PNG_SIGNATURE)
    for _ in range(budgets.IMAGE_CHUNKS):
        length, kind = int.from_bytes(whole[position : position + 4], "big"), bytes(whole[position + 4 : position + 8])
        end = position + 12 + length
        if end > len(data) or not kind.isalpha():
            yield b"", whole[position:], whole[position:]
            return
        yield kind, whole[position + 8 : end - 4], whole[position:end]
        if kind == b"IEND":
            return
        position = end
    raise ValueError(f"more than {budgets.IMAGE_CHUNKS:,} chunks")


def _png_chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def _png_transparency(chunks: Sequence[Chunk]) -> memoryview | None:
    """Contents of the tRNS chunk, which stands before the pixels."""
    before = takewhile(lambda chunk: chunk[0] != b"IDAT", chunks)
    return next((contents for kind, contents, _ in before if kind == b"tRNS"), None)


def _png_metadata(chunks: Sequence[Chunk]) -> tuple[bytes, bytes]:
    """EXIF and XMP, from chunks of their own or from text."""
    exif, texts = b"", dict.fromkeys((b"XML:com.adobe.xmp", b"Raw profile type exif"), b"")
    for kind, contents, _ in chunks:
        if kind == b"eXIf":
            exif = exif or bytes(contents)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = bytes(contents[:80]).partition(b"\0")[0]
            if texts.get(keyword) == b"":
                texts[keyword] = _png_text(kind, contents[len(keyword) + 1 :]) or b"\0"
    xmp, profile = texts.values()
    with suppress(ValueError, IndexError):  # ImageMagick writes a name, a length, and hex digits
        exif = exif or bytes.fromhex(profile.split(b"\n", 3)[3].decode("ascii"))
    return exif, xmp


def _png_text(kind: bytes, contents: memoryview) -> bytes:
    """Text behind its keyword, of at most METADATA_BYTES; empty where it cannot be unpacked."""
    text = bytes(contents[: budgets.METADATA_BYTES])
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        text = text[2:].split(b"\0", 2)[-1]  # behind a language and a translated keyword
    if packed:
        try:
            return zlib.decompressobj().decompress(text, budgets.METADATA_BYTES)
        except zlib.error:
            return b""
    return text


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Split a PNG of 16 bits a sample into two of 8, which hold the upper and the lower bytes.

    PNG's filters work on bytes, each with those of the same place in the pixels around it, so both halves keep the
    filters of the whole. Raises ValueError where pixels are missing.
    """
    chunks = list(_png_chunks(data))
    width, height, _, colours, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    passes = [(width, height)]
    if interlaced:
        passes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in ADAM7 if x < width and y < height]
    samples = PNG_SAMPLES[colours]
    sizes = [rows * (1 + 2 * samples * columns) for columns, rows in passes]
    try:
        packed = b"".join(contents for kind, contents, _ in chunks if kind == b"IDAT")
        raw = zlib.decompressobj().decompress(packed, max(1, sum(sizes)))
    except zlib.error as err:
        raise ValueError(f"broken pixels: {err}") from None
    if len(raw) < sum(sizes):
        raise ValueError("image file is truncated")
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    start = 0
    for (columns, rows), size in zip(passes, sizes):
        lines = np.frombuffer(raw, np.uint8, size, start).reshape(rows, 1 + 2 * samples * columns)
        for half in (0, 1):
            parts[half].append(np.concatenate([lines[:, :1], lines[:, 1 + half :: 2]], axis=1).tobytes())
        start += size
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, interlaced)
    high, low = (
        PNG_SIGNATURE
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", zlib.compress(b"".join(part), 0))
        + _png_chunk(b"IEND", b"")
        for part in parts
    )
    return high, low


# --- JPEG and AVIF ---------------------------------------------------------------------------------------------------


def _strip_jpeg(data: bytes) -> Stripped:
    """Keep of a JPEG's application segments those of JFIF and Adobe, which say how colours are stored."""
    whole, position = memoryview(data), 2
    kept: list[bytes | memoryview] = [whole[:2]]
    exif, xmp, size = b"", b"", None
    for _ in range(budgets.IMAGE_CHUNKS):
        match = FILL.match(data, position)
        after = match.end() if match else position
        head = data[after : after + 3]  # marker and length
        end = after + 1 + int.from_bytes(head[1:3], "big")
        is_segment = after > position and len(head) == 3 and head[0] not in BARE_MARKERS
        if not is_segment or not after + 3 <= end <= len(data):
            kept.append(whole[position:])
            return Stripped(b"".join(kept), orientation(exif, xmp), size)
        marker, contents = head[0], whole[after + 3 : end]
        if marker == 0xE1 and bytes(contents[:6]) == EXIF_SEGMENT and len(exif) < budgets.METADATA_BYTES:
            exif += bytes(contents[6:])  # a large block is cut into several segments
        elif marker == 0xE1 and bytes(contents[: len(XMP_SEGMENT)]) == XMP_SEGMENT:
            xmp = xmp or bytes(contents)
        elif marker in FRAME_MARKERS and len(contents) >= 5:
            size = size or (int.from_bytes(contents[1:3], "big"), int.from_bytes(contents[3:5], "big"))
        is_jfif = marker == 0xE0 and len(contents) >= 14 and bytes(contents[:5]) == b"JFIF\0"
        is_adobe = marker == 0xEE and len(contents) >= 12 and bytes(contents[:5]) == b"Adobe"
        if is_jfif or is_adobe or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(whole[position:end])
        position = end
    raise ValueError(f"more than {budgets.IMAGE_CHUNKS:,} segments")


def _strip_avif(data: bytes) -> Stripped:
    """Empty the EXIF block of an AVIF, which is turned by a property of its own."""
    emptied = bytearray(data)
    for match in EXIF_IN_AVIF.finditer(data):
        at = match.start(1) + struct.unpack(("<" if match[1][:2] == b"II" else ">") + "4xI", match[1])[0]
        emptied[at : at + 2] = bytes(len(emptied[at : at + 2]))  # number of tags
    return Stripped(bytes(emptied))


# --- TIFF ------------------------------------------------------------------------------------------------------------


def _strip_tiff(data: bytes) -> Stripped:
    """Keep the structural tags of the first directory; white as zero becomes black where Pillow would not know it."""
    found = tiff.layout(data)
    tags = {tag.number: tag for tag in reversed(tiff.directory(data))}
    if found is None or not tags:
        return Stripped(data)
    order = found[0]

    def values(number: int, default: int) -> tuple[int, ...]:
        return tags[number].values if number in tags else (default,)

    bits, size = values(tiff.BITS, 1), (values(tiff.HEIGHT, 0)[0], values(tiff.WIDTH, 0)[0])
    inverted = values(PHOTOMETRIC, 0)[0] == 0 and (len(bits) > 1 or bits[0] > 8)
    kept = {n: t for n, t in tags.items() if (n <= LAST_STRUCTURAL or n == LERC) and n not in DESCRIPTIVE}
    if inverted:
        kept[PHOTOMETRIC] = tiff.Tag(PHOTOMETRIC, 3, struct.pack(order + "H", 1), (1,))
    return Stripped(
        tiff.with_directory(data, order, [kept[number] for number in sorted(kept)]),
        orientation(data, tags[XMP].contents if XMP in tags else b""),
        size if all(size) else None,
        bits[0] if len(bits) == 1 else 0,
        inverted=inverted,
        signed=values(SAMPLE_FORMAT, 1)[0] == SIGNED,
        fault=tiff.fault(tags),
    )
