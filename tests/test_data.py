"""Datasets, decoding and batches, against expectations that are computed another way. All images are made here."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganzoo.component import described, options
from ganzoo.data import Loader, claim, class_labels, labels_at, mirrored, order, to_uint8, to_unit
from ganzoo.errors import DataError, UsageError, ZooError
from ganzoo.registry import Registry
from ganzoo_data.archive import Zip
from ganzoo_data.decode import BadImage, Target, decode, geometry
from ganzoo_data.folder import Folder
from ganzoo_data.shapes import CLASSES, Shapes
from ganzoo_data.tar import Tar

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
    """[H, W, C] as decoded."""
    is_npy = data.startswith(b"\x93NUMPY")
    return decode(data, Target(size, channels, **kwargs), is_npy=is_npy).pixels.transpose(1, 2, 0)


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2, rounded."""
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
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IDAT" + zlib.compress(b"\0" * 10)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, end, b"IEND")
    )


# --- modes -----------------------------------------------------------------------------------------------------------


def test_opaque_modes() -> None:
    gray = RGB[..., 0]
    assert np.array_equal(pixels(encode(RGB), 3), RGB)
    assert np.abs(pixels(encode(RGB), 1).astype(int) - luma(RGB)).max() <= 1
    assert np.array_equal(pixels(encode(RGB), 4), np.dstack([RGB, np.full((8, 8), 255)]))
    assert np.array_equal(pixels(encode(gray), 1)[..., 0], gray)
    assert np.array_equal(pixels(encode(gray), 3), np.dstack([gray] * 3))
    bits = gray > 127
    assert np.array_equal(pixels(encode(Image.fromarray(bits)), 1)[..., 0], bits * 255)
    for form in ("BMP", "TIFF", "PPM"):
        assert np.array_equal(pixels(encode(RGB, form), 3), RGB)
    assert np.array_equal(pixels(encode(RGB, "WEBP", lossless=True), 3), RGB)


def test_transparency_is_composited_or_kept() -> None:
    rgba = np.dstack([RGB, ALPHA])
    on_red = np.where(ALPHA[..., None] > 0, RGB, [255, 0, 0])
    assert np.array_equal(pixels(encode(rgba), 4), rgba)
    assert np.array_equal(pixels(encode(rgba), 3, background="red"), on_red)
    assert np.array_equal(pixels(encode(rgba), 3, background="#ff000010"), on_red)
    assert np.abs(pixels(encode(rgba), 1, background="red").astype(int) - luma(on_red)).max() <= 1
    half = np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 51, np.uint8)])  # black at 20 % on white
    assert np.unique(pixels(encode(half), 3)).tolist() == [204]


def test_gray_with_alpha() -> None:
    la = Image.fromarray(np.dstack([RGB[..., 0], ALPHA]), "LA")
    expected = np.where(ALPHA > 0, RGB[..., 0], 255)
    assert np.array_equal(pixels(encode(la), 1)[..., 0], expected)
    assert np.array_equal(pixels(encode(la), 3), np.dstack([expected] * 3))
    assert np.array_equal(pixels(encode(la), 4), np.dstack([RGB[..., 0]] * 3 + [ALPHA]))


