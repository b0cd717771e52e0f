"""Image files that are odd but legal give the right pixels; broken ones are refused, by every command alike."""

import struct
import sys
import tracemalloc
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from encoding import chunk, exif, png, tiff, with_chunks
from ganzoo.errors import DataError
from ganzoo_data.folder import Folder
from ganzoo_style_transfer import pictures as stylize_input
from pictures import encode, fill, luma, pixels, png_header

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
PLAIN = encode(RGB)
MB = 1 << 20

# --- metadata does not matter ----------------------------------------------------------------------------------------


def texts(add: str, *args: object, **kwargs: object) -> bytes:
    info = PngImagePlugin.PngInfo()
    getattr(info, add)(*args, **kwargs)
    return encode(RGB, pnginfo=info)


METADATA = {
    "3 MB of zTXt": lambda: texts("add_text", "workflow", "x" * 3 * MB, zip=True),
    "3 MB of tEXt": lambda: texts("add_text", "workflow", "x" * 3 * MB),
    "3 MB of XMP": lambda: texts("add_itxt", "XML:com.adobe.xmp", "x" * 3 * MB, zip=True),
    "many texts": lambda: with_chunks(PLAIN, *[chunk(b"tEXt", b"a\0" + b"x" * MB)] * 70),
    "text behind the pixels": lambda: (
        PLAIN[:-12] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * MB))) + PLAIN[-12:]
    ),
    "large ICC profile": lambda: with_chunks(PLAIN, chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(3 * MB)))),
    "broken ICC profile": lambda: with_chunks(PLAIN, chunk(b"iCCP", b"ICC\0\0garbage")),
    "text with a bad checksum": lambda: with_chunks(PLAIN, chunk(b"tEXt", b"Comment\0hello", 1)),
    "own chunk with a bad checksum": lambda: with_chunks(PLAIN, chunk(b"prVt", b"hello", 1)),
    "broken zTXt": lambda: with_chunks(PLAIN, chunk(b"zTXt", b"Comment\0\0hello")),
    "short gAMA": lambda: with_chunks(PLAIN, chunk(b"gAMA", b"\0")),
    "short cHRM": lambda: with_chunks(PLAIN, chunk(b"cHRM", b"\0\1\2")),
    "short pHYs": lambda: with_chunks(PLAIN, chunk(b"pHYs", b"\0")),
    "empty sRGB": lambda: with_chunks(PLAIN, chunk(b"sRGB", b"")),
    "short acTL": lambda: with_chunks(PLAIN, chunk(b"acTL", b"\0")),
    "bytes behind the end": lambda: PLAIN + b"garbage" * 50,
    "no end": lambda: PLAIN[:-12],
    "tRNS of a wrong length": lambda: with_chunks(PLAIN, chunk(b"tRNS", b"\0\1")),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_of_a_png_is_left_out(case: str) -> None:
    assert np.array_equal(pixels(METADATA[case](), 3), RGB)


def segment(marker: int, contents: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(contents) + 2) + contents


JPEG = encode(RGB, "JPEG", quality=95)
SEGMENTS = {
    "short EXIF": segment(0xE1, b"Exif\0\0II"),
    "short XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    "ICC profile without its parts": segment(0xE2, b"ICC_PROFILE\0\3\1xxxx"),
    "index of several pictures": segment(0xE2, b"MPF\0garbage"),
    "short Photoshop block": segment(0xED, b"Photoshop 3.0\0008BIM\4\4"),
    "short Adobe block": segment(0xEE, b"Adobe"),
    "short JFIF block": segment(0xE0, b"JFIF\0"),
    "comment": segment(0xFE, b"\xff" * 60000),
    "fill bytes": b"\xff" * 1000,
}


@pytest.mark.parametrize("case", SEGMENTS)
def test_metadata_of_a_jpeg_is_left_out(case: str) -> None:
    assert np.array_equal(pixels(JPEG[:2] + SEGMENTS[case] + JPEG[2:], 3), pixels(JPEG, 3))


