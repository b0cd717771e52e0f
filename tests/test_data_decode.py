"""Decoding of pictures, against independently computed expectations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganzoo_data.decode import BadImage, Target, decode, geometry
from pictures import ALPHA, RGB, RNG, encode, luma, npy, pixels

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
