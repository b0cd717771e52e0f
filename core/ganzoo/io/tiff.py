"""Directories of TIFF files and EXIF blocks: read, compared with the pixels that they promise, and written."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ganzoo.io import budgets

INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # letters of struct by TIFF's types
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
WIDTH, HEIGHT, BITS, COMPRESSION, PLANAR = 256, 257, 258, 259, 284
STRIPS, STRIP_ROWS, SAMPLES, TILES, TILE_WIDTH, TILE_ROWS = 273, 278, 277, 324, 322, 323
SEPARATE, UNCOMPRESSED = 2, 1  # values of PLANAR and COMPRESSION


@dataclass(frozen=True)
class Tag:
    """An entry of a directory: TIFF's type of its values, their bytes, and the first few, (0,) where they are no
    integers."""

    number: int
    kind: int
    contents: bytes
    values: tuple[int, ...]


def directory(data: bytes) -> list[Tag]:
    """List the entries of a TIFF's first directory, but for damaged ones and those of unknown types."""
    found = layout(data)
    if found is None:
        return []
    order, big, start = found
    width, inline, head = (20, 8, 8) if big else (12, 4, 2)
    count = int.from_bytes(data[start : start + head], "little" if order == "<" else "big")
    tags = []
    for i in range(min(count, budgets.TIFF_TAGS)):
        entry = data[start + head + i * width : start + head + (i + 1) * width]
        if len(entry) < width:
            break
        number, kind, length = struct.unpack_from(order + ("HHQ" if big else "HHI"), entry)
        each = VALUE_BYTES.get(kind, 0)
        size = each * length
        at = 0
        if size > inline:
            (at,) = struct.unpack(order + ("Q" if big else "I"), entry[-inline:])
        contents = (data[at : at + size] if at < len(data) else b"") if size > inline else entry[-inline:][:size]
        if not 0 < size == len(contents):
            continue
        few = min(length, budgets.TIFF_VALUES) if kind in INTEGERS else 0
        values = struct.unpack_from(f"{order}{few}{INTEGERS.get(kind, 'B')}", contents) or (0,)
        tags.append(Tag(number, kind, contents, values))
    return tags


def layout(data: bytes) -> tuple[str, bool, int] | None:
    """Byte order of a TIFF, whether it is a BigTIFF, and the position of its first directory; None for no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = max(data[2:4], default=0)  # with its bytes in either order, as Pillow takes them
    if order is None or version not in (42, 43) or len(data) < 16:
        return None
    big = version == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    return (order, big, start) if start + 2 <= len(data) else None


def fault(tags: Mapping[int, Tag]) -> tuple[str, str]:
    """Fault and cure of an image that Pillow would fill up with black, or mix up, without a word; "" for none."""

    def value(number: int, default: int) -> int:
        return tags[number].values[0] if number in tags else default

    separate = value(PLANAR, 1) == SEPARATE and value(SAMPLES, 1) > 1
    if separate and value(COMPRESSION, 1) == UNCOMPRESSED and value(BITS, 1) > 8:
        return "holds channels of 16 bits one after another, which Pillow mixes up", "save it as PNG"
    rows, columns = value(TILE_ROWS if TILES in tags else STRIP_ROWS, 1 << 32), value(TILE_WIDTH, 1 << 32)
    offsets = tags.get(TILES) or tags.get(STRIPS)
    if offsets is None or not rows or not columns:
        return "", ""
    needed = -(-value(HEIGHT, 0) // rows) * -(-value(WIDTH, 0) // columns) * (value(SAMPLES, 1) if separate else 1)
    given = len(offsets.contents) // VALUE_BYTES[offsets.kind]
    if given < needed:
        return f"is damaged: it holds {given:,} of the {needed:,} parts of its pixels", "copy it again"
    return "", ""


def with_directory(data: bytes, order: str, tags: Sequence[Tag]) -> bytes:
    """Append a directory to a TIFF, in place of its own; a BigTIFF becomes a TIFF."""
    start = len(data) + len(data) % 2
    at = start + 2 + 12 * len(tags) + 4
    entries, contents = [], []
    for tag in tags:
        kind, value, count = tag.kind, tag.contents, len(tag.contents) // VALUE_BYTES[tag.kind]
        if kind in (16, 17, 18):  # of 8 bytes, which a TIFF has not
            kind, value = 4, struct.pack(f"{order}{count}I", *struct.unpack(f"{order}{count}Q", value))
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field = struct.pack(order + "I", at)
            contents.append(value + bytes(len(value) % 2))
            at += len(contents[-1])
        entries.append(struct.pack(order + "HHI", tag.number, kind, count) + field)
    header = data[:2] + struct.pack(order + "HI", 42, start)
    table = struct.pack(order + "H", len(tags)) + b"".join(entries) + bytes(4)
    return b"".join([header, memoryview(data)[8:], bytes(len(data) % 2), table, *contents])