def test_palettes() -> None:
    index = RNG.integers(0, 3, (8, 8), dtype=np.uint8)
    colours = np.array([[255, 0, 0], [0, 200, 0], [10, 20, 30]], np.uint8)
    picture = Image.fromarray(index, "P")
    picture.putpalette(colours.tobytes())
    assert np.array_equal(pixels(encode(picture), 3), colours[index])
    clear = encode(picture, transparency=1)
    assert np.array_equal(pixels(clear, 3), np.where((index == 1)[..., None], 255, colours[index]))
    assert np.array_equal(pixels(clear, 4)[..., 3], np.where(index == 1, 0, 255))
    graded = encode(picture, transparency=bytes([255, 0, 102]))
    assert np.array_equal(pixels(graded, 4)[..., 3], np.array([255, 0, 102])[index])
    keyed = encode(RGB, transparency=tuple(RGB[0, 0].tolist()))
    assert pixels(keyed, 3)[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    values[0, :3] = 0, 65535, 257
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(pixels(encode(values), 1)[..., 0], expected)
    assert np.array_equal(pixels(encode(values), 3), np.dstack([expected] * 3))
    assert np.array_equal(pixels(encode(values.astype(np.int32), "TIFF"), 1)[..., 0], expected)
    assert np.array_equal(pixels(npy(values), 1)[..., 0], expected)
    assert np.array_equal(pixels(npy(values.astype(">u2")), 1)[..., 0], expected)


def test_cmyk() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert np.abs(pixels(encode(red, "JPEG"), 3).astype(int) - [255, 0, 0]).max() <= 4
    assert np.array_equal(pixels(encode(red, "TIFF"), 3), np.broadcast_to([255, 0, 0], (8, 8, 3)))


@pytest.mark.parametrize(
    "orientation, upright",
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(orientation: int, upright: Callable[[np.ndarray], np.ndarray]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = upright(RGB[:, :6])
    assert np.array_equal(pixels(encode(RGB[:, :6], exif=exif), 3, expected.shape[:2], fit="error"), expected)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 0, 250))]
    for form, extra in (("GIF", {}), ("WEBP", {"lossless": True}), ("MPO", {"quality": 100, "subsampling": 0})):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:], **extra)
        assert np.abs(pixels(data, 3).astype(int) - [250, 0, 0]).max() <= (2 if form == "MPO" else 0)


def test_npy_has_any_number_of_channels() -> None:
    five = RNG.integers(0, 256, (8, 6, 5), dtype=np.uint8)
    assert np.array_equal(pixels(npy(five), 5, (8, 6)), five)
    assert np.array_equal(pixels(npy(five.transpose(2, 0, 1)), 5, (8, 6)), five)
    assert np.array_equal(pixels(npy(np.asfortranarray(five)), 5, (8, 6)), five)
    assert np.array_equal(pixels(npy(five[..., :4]), 4, (8, 6)), five[..., :4])
    assert np.array_equal(pixels(npy(five[..., 0]), 1, (8, 6))[..., 0], five[..., 0])
    means = five.reshape(4, 2, 3, 2, 5).mean((1, 3))
    assert np.abs(pixels(npy(five), 5, (4, 3), filter="box") - means).max() <= 1
    assert pixels(npy(five), 5, (8, 8), fit="fit")[:, [0, 7]].max() == 0
    assert pixels(npy(five[..., :3]), 3, (8, 8), fit="fit", background="#010203")[0, 0].tolist() == [1, 2, 3]


# --- size ------------------------------------------------------------------------------------------------------------


def test_crop_takes_the_middle() -> None:
    wide = np.dstack([np.tile(np.arange(24, dtype=np.uint8), (8, 1))] * 3)
    assert np.array_equal(pixels(encode(wide), 3), wide[:, 8:16])
    assert np.array_equal(pixels(encode(wide.transpose(1, 0, 2)), 3), wide.transpose(1, 0, 2)[8:16])
    assert np.array_equal(pixels(encode(wide), 3, (4, 12), filter="box")[0, :, 0], np.arange(1, 24, 2))


def test_fit_adds_bars_of_the_background() -> None:
    wide = np.zeros((8, 16, 3), np.uint8)
    out = pixels(encode(wide), 3, fit="fit", background="#010203")
    assert np.array_equal(out[2:6], np.zeros((4, 8, 3)))
    assert np.unique(out[[0, 1, 6, 7]].reshape(-1, 3), axis=0).tolist() == [[1, 2, 3]]
    assert pixels(encode(wide), 4, fit="fit", background="#ffffff00")[0, 0].tolist() == [255, 255, 255, 0]
    assert pixels(encode(wide), 1, fit="fit", background="#404040")[0, 0, 0] == 64


