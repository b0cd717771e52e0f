"""Datasets in folders, zips and tars, and their faults, on images drawn by the tests."""

import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganzoo.errors import DataError, UsageError, ZooError
from ganzoo.training.labels import labels_at
from ganzoo_data import archive
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.shapes import Shapes
from ganzoo_data.tar import Tar
from pictures import RGB, RNG, encode, fill, npy, numbered, pack, png_header, tarred

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


def test_one_image_is_a_dataset(tmp_path: Path) -> None:
    files = numbered(3)
    folder = fill(tmp_path / "set", files | {"notes.txt": b"no image"})
    name = list(files)[1]
    data = Folder((8, 8), 3, 0, path=folder / name)
    assert (data.names, len(data), data.title) == ([Path(name).name], 1, Path(name).stem)
    assert np.array_equal(data.image(0), Folder((8, 8), 3, 0, path=folder).image(1))
    with pytest.raises(DataError, match=r"notes\.txt holds no images, as it is a file of another kind: give an image"):
        Folder((8, 8), 3, 0, path=folder / "notes.txt")
    with pytest.raises(DataError, match=rf"^{folder / name} is 8x8, the recipe wants 16x16: choose a smaller"):
        Folder((16, 16), 3, 0, path=folder / name).image(0)


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
    problems = {(f.file, f.fatal): f.problem for f in data.check(lambda *c: calls.append(c))}
    assert set(problems) == {("b.png", False), ("c.png", True), ("d.png", False), ("e.png", False), ("f.png", False)}
    assert "bytes of a.png" in problems["b.png", False] and "gray" in problems["d.png", False]
    assert "20%" in problems["e.png", False] and "up to 8x8" in problems["f.png", False]
    assert calls == [(6, 6)]


def test_threads_read_the_same(make: Callable[..., Any]) -> None:
    files = {f"{i}.png": encode(RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)) for i in range(40)}
    data = make(files)
    alone = [data.image(i) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(data.image, list(range(40)) * 5))
    assert np.array_equal(together, alone * 5)


def test_a_forked_process_opens_its_own_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handles = []

    def opened(path: Path) -> zipfile.ZipFile:
        handles.append(zipfile.ZipFile(path))
        return handles[-1]

    monkeypatch.setattr(archive, "ZipFile", opened)
    data = Zip((8, 8), 3, 0, path=pack(tmp_path / "a.zip", numbered(2)))
    (handle,) = handles
    monkeypatch.setattr(archive.os, "getpid", lambda: -1)
    assert data.image(1)[0, 0, 0] == 1 and handles[-1] is not handle


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