ODD = [(0x100, 2, 3, b"40\0\0"), (0x103, 7, 4, b"abcd"), (0x111, 11, 1, struct.pack("<f", 1.5))]
ODD += [(0x8825, 4, 1, struct.pack("<I", 90_000)), (0x9207, 8, 1, b"\xfb\xff\0\0"), (0x9999, 99, 1, b"\1\0\0\0")]
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
SMOOTH = np.stack(np.broadcast_arrays(np.arange(0, 240, 40)[None] + np.zeros((8, 1), int), 0, 90), -1).astype(np.uint8)
SMOOTH[:, :, 1] = np.arange(0, 240, 30)[:, None]
FORMS = {"PNG": ({}, 0), "WEBP": ({"lossless": True}, 0), "JPEG": ({"quality": 98, "subsampling": 0}, 12)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_counts_beside_odd_tags(form: str, orientation: int, order: str) -> None:
    options, far = FORMS[form]
    tags = ODD if order == "<" else []
    data = encode(SMOOTH, form, exif=b"Exif\0\0" + exif(orientation, *tags, order=order), **options)
    right = UPRIGHT[orientation](SMOOTH)
    assert np.abs(pixels(data, 3, right.shape[:2], fit="error").astype(int) - right).max() <= far


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
HEX = f"\nexif\n{len(exif(6)) + 6:8d}\n{(b'Exif' + bytes(2) + exif(6)).hex()}\n"


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(encode(SMOOTH), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        with_chunks(encode(SMOOTH), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))),
        with_chunks(encode(SMOOTH), chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(HEX.encode()))),
        with_chunks(encode(SMOOTH), chunk(b"tEXt", b"x\0" + bytes(2 * MB)), chunk(b"eXIf", exif(6))),
        encode(SMOOTH)[:-12] + chunk(b"eXIf", exif(6)) + encode(SMOOTH)[-12:],
        encode(SMOOTH, "TIFF", tiffinfo={274: 6, 270: "x" * 300}),
        encode(SMOOTH, "WEBP", lossless=True, xmp=XMP),
    ],
    ids=["XMP", "packed XMP", "ImageMagick", "beside a long text", "behind the pixels", "TIFF", "WebP's XMP"],
)
def test_orientation_is_found_elsewhere(data: bytes) -> None:
    assert np.array_equal(pixels(data, 3, (6, 8), fit="error"), np.rot90(SMOOTH, -1))


# --- transparent colours and 16 bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_gray_becomes_alpha(depth: int, interlaced: bool) -> None:
    top = (1 << depth) - 1
    samples = RNG.integers(0, top + 1, (9, 11))
    key = samples[4, 5]
    samples[samples == key ^ 1] = key ^ min(2, top)  # 16 bits: no neighbour that 8 bits would confuse with the key ...
    samples[0, 0] = key ^ 1  # ... but this one
    data = png(samples, depth, 0, chunk(b"tRNS", struct.pack(">H", key)), interlaced=interlaced)
    gray, alpha = np.rint(samples * 255 / top).astype(int), np.where(samples == key, 0, 255)
    assert np.array_equal(pixels(data, 4, (9, 11)), np.dstack([gray] * 3 + [alpha]))
    on_red = np.where(alpha[..., None] > 0, np.dstack([gray] * 3), [255, 0, 0])
    assert np.array_equal(pixels(data, 3, (9, 11), background="red"), on_red)
    assert np.array_equal(pixels(data, 1, (9, 11))[..., 0], np.where(alpha > 0, gray, 255))
    on_blue = np.where(alpha[..., None] > 0, np.dstack([gray] * 3), [0, 0, 255])
    assert np.abs(pixels(data, 1, (9, 11), background="blue").astype(int) - luma(on_blue)).max() <= 1
    without = png(samples, depth, 0, interlaced=interlaced)
    assert np.array_equal(pixels(without, 1, (9, 11))[..., 0], gray)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_alpha(depth: int) -> None:
    samples = RNG.integers(0, 1 << depth, (9, 11, 3))
    samples[2, 3] = samples[4, 5] ^ [0, 0, 1]
    key = struct.pack(">3H", *samples[4, 5])
    out = pixels(png(samples, depth, 2, chunk(b"tRNS", key)), 4, (9, 11))
    assert np.array_equal(out[..., 3], np.where((samples == samples[4, 5]).all(-1), 0, 255))
    assert np.array_equal(out[..., :3], samples >> (depth - 8))


def test_gray_with_alpha_of_16_bits_is_rounded() -> None:
    samples = RNG.integers(0, 65536, (9, 11, 2))
    samples[..., 1] = np.where(samples[..., 1] > 30000, 65535, 0)
    gray, alpha = np.rint(samples[..., 0] / 257), samples[..., 1] // 257
    for interlaced in (False, True):
        out = pixels(png(samples, 16, 4, interlaced=interlaced), 4, (9, 11))
        assert np.array_equal(out, np.dstack([gray] * 3 + [alpha]))


def test_a_broken_transparent_colour_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(METADATA["tRNS of a wrong length"]())
    (finding,) = Folder((8, 8), 3, 0, path=tmp_path).check()
    assert "tRNS" in finding.problem and not finding.fatal