def test_resizing_does_not_bleed_transparent_colour() -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)  # transparent green beside opaque red
    rgba[:, ::2] = 0, 255, 0, 0
    rgba[:, 1::2] = 255, 0, 0, 255
    kept = pixels(encode(rgba), 4, (4, 4), filter="box")
    assert np.abs(kept.astype(int) - [255, 0, 0, 128]).max() <= 1
    assert np.abs(pixels(encode(rgba), 3, (4, 4), filter="box").astype(int) - [255, 128, 128]).max() <= 1


side = st.integers(1, 200)


@given(side, side, side, side, st.sampled_from(["crop", "fit"]))
def test_geometry_stays_inside(height: int, width: int, rows: int, columns: int, fit: Any) -> None:
    (left, top, right, bottom), (h, w) = geometry((height, width), Target((rows, columns), 3, fit, upscale=True))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert 1 <= h <= rows and 1 <= w <= columns
    assert (h, w) == (rows, columns) if fit == "crop" else h == rows or w == columns
    assert abs((width - right) - left) <= 1 and abs((height - bottom) - top) <= 1


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that is damaged
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_bad_image_only(data: st.DataObject) -> None:
    forms = [encode(RGB), encode(RGB, "JPEG"), encode(RGB, "GIF"), encode(RGB, "TIFF"), encode(RGB, "WEBP"), npy(RGB)]
    raw = bytearray(data.draw(st.sampled_from(forms)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    try:
        out = decode(bytes(raw), Target((4, 4), 3), is_npy=raw[:1] == b"\x93")
        assert out.pixels.shape == (3, 4, 4)
    except BadImage as err:
        assert "\n" not in str(err)


# --- folders, zips and tars -------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "zip", "tar"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def build(files: dict[str, bytes], size: Any = (8, 8), channels: int = 3, labels: int = 0, **kw: Any) -> Any:
        if request.param == "folder":
            return Folder(size, channels, labels, path=fill(tmp_path / "set", files), **kw)
        if request.param == "tar":
            return Tar(size, channels, labels, path=tarred(tmp_path / "set.tar", files), **kw)
        return Zip(size, channels, labels, path=pack(tmp_path / "set.zip", files), **kw)

    return build


def test_names_are_the_order(make: Callable[..., Any]) -> None:
    files = numbered(12)
    junk = dict.fromkeys(("__MACOSX/00000/._img.png", ".hidden.png", ".git/a.png", "notes.txt", "dataset.json"), b"{")
    data = make(dict(reversed((files | junk).items())))
    assert data.names == sorted(files) and len(data) == 12 and data.title == "set"
    assert [data.image(i)[0, 0, 0] for i in range(12)] == list(range(12))
    assert data.image(3).dtype == np.uint8 and data.image(3).shape == (3, 8, 8)
    assert data.label(0).shape == (0,)


def test_labels(make: Callable[..., Any]) -> None:
    files = numbered(3)
    table = [[n.replace("/", "\\"), i] for i, n in enumerate(files)]
    data = make(files | {"dataset.json": json.dumps({"labels": table[::-1]}).encode()}, labels=4)
    assert np.array_equal([data.label(i) for i in range(3)], np.eye(4)[:3])
    vectors = [[n, [i, 0.5]] for i, n in enumerate(files)]
    data = make(files | {"dataset.json": json.dumps({"labels": vectors}).encode()}, labels=2)
    assert np.array_equal(labels_at(data, [2, 0]), [[2, 0.5], [0, 0.5]]) and data.label(1).dtype == np.float32


def test_five_channels_from_files(make: Callable[..., Any]) -> None:
    five = RNG.integers(0, 256, (8, 8, 5), dtype=np.uint8)
    assert np.array_equal(make({"a.npy": npy(five)}, channels=5).image(0), five.transpose(2, 0, 1))


def test_fingerprint(make: Callable[..., Any]) -> None:
    files = numbered(3)
    base = make(files).fingerprint()
    assert base == make(files).fingerprint() == make(files, upscale=True).fingerprint()
    first = next(iter(files))
    changes: list[dict[str, Any]] = [
        {"size": (8, 4)},
        {"channels": 1},
        {"fit": "fit"},
        {"filter": "box"},
        {"background": "black"},
        {"files": files | {"dataset.json": json.dumps({"labels": [[n, 0] for n in files]}).encode()}, "labels": 1},
        {"files": files | {first: encode(np.full((8, 8, 3), 99, np.uint8))}},
        {"files": files | {"z.png": files[first]}},
    ]
    seen = {make(**{"files": files, **change}).fingerprint() for change in changes}
    assert len(seen | {base}) == len(changes) + 1


def test_folder_and_archives_agree(tmp_path: Path) -> None:
    files = numbered(3)
    a = Folder((8, 8), 3, 0, path=fill(tmp_path / "a", files))
    b = Zip((8, 8), 3, 0, path=pack(tmp_path / "a.zip", files))
    before = a.fingerprint()
    c = Tar((8, 8), 3, 0, path=tarred(tmp_path / "a.tar", files))
    assert before == b.fingerprint() == c.fingerprint()
    assert a.check() == b.check() == c.check() == [] and a.fingerprint() == before


def test_check_names_what_is_odd(make: Callable[..., Any]) -> None:
    data = make(
        {
            "a.png": encode(RGB),
            "b.png": encode(RGB),
            "c.png": b"text",
            "d.png": encode(RGB[..., 0]),
            "e.png": encode(np.zeros((8, 40, 3), np.uint8)),
            "f.png": encode(np.ones((4, 4, 3), np.uint8)),
        },
        upscale=True,
    )
    calls: list[tuple[int, int]] = []
    found = {(f.file, f.fatal): f.problem for f in data.check(lambda *c: calls.append(c))}
    assert set(found) == {("b.png", False), ("c.png", True), ("d.png", False), ("e.png", False), ("f.png", False)}
    assert "bytes of a.png" in found["b.png", False] and "gray" in found["d.png", False]
    assert "20%" in found["e.png", False] and "up to 8x8" in found["f.png", False]
    assert calls == [(6, 6)]


def test_threads_read_the_same(make: Callable[..., Any]) -> None:
    files = {f"{i}.png": encode(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)) for i in range(40)}
    data = make(files)
    alone = [data.image(i) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(data.image, list(range(40)) * 5))
    assert np.array_equal(together, alone * 5)


def test_a_forked_process_opens_its_own_handle(tmp_path: Path) -> None:
    data = Zip((8, 8), 3, 0, path=pack(tmp_path / "a.zip", numbered(2)))
    handle, data._pid = data._zip, -1
    assert data.image(1)[0, 0, 0] == 1 and data._zip is not handle


def test_a_folder_may_hold_links_even_in_a_circle(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", numbered(2))
    (root / "00000" / "loop").symlink_to(root)
    (tmp_path / "view").symlink_to(root)
    assert len(Folder((8, 8), 3, 0, path=tmp_path / "view")) == 2


# --- bad input -------------------------------------------------------------------------------------------------------


def in_folder(name: str, data: bytes, **kw: Any) -> Callable[[Path], Any]:
    def run(tmp: Path) -> Any:
        return Folder((8, 8), kw.pop("channels", 3), 0, path=fill(tmp / "set", {name: data}), **kw).image(0)

    return run


def with_labels(text: bytes | None, labels: int = 2) -> Callable[[Path], Any]:
    files = {"a.png": encode(RGB), "b.png": encode(RGB)} | ({} if text is None else {"dataset.json": text})
    return lambda tmp: Zip((8, 8), 3, labels, path=pack(tmp / "set.zip", files))


def broken_zip(mutate: Callable[[bytearray], object]) -> Callable[[Path], Any]:
    def run(tmp: Path) -> Any:
        path = pack(tmp / "set.zip", {"bad.png": encode(RGB)})
        raw = bytearray(path.read_bytes())
        mutate(raw)
        path.write_bytes(raw)
        return Zip((8, 8), 3, 0, path=path).image(0)

    return run


def flip(raw: bytearray) -> None:
    raw[80] ^= 255


def encrypt(raw: bytearray) -> None:
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1


def other_method(raw: bytearray) -> None:
    raw[8] = 97
    raw[raw.index(b"PK\1\2") + 10] = 97


def made_folder(tmp: Path) -> Any:
    (tmp / "set" / "bad.png").mkdir(parents=True)
    return Folder((8, 8), 3, 0, path=tmp / "set").image(0)


def dangling(tmp: Path) -> Any:
    (tmp / "bad.png").symlink_to(tmp / "nowhere")
    return Folder((8, 8), 3, 0, path=tmp).image(0)


PNG = encode(RGB)
PAIR = '{"labels": [["a.png", %s], ["b.png", 0]]}'
BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "text": (in_folder("bad.png", b"hello"), "bad.png", "is no PNG"),
    "empty": (in_folder("bad.png", b""), "bad.png", "0 bytes"),
    "truncated": (in_folder("bad.png", PNG[:120]), "bad.png", "cannot be decoded"),
    "truncated jpeg": (in_folder("bad.jpg", encode(RGB, "JPEG", quality=99)[:-60]), "bad.jpg", "cannot be decoded"),
    "postscript": (in_folder("bad.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"), "bad.png", "is no PNG"),
    "folder": (made_folder, "bad.png", "is a folder"),
    "dangling link": (dangling, "bad.png", "cannot be read"),
    "bomb": (in_folder("bad.png", png_header(100_000, 10_000)), "bad.png", "pixels"),
    "small bomb": (in_folder("bad.png", png_header(10_000, 10_000)), "bad.png", "pixels"),
    "small": (in_folder("bad.png", encode(RGB[:4, :4])), "bad.png", "wants 8x8: choose a smaller image.size"),
    "small crop": (in_folder("bad.png", encode(np.zeros((4, 16, 3), np.uint8))), "bad.png", "dataset.upscale=true"),
    "not exact": (in_folder("bad.png", encode(RGB[:, :7]), fit="error"), "bad.png", "is 7x8"),
    "float": (in_folder("bad.tif", encode(np.ones((8, 8), np.float32), "TIFF")), "bad.tif", "floating-point"),
    "32 bit": (in_folder("bad.tif", encode(np.full((8, 8), 70000, np.int32), "TIFF")), "bad.tif", "32-bit"),
    "lab": (in_folder("bad.tif", encode(Image.new("LAB", (8, 8)), "TIFF"), channels=1), "bad.tif", "LAB"),
    "five from png": (in_folder("bad.png", PNG, channels=5), "bad.png", "at most 4 channels"),
    "npy shape": (in_folder("bad.npy", npy(RGB), channels=5), "bad.npy", "[8, 8, 3]"),
    "npy pickle": (in_folder("bad.npy", npy(np.array([{}], object))), "bad.npy", "object"),
    "npy float": (in_folder("bad.npy", npy(RGB / 255)), "bad.npy", "float64"),
    "npy truncated": (in_folder("bad.npy", npy(RGB)[:-9]), "bad.npy", "damaged"),
    "npy huge": (in_folder("bad.npy", npy(RGB).replace(b"(8, 8, 3)", b"(%d, 8, 3)" % 10**18)), "bad.npy", "damaged"),
    "npy negative": (in_folder("bad.npy", npy(RGB).replace(b"(8, 8, 3)", b"(-8, -8, 3)")), "bad.npy", ""),
    "npy none": (in_folder("bad.npy", npy(RGB[:0])), "bad.npy", "damaged"),
    "npy text": (in_folder("bad.npy", b"hello"), "bad.npy", "numpy.save"),
    "colour": (in_folder("bad.png", PNG, background="blurple"), "blurple", "no colour"),
    "missing": (lambda tmp: Folder((8, 8), 3, 0, path=tmp / "none"), "none", "does not exist"),
    "no folder": (lambda tmp: Folder((8, 8), 3, 0, path=fill(tmp, {"f": b"x"}) / "f"), "f", "is a file"),
    "no images": (lambda tmp: Folder((8, 8), 3, 0, path=fill(tmp, {"x.txt": b"", "y.c": b""})), "", "(2 other files)"),
    "suffixes": (lambda tmp: Folder((8, 8), 3, 0, path=tmp), "", ".png, .jpg"),
    "zip missing": (lambda tmp: Zip((8, 8), 3, 0, path=tmp / "none.zip"), "none.zip", "does not exist"),
    "zip folder": (lambda tmp: Zip((8, 8), 3, 0, path=tmp), "", "is no file"),
    "no zip": (lambda tmp: Zip((8, 8), 3, 0, path=fill(tmp, {"n.zip": b"PK hello"}) / "n.zip"), "n.zip", "no zip file"),
    "empty zip": (lambda tmp: Zip((8, 8), 3, 0, path=pack(tmp / "e.zip", {})), "e.zip", "no images"),
    "zip crc": (broken_zip(flip), "bad.png", "CRC"),
    "zip password": (broken_zip(encrypt), "bad.png", "password"),
    "zip method": (broken_zip(other_method), "bad.png", "compression"),
    "zip cut": (broken_zip(lambda raw: raw.__delitem__(slice(-30, None))), "set.zip", "no zip file"),
    "no labels": (with_labels(None), "dataset.json", "or set labels=0"),
    "null labels": (with_labels(b'{"labels": null}'), "dataset.json", "holds no labels"),
    "labels no json": (with_labels(b"{"), "dataset.json", "JSONDecodeError"),
    "labels no text": (with_labels(b"\xff\xfe\xff"), "dataset.json", "is not"),
    "labels deep": (with_labels(b"[" * 200_000), "dataset.json", "RecursionError"),
    "labels list": (with_labels(b"[]"), "dataset.json", "TypeError"),
    "labels pairs": (with_labels(b'{"labels": [1, 2]}'), "dataset.json", "TypeError"),
    "label missing": (with_labels(b'{"labels": [["a.png", 0]]}'), "dataset.json", "lacks the label of b.png"),
    "class too high": (with_labels((PAIR % "2").encode()), "a.png", "classes 0 to 1"),
    "class negative": (with_labels((PAIR % "-1").encode()), "a.png", "classes 0 to 1"),
    "class huge": (with_labels((PAIR % ("9" * 30)).encode()), "a.png", "classes 0 to 1"),
    "class bool": (with_labels((PAIR % "true").encode()), "a.png", "class number"),
    "class text": (with_labels((PAIR % '"cat"').encode()), "a.png", "cat"),
    "vector length": (with_labels((PAIR % "[1, 2, 3]").encode()), "a.png", "vector of 3"),
    "vector nan": (with_labels((PAIR % "[1, NaN]").encode()), "a.png", "finite"),
    "shapes labels": (lambda tmp: Shapes((8, 8), 3, 3), "labels is 3", "4 or 0"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str, tmp_path: Path) -> None:
    run, name, part = BAD[case]
    with pytest.raises(ZooError) as caught:
        run(tmp_path)
    assert isinstance(caught.value, DataError | UsageError)
    sentence = str(caught.value)
    assert name in sentence and part in sentence, sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence, sentence


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_bad_data_where_warnings_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pixels"):
        in_folder("bad.png", png_header(10_000, 10_000))(tmp_path)


def test_files_over_the_limit_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganzoo_data.archive.MAX_BYTES", 100)
    monkeypatch.setattr("ganzoo_data.folder.MAX_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("bad.png", bytes(1 << 20))
    with pytest.raises(DataError, match=r"bad\.png unpacks to more"):
        Zip((8, 8), 3, 0, path=tmp_path / "b.zip").image(0)
    with pytest.raises(DataError, match=r"bad\.png is larger"):
        in_folder("bad.png", bytes(101))(tmp_path)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (20, 48), (5, 3)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_shapes_of_any_size(size: tuple[int, int], channels: int) -> None:
    a, b = Shapes(size, channels, 4, count=50), Shapes(size, channels, 0, count=50)
    for i in (0, 49):
        assert a.image(i).shape == (channels, *size) and a.image(i).dtype == np.uint8
        assert np.array_equal(a.image(i), b.image(i))
    assert not np.array_equal(a.image(0), Shapes(size, channels, 4, seed=1).image(0)) and b.label(3).shape == (0,)


def test_shapes_are_what_their_labels_say() -> None:
    data = Shapes((128, 128), 4, 4, count=80)
    assert data.check() == [] and data.title == "shapes" and len(data) == 80
    for i in range(len(data)):
        alpha = data.image(i)[3] / 255
        rows, columns = np.nonzero(alpha > 0.5)
        assert 0.1 < alpha.mean() < 0.5 and rows.min() > 0 and columns.max() < 127
        z = (columns - columns.mean()) + 1j * (rows - rows.mean())
        symmetry = {k: abs((z**k).sum()) / (abs(z) ** k).sum() for k in (3, 4, 5)}  # k-fold symmetric moments
        best = max(symmetry, key=symmetry.__getitem__)
        found = {3: "triangle", 4: "square", 5: "star"}[best] if symmetry[best] > 0.1 else "circle"
        assert found == CLASSES[int(data.label(i).argmax())], symmetry
    with pytest.raises(IndexError):
        data.image(80)


def test_shapes_fingerprint() -> None:
    sets = [
        Shapes((8, 8), 3, 0),
        Shapes((8, 8), 3, 4),
        Shapes((8, 8), 1, 0),
        Shapes((8, 4), 3, 0),
        Shapes((8, 8), 3, 0, seed=1),
        Shapes((8, 8), 3, 0, count=5),
    ]
    assert len({s.fingerprint() for s in sets}) == 6 and Shapes((8, 8), 3, 0).fingerprint() == sets[0].fingerprint()


# --- order and batches -----------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(-5, 2**70), st.integers(0, 5))
def test_each_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    indices = order(n, seed, epoch * n, n)
    assert indices.dtype == np.int64 and sorted(indices) == list(range(n))


@given(st.integers(1, 20), st.integers(0, 9), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 100))
def test_any_split_into_batches_draws_the_same(n: int, seed: int, counts: list[int], start: int) -> None:
    starts = start + np.cumsum([0, *counts])
    for draw in (lambda p, c: order(n, seed, p, c), lambda p, c: mirrored(seed, p, c)):
        parts = [draw(int(p), c) for p, c in zip(starts, counts)]
        assert np.array_equal(np.concatenate([*parts, draw(start, 0)]), draw(start, sum(counts)))


def test_epochs_and_flips_are_random() -> None:
    assert not np.array_equal(order(100, 0, 0, 100), order(100, 0, 100, 100))
    assert not np.array_equal(order(100, 0, 0, 100), order(100, 1, 0, 100))
    for seed in (0, 1, -1, 2**80):
        flips = mirrored(seed, 0, 40_000)
        again = flips[:-1] == flips[1:]
        assert abs(flips.mean() - 0.5) < 0.02 and abs(again.mean() - 0.5) < 0.02
    assert abs((mirrored(0, 0, 40_000) == mirrored(1, 0, 40_000)).mean() - 0.5) < 0.02
    with pytest.raises(ValueError):
        order(0, 0, 0, 1)


@pytest.mark.parametrize("workers, cache", [(0, 1 << 30), (1, 0), (4, 0), (4, 1 << 30), (2, 8 * 8 * 3 * 20)])
def test_batches_depend_on_seed_position_and_count_alone(workers: int, cache: int) -> None:
    data = Shapes((8, 8), 3, 4, count=20)
    flips = mirrored(5, 0, 70)
    drawn = order(20, 5, 0, 70)
    images = np.stack([data.image(i)[..., ::-1] if f else data.image(i) for i, f in zip(drawn.tolist(), flips)])
    with Loader(data, seed=5, mirror=True, workers=workers, cache_bytes=cache) as loader:
        for position, count in [(0, 7), (7, 7), (14, 30), (44, 7), (3, 0), (0, 70), (30, 9)]:
            got, labels = loader.batch(position, count, following=position + 2 * count if count == 9 else None)
            assert got.dtype == torch.uint8 and labels.dtype == torch.float32
            assert np.array_equal(got, images[position : position + count])
            assert torch.equal(labels, labels_at(data, drawn[position : position + count]))
        assert loader.waited > 0


class Counted(Shapes, name="counted"):
    """Shapes that count how often each is read, and fail at one."""

    bad = -1

    def image(self, index: int) -> np.ndarray:
        self.__dict__.setdefault("read", []).append(index)
        if index == self.bad:
            raise DataError("x.png is bad.")
        return super().image(index)


def test_a_cached_dataset_is_read_once() -> None:
    data = Counted((8, 8), 3, 0, count=12)
    with Loader(data, seed=0, workers=1) as loader:
        for p in range(0, 120, 6):
            loader.batch(p, 6)
    assert sorted(data.__dict__["read"]) == list(range(12))


def test_an_error_reaches_the_caller_and_the_next_batch_still_comes() -> None:
    data = Counted((8, 8), 3, 0, count=12)
    data.bad = int(order(12, 0, 6, 1)[0])
    with Loader(data, seed=0, workers=2) as loader:
        assert len(loader.batch(0, 6)[0]) == 6
        for _ in range(2):
            with pytest.raises(DataError):
                loader.batch(6, 6)
        assert len(loader.batch(0, 6)[0]) == 6


def test_pixels_to_unit_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(every)
    assert unit.dtype == torch.float32 and unit[0] == -1 and unit[-1] == 1 and torch.equal(to_uint8(unit), every)
    assert to_uint8(torch.tensor([-9.0, 9.0, 0.0, 0.5 / 127.5, -0.6 / 127.5])).tolist() == [0, 255, 128, 128, 127]
    assert torch.equal(to_uint8(unit.to(torch.bfloat16)), to_uint8(unit.to(torch.bfloat16).double()))


def test_class_labels_are_as_frequent_as_in_the_data() -> None:
    data = Shapes((8, 8), 3, 4, count=40)
    drawn = class_labels(data, 4000, torch.Generator().manual_seed(1))
    expected = labels_at(data, range(40)).mean(0)
    assert drawn.shape == (4000, 4) and (drawn.mean(0) - expected).abs().max() < 0.03
    assert torch.equal(drawn, class_labels(data, 4000, torch.Generator().manual_seed(1)))
    assert class_labels(Shapes((8, 8), 3, 0), 5, torch.Generator()).shape == (5, 0)


# --- components ------------------------------------------------------------------------------------------------------


def filled() -> Registry:
    registry = Registry()
    for cls in (Folder, Shapes, Tar, Zip):
        registry.add(cls, "data")
    return registry


def test_source_chooses_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    (tmp_path / "plain").mkdir()
    fill(tmp_path, {"shards/a.tar": b"", "both/a.tar": b"", "both/a.png": b"", "gz/a.tar.gz": b""})
    wanted = {"shapes": Shapes, "./shapes": Folder, "plain": Folder, "a/none": Folder, "~/x": Folder}
    wanted |= {"x.zip": Zip, "a/B.ZIP": Zip, "x.tar": Tar, "a/B.TAR": Tar, "a-{0..9}.tar": Tar, "./x.tar.gz": Tar}
    wanted |= {"shards": Tar, "./shards": Tar, "gz": Tar, "both": Folder}
    assert {s: claim(s, filled()) for s in wanted} == wanted
    for typo in ("plian", "", "folder"):
        with pytest.raises(UsageError, match=rf"'{typo}'.*folder.*shapes.*tar.*zip") as caught:
            claim(typo, filled())
        assert ". " not in str(caught.value)
    with pytest.raises(UsageError, match="none is installed"):
        claim("x", Registry())


def test_options_are_typed_and_described() -> None:
    for cls in (Folder, Shapes, Tar, Zip):
        assert set(options(cls).model_fields) == set(described(cls))
    assert options(Zip).model_validate_json('{"path": "~/a.zip", "fit": "fit"}').model_dump()["path"] == Path("~/a.zip")
    for bad in ('{"path": "x", "fit": "stretch"}', '{"fit": "crop"}', '{"path": "x", "filter": "bicubic"}'):
        with pytest.raises(ValueError):
            options(Folder).model_validate_json(bad)
