"""Image files whose pixels Pillow would fill up, mix up or hide without a word."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ganzoo.io.image_files import BadImage, read_picture
from ganzoo_data.folder import Folder
from pictures import encode, fill

RNG = np.random.default_rng(5)
DEEP = RNG.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
RGB = (DEEP >> 8).astype(np.uint8)


def planar(parts: list[bytes], bits: int, *, rows: int = 5, compression: int = 1, separate: bool = True) -> bytes:
    """A little-endian TIFF of 7x5 pixels in RGB, whose strips are the given parts."""
    starts = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    tags = {256: [7], 257: [5], 258: [bits] * 3, 259: [compression], 262: [2], 273: starts, 277: [3], 278: [rows]}
    tags |= {279: [len(part) for part in parts], 284: [2 if separate else 1]}
    body = b"".join(parts)
    table, behind = struct.pack("<H", len(tags)), b""
    at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for number, values in tags.items():
        field = struct.pack(f"<{len(values)}I", *values)
        if len(field) > 4:
            field, behind = struct.pack("<I", at + len(behind)), behind + field
        table += struct.pack("<HHI", number, 4, len(values)) + field
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + table + bytes(4) + behind


def bands(values: np.ndarray) -> list[bytes]:
    return [values[..., i].astype(f"<u{values.itemsize}").tobytes() for i in range(3)]


def test_channels_one_after_another() -> None:
    """Of 8 bits, and of 16 bits where they are compressed, they are read; Pillow takes plain ones of 16 bits for 8."""
    packed = [zlib.compress(band) for band in bands(DEEP)]
    for data in (planar(bands(RGB), 8), planar(packed, 16, compression=8)):
        assert np.array_equal(np.asarray(read_picture(data).picture), RGB)
    with pytest.raises(BadImage, match=r"one after another.*: save it as PNG"):
        read_picture(planar(bands(DEEP), 16))


def test_parts_that_are_missing_are_no_black_pixels() -> None:
    strips = [RGB[0:2].tobytes(), RGB[2:4].tobytes(), RGB[4:].tobytes()]
    whole = planar(strips, 8, rows=2, separate=False)
    assert np.array_equal(np.asarray(read_picture(whole).picture), RGB)
    with pytest.raises(BadImage, match="2 of the 3 parts"):
        read_picture(planar(strips[:2], 8, rows=2, separate=False))
    with pytest.raises(BadImage, match="1 of the 3 parts"):
        read_picture(planar(bands(RGB)[:1], 8))


def test_alpha_that_a_tga_denies() -> None:
    """Where the header counts no bits of alpha and all of them are 0, nothing is transparent."""
    bgra = np.dstack([RGB[..., ::-1], np.zeros((5, 7), np.uint8)])
    for bits, mode in ((0, "RGB"), (8, "RGBA")):
        head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 7, 5, 32, 0x20 | bits)
        picture = read_picture(head + bgra.tobytes(), ".tga").picture
        assert picture.mode == mode and np.array_equal(np.asarray(picture)[..., :3], RGB)


def test_a_wrong_checksum_of_pixels_is_said(tmp_path: Path) -> None:
    data = bytearray(encode(RGB))
    data[data.index(b"IEND") - 5] ^= 255  # the last byte of the checksum before it
    (finding,) = Folder((4, 4), 3, 0, path=fill(tmp_path, {"a.png": bytes(data)})).check()
    assert "wrong checksum" in finding.problem and not finding.fatal
