"""Encoders of PNG and TIFF, written by hand, that make what Pillow does not: any depth, filter, order and metadata."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of PNG's colour types


def chunk(kind: bytes, contents: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + contents) if checksum is None else checksum
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", crc)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def predicted(a: int, b: int, c: int, kind: int) -> int:
    """What PNG's filters take from a byte, given those to the left, above, and above left."""
    p = a + b - c
    nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
    return (0, a, b, (a + b) // 2, nearest)[kind]


def filtered(rows: list[bytes], width: int) -> bytes:
    """Rows of bytes, each filtered in another of the five ways; `width` is the number of bytes of a pixel."""
    out, above = b"", bytes(len(rows[0]))
    for y, row in enumerate(rows):
        kind = (y + 4) % 5
        left, corner = bytes(width) + row, bytes(width) + above
        out += bytes([kind])
        out += bytes((v - predicted(left[i], above[i], corner[i], kind)) % 256 for i, v in enumerate(row))
        above = row
    return out


def png(samples: np.ndarray, depth: int, colours: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """Samples [H, W] or [H, W, C] as a PNG of that depth and colour type, with further chunks before the pixels."""
    height, width = samples.shape[:2]
    channels = CHANNELS[colours]
    data = b""
    for x, y, dx, dy in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = samples[y::dy, x::dx].reshape(-1, len(range(x, width, dx)) * channels)
        if not part.size:
            continue
        bits = (part[..., None].astype(np.uint32) >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(len(part), -1).astype(np.uint8), axis=1)
        data += filtered([row.tobytes() for row in packed], max(1, channels * depth // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, int(interlaced))
    pixels = zlib.compress(data)
    halves = (chunk(b"IDAT", pixels[:20]), chunk(b"IDAT", pixels[20:]))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *chunks, *halves, chunk(b"IEND", b"")])


def exif(orientation: int, *odd: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """A TIFF block with an orientation among other tags (number, type, count, value)."""
    tags = sorted([*odd, (0x112, 3, 1, struct.pack(order + "HH", orientation, 0))])
    body = b"".join(struct.pack(order + "HHI", *tag[:3]) + tag[3] for tag in tags)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "IH", 8, len(tags)) + body + bytes(4)


def lzw(data: bytes) -> bytes:
    """TIFF's LZW, without compression: the table is cleared before every byte, so all codes have 9 bits."""
    codes = [code for byte in data for code in (256, byte)] + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


COMPRESSIONS = {1: bytes, 5: lzw, 8: zlib.compress}


def tiff(
    samples: np.ndarray,
    order: str = "<",
    *,
    white_is_zero: bool = False,
    compression: int = 1,
    big: bool = False,
    tags: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """Gray [H, W] of 8 or 16 bits as a TIFF, or BigTIFF, of one strip; tags are numbers, types (3, 4) and values."""
    height, width = samples.shape
    bits = samples.dtype.itemsize * 8
    strip = COMPRESSIONS[compression](samples.astype(samples.dtype.newbyteorder(order)).tobytes())
    entries = {256: [width], 257: [height], 258: [bits], 259: [compression], 262: [0 if white_is_zero else 1]}
    entries |= {277: [1], 278: [height], 279: [len(strip)]}
    table = {number: (4, values) for number, values in entries.items()} | {n: (t, v) for n, t, v in tags}
    width_of_entry, head = (20, 16) if big else (12, 8)
    start = head + len(strip) + len(strip) % 2
    table[273] = (4, [head])
    out = b""
    for number, (kind, values) in sorted(table.items()):
        value = b"".join(struct.pack(order + {3: "H", 4: "I"}[kind], v) for v in values).ljust(8 if big else 4, b"\0")
        out += struct.pack(order + ("HHQ" if big else "HHI"), number, kind, len(values)) + value
    assert len(out) == width_of_entry * len(table)
    count = struct.pack(order + ("Q" if big else "H"), len(table))
    mark = b"II" if order == "<" else b"MM"
    header = struct.pack(order + "HHHQ", 43, 8, 0, start) if big else struct.pack(order + "HI", 42, start)
    return mark + header + strip + bytes(len(strip) % 2) + count + out + bytes(8 if big else 4)
