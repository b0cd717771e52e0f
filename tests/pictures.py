"""Small pictures, encoded and in folders, zips and tars."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganzoo_data.decode import Target, decode

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
ALPHA = np.repeat(np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 4, 0), 4, 1)


def encode(picture: Image.Image | np.ndarray, form: str = "PNG", **kwargs: Any) -> bytes:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream := io.BytesIO(), form, **kwargs)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    np.save(stream := io.BytesIO(), array)
    return stream.getvalue()


def pixels(data: bytes, channels: int, size: tuple[int, int] = (8, 8), **kwargs: Any) -> np.ndarray:
    """Decode bytes of an image to [H, W, C]."""
    is_npy = data.startswith(b"\x93NUMPY")
    return decode(data, Target(size, channels, **kwargs), is_npy=is_npy).pixels.transpose(1, 2, 0)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Luma by ITU-R 601-2, rounded."""
    return np.floor(rgb.astype(float) @ [0.299, 0.587, 0.114] + 0.5).astype(int)[..., None]


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as t:
        for name, data in files.items():
            (info := tarfile.TarInfo(name)).size = len(data)
            t.addfile(info, io.BytesIO(data))
    return path


def numbered(n: int, size: int = 8) -> dict[str, bytes]:
    return {f"00000/img{i:08d}.png": encode(np.full((size, size, 3), i, np.uint8)) for i in range(n)}


def png_header(width: int, height: int) -> bytes:
    """Encode a PNG that declares a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IDAT" + zlib.compress(b"\0" * 10)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, end, b"IEND")
    )