# --- TIFF ------------------------------------------------------------------------------------------------------------

DEEP = RNG.integers(0, 65536, (9, 11)).astype(np.uint16)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_gray_tiffs(order: str, white_is_zero: bool, compression: int, big: bool) -> None:
    for values, top in ((DEEP, 65535), ((DEEP >> 8).astype(np.uint8), 255)):
        data = tiff(values, order, white_is_zero=white_is_zero, compression=compression, big=big)
        right = np.rint((top - values.astype(int) if white_is_zero else values.astype(int)) * 255 / top)
        assert np.array_equal(pixels(data, 1, (9, 11))[..., 0], right)


def test_predicted_tiffs() -> None:
    """Pillow's own LZW and Deflate, with the horizontal predictor, once the photometric tag says white for zero."""
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        data = encode(DEEP, "TIFF", compression=compression, tiffinfo={317: 2})
        entry = struct.pack("<HHI", 262, 3, 1)
        at = data.index(entry) + len(entry)
        white = data[:at] + b"\0\0" + data[at + 2 :]
        assert np.array_equal(pixels(data, 1, (9, 11))[..., 0], np.rint(DEEP / 257))
        assert np.array_equal(pixels(white, 1, (9, 11))[..., 0], np.rint((65535 - DEEP.astype(int)) / 257))


def test_gray_of_12_bits_uses_the_whole_range() -> None:
    values = RNG.integers(0, 4096, (8, 8))
    bits = ((values[..., None] >> np.arange(11, -1, -1)) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(8, -1), axis=1)
    for white in (False, True):
        data = tiff(packed, white_is_zero=white, tags=[(256, 3, [8]), (258, 3, [12])])
        right = np.rint((4095 - values if white else values) * 255 / 4095)
        assert np.abs(pixels(data, 1)[..., 0] - right).max() == 0


def test_metadata_of_a_tiff_is_left_out() -> None:
    odd = [(282, 3, [1]), (296, 4, [9]), (305, 3, [7]), (34675, 4, [5]), (34665, 4, [4_000_000_000]), (700, 3, [1])]
    assert np.array_equal(pixels(tiff(DEEP, tags=odd), 1, (9, 11))[..., 0], np.rint(DEEP / 257))


def test_lab_is_converted() -> None:
    red = Image.fromarray(np.full((8, 8, 3), (136, 208, 195), np.uint8), "LAB")
    assert np.ptp(pixels(encode(red, "TIFF"), 1)) == 0
    assert np.abs(pixels(encode(red, "TIFF"), 1).astype(int) - luma(pixels(encode(red, "TIFF"), 3))).max() <= 1


# --- refused ---------------------------------------------------------------------------------------------------------

NOISE = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
LONG = encode(NOISE)
KEYED = png(RNG.integers(0, 65536, (40, 40)), 16, 0, chunk(b"tRNS", b"\0\0"))
REFUSED = {
    "cut PNG": (LONG[: len(LONG) // 2], "cannot be decoded"),
    "cut PNG with long text": (with_chunks(LONG, chunk(b"tEXt", b"a\0" + bytes(2 * MB)))[:-3000], "cannot be decoded"),
    "cut PNG of 16 bits": (KEYED[: len(KEYED) // 2], "cannot be decoded"),
    "cut JPEG": (encode(NOISE, "JPEG")[:-60], "cannot be decoded"),
    "cut TIFF": (tiff(DEEP)[:90], "TIFF"),
    "cut WebP": (encode(RGB, "WEBP", lossless=True)[:-40], "WebP"),
    "header with a bad checksum": (PLAIN[:29] + bytes(4) + PLAIN[33:], "damaged PNG"),
    "signed TIFF": (tiff(DEEP, tags=[(339, 3, [2])]), "signed"),
    "signed TIFF of 8 bits": (tiff((DEEP >> 8).astype(np.uint8), tags=[(339, 3, [2])]), "signed"),
    "bomb of 16 bits": (with_chunks(png_header(100_000, 10_000), chunk(b"tRNS", bytes(6))), "100,000x10,000 pixels"),
    "bomb in a TIFF": (tiff(DEEP, tags=[(256, 4, [100_000]), (257, 4, [10_000])]), "100,000x10,000 pixels"),
    "bomb in a BigTIFF": (tiff(DEEP, big=True, tags=[(256, 4, [60_000]), (257, 4, [10_000])]), "pixels"),
    "bomb in a JPEG": (JPEG.replace(struct.pack(">HH", 8, 8), struct.pack(">HH", 60_000, 60_000), 1), "pixels"),
    "web page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
    "PSD": (b"8BPS\0\1", "PSD file: save it as PNG"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """Data sets and style transfer refuse the same files for the same reason, before memory is spent."""
    data, part = REFUSED[case]
    folder = Folder((8, 8), 3, 0, path=fill(tmp_path, {"bad.png": data}))
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        folder.image(0)
    with pytest.raises(DataError) as again:
        stylize_input.read(tmp_path / "bad.png", 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part in str(caught.value) and str(caught.value) == str(again.value)
    assert peak < 30 * MB


def test_packed_metadata_is_no_bomb() -> None:
    bomb = zlib.compress(bytes(200 * MB), 1)
    data = with_chunks(PLAIN, *[chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)] * 3)
    tracemalloc.start()
    assert np.array_equal(pixels(data, 3), RGB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * MB


# --- formats by content ----------------------------------------------------------------------------------------------

FILES = {
    **dict.fromkeys(("noext", "a.jfif", "b.JPE", "c.jpeg", "d.download", "sub/e.1"), encode(SMOOTH, "JPEG")),
    **dict.fromkeys(("f.pnm", "g.ppm", "h"), encode(SMOOTH, "PPM")),
    **dict.fromkeys(("i.bmp", "j.dib", "k.x"), encode(SMOOTH, "BMP")),
    **dict.fromkeys(("l.tif", "m.txt"), encode(SMOOTH, "TIFF")),
    **{"n.gif": encode(SMOOTH, "GIF"), "o.tga": encode(SMOOTH, "TGA"), "p.jp2": encode(SMOOTH, "JPEG2000")},
    **{"q.webp": encode(SMOOTH, "WEBP", lossless=True), "r.jpg": encode(SMOOTH, "PNG"), "s.apng": encode(SMOOTH)},
}
OTHERS = {"notes.md": b"BMW P6 II*", "x.json": b"{}", "y.heic": REFUSED["HEIC"][0], "z.psd": b"8BPS\0\1"}
OTHERS |= {"raw.dng": encode(SMOOTH, "TIFF"), "._a.jpg": b"x", ".DS_Store": b"x", ".dot.png": PLAIN, "readme": b"text"}


def test_images_are_known_by_content(tmp_path: Path) -> None:
    """Compared with what Pillow makes of the same bytes."""
    folder = Folder((8, 6), 3, 0, path=fill(tmp_path, FILES | OTHERS))
    assert folder.names == sorted(FILES)
    for index, name in enumerate(folder.names):
        with Image.open(tmp_path / name) as file:
            assert np.array_equal(folder.image(index).transpose(1, 2, 0), np.asarray(file.convert("RGB"))), name
        assert np.array_equal(stylize_input.read(tmp_path / name, 64).rgb, folder.image(index)), name
    assert sum(folder.left_out.values()) == 7
    kinds = " ".join(folder.left_out)
    assert all(word in kinds for word in (".md (no image)", ".json", "pillow-heif", "PSD", "camera raw", "hidden"))
    assert "without a suffix" in kinds
    assert folder.check() and all("bytes of" in finding.problem for finding in folder.check())


def test_many_files_of_one_suffix_are_not_all_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganzoo.io.budgets.SNIFFED_FILES", 2)
    files = {f"{i}.dat": b"x" for i in range(9)} | {"a.png": PLAIN} | {f"{i}.scan": PLAIN for i in range(9)}
    folder = Folder((8, 8), 3, 0, path=fill(tmp_path, files))
    assert len(folder) == 10 and folder.left_out == {".dat (no image)": 9}


def test_a_plugin_of_pillow_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for pillow-heif, whose images are red."""

    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (8, 8), "RGB"
            self.tile = []

        def load(self) -> Any:
            self._im = Image.new("RGB", (8, 8), "red").im
            return super().load()

    heif = types.SimpleNamespace(register_heif_opener=lambda: Image.register_open("HEIF", Heif))
    fill(tmp_path, {"a.heic": REFUSED["HEIC"][0], "b.png": PLAIN})
    assert Folder((8, 8), 3, 0, path=tmp_path).names == ["b.png"]
    monkeypatch.setitem(sys.modules, "pillow_heif", heif)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    folder = Folder((8, 8), 3, 0, path=tmp_path)
    assert folder.names == ["a.heic", "b.png"] and folder.left_out == {}
    assert np.array_equal(folder.image(0), np.broadcast_to(np.array([255, 0, 0])[:, None, None], (3, 8, 8)))
