"""Names in folders and archives of other systems, labels as others write them, samples of several images."""

import io
import json
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import TINY
from commands import gz as gz
from ganzoo.errors import DataError
from ganzoo.recipe.source import parse_value
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.images import ImageSet
from ganzoo_data.tar import Tar
from pictures import encode, fill, pack, tarred
from projecting import QUICK
from snapshots import untrained


def image(value: int, size: int = 8) -> bytes:
    return encode(np.full((size, size, 3), value, np.uint8))


def table(labels: dict[str, Any]) -> bytes:
    return json.dumps({"labels": list(labels.items())}).encode()


MAKERS: dict[str, tuple[type[ImageSet], Callable[[Path, dict[str, bytes]], Path]]] = {
    "folder": (Folder, fill),
    "zip": (Zip, lambda path, files: pack(path.with_suffix(".zip"), files)),
    "tar": (Tar, lambda path, files: tarred(path.with_suffix(".tar"), files)),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    cls, write = MAKERS[request.param]
    return lambda files, labels=0, name="set": cls((8, 8), 3, labels, path=write(tmp_path / name, files))


# --- names -----------------------------------------------------------------------------------------------------------

JUNK = {"__MACOSX\\cats\\._a.png": b"x", "cats\\.hidden.png": b"x", "__MACOSX/._b.png": b"x", ".git\\a.png": b"x"}


def test_backslashes(make: Callable[..., Any], tmp_path: Path) -> None:
    """On Linux a backslash is a part of a file's name; an archive of Windows means a folder."""
    files = {"cats\\a.png": image(1), "cats\\b.png": image(2), "dogs\\deep\\a.png": image(3)}
    labels = {"cats/a.png": 0, "cats\\b.png": 1, ".\\dogs/deep\\a.png": 2}
    data = make(files | JUNK | {"dataset.json": table(labels)}, labels=3)
    assert [data.image(i)[0, 0, 0] for i in range(len(data))] == [1, 2, 3]
    assert np.array_equal([data.label(i) for i in range(3)], np.eye(3))
    plain = Folder((8, 8), 3, 0, path=fill(tmp_path / "plain", {n.replace("\\", "/"): d for n, d in files.items()}))
    assert make(files, name="other").fingerprint() == plain.fingerprint()
    assert make(files, name="third").check() == []


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_folders_of_windows_are_no_files(form: str, tmp_path: Path) -> None:
    cls, write = MAKERS[form]
    data = cls(
        (8, 8), 3, 0, path=write(tmp_path / "set", {"cats\\": b"", "cats\\a.png": image(1), "./b.png": image(2)})
    )
    assert data.names == ["b.png", "cats/a.png"] and data.left_out == {}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("given", ["NFC", "NFD"])
def test_accents(make: Callable[..., Any], form: Any, given: Any) -> None:
    names = ["Gérard/Ünï.png", "Gérard/ñ.png", "plain.png"]
    files = {unicodedata.normalize(form, name): image(i) for i, name in enumerate(names)}
    labels = {unicodedata.normalize(given, name): i for i, name in enumerate(names)}
    data = make(files | {"dataset.json": table(labels)}, labels=3)
    shown = [int(data.image(i)[0, 0, 0]) for i in range(3)]
    assert sorted(shown) == [0, 1, 2]
    assert np.array_equal([data.label(i) for i in range(3)], np.eye(3)[shown])


def test_accents_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for form in ("NFC", "NFD"):
        files = {unicodedata.normalize(form, name): image(i) for i, name in enumerate(("zé.png", "zf.png", "ze.png"))}
        for kind, (cls, write) in MAKERS.items():
            prints.add(cls((8, 8), 3, 0, path=write(tmp_path / f"{form}{kind}", files)).fingerprint())
    assert len(prints) == 1


def test_both_compositions_are_two_files(tmp_path: Path) -> None:
    both = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    files = {both[0]: image(1), both[1]: image(2), "dataset.json": table({both[0]: 0, both[1]: 1})}
    data = Zip((8, 8), 3, 2, path=pack(tmp_path / "a.zip", files))
    assert {int(data.image(i)[0, 0, 0]): int(data.label(i).argmax()) for i in range(2)} == {1: 0, 2: 1}


def test_zips_of_macos(tmp_path: Path) -> None:
    """Its archiver writes UTF-8 and does not set the flag for it."""
    name, ascii_name = unicodedata.normalize("NFD", "café.png"), "cafe__.png"
    path = pack(tmp_path / "a.zip", {ascii_name: image(5), "dataset.json": table({"café.png": 1})})
    path.write_bytes(path.read_bytes().replace(ascii_name.encode(), name.encode()))
    with zipfile.ZipFile(path) as archive:
        assert name not in archive.namelist()  # Python reads another name
    data = Zip((8, 8), 3, 2, path=path)
    assert data.names == [name] and data.image(0)[0, 0, 0] == 5 and data.label(0).tolist() == [0, 1]


def test_names_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning):
        for value in (1, 2, 3):
            archive.writestr("a.png", image(value))
    data = Zip((8, 8), 3, 0, path=tmp_path / "a.zip")
    assert len(data) == 1 and data.image(0)[0, 0, 0] == 3  # as unzip leaves it
    assert list(data.left_out.values()) == [2]
    clash = {"x\\a.png": image(1), "x/a.png": image(2)}
    with pytest.raises(DataError, match=r"x/a\.png twice"):
        Zip((8, 8), 3, 0, path=pack(tmp_path / "b.zip", clash))
    with pytest.raises(DataError, match=r"x/a\.png twice"):
        Tar((8, 8), 3, 0, path=tarred(tmp_path / "b.tar", clash))


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_as_others_write_them(make: Callable[..., Any]) -> None:
    files = {f"{i}.png": image(i) for i in range(4)}
    labels = {"./0.png": 0.0, ".//1.png": 2.0, ".\\2.png": 1, "/3.png": 0}
    data = make(files | {"dataset.json": table(labels)}, labels=3)
    assert np.array_equal([data.label(i) for i in range(4)], np.eye(3)[[0, 2, 1, 0]])
    assert data.given_labels() == [0, 2, 1, 0] and {type(label) for label in data.given_labels()} == {int}


@pytest.mark.parametrize("label", [0.5, -1.0, 3.0, 1e300, "NaN", "-Infinity"])
def test_numbers_that_are_no_class(make: Callable[..., Any], label: Any) -> None:
    text = table({"a.png": 7}).replace(b"7", str(label).encode())
    with pytest.raises(DataError, match=r"a\.png has the (class|label)"):
        make({"a.png": image(1), "dataset.json": text}, labels=3)


def test_labels_beside_images_of_a_tar(tmp_path: Path) -> None:
    files = {"a.png": image(0), "a.cls": b"1.0\n", "b.left.png": image(1), "b.right.png": image(2), "b.cls": b"0.0"}
    files |= {"b.right.json": b'{"label": 2.0}', "x\\c.png": image(3), "x\\c.cls": b"2"}
    data = Tar((8, 8), 3, 3, path=tarred(tmp_path / "a.tar", files))
    assert data.names == ["a.png", "b.left.png", "b.right.png", "x/c.png"]
    assert [int(data.label(i).argmax()) for i in range(4)] == [1, 0, 2, 2]


# --- samples of several images ---------------------------------------------------------------------------------------


def test_a_sample_is_one_image(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for i in range(3):
        files |= {f"{i}.seg.png": image(200), f"{i}.png": image(100), f"{i}.jpg": image(i), f"{i}.depth.npy": b"x"}
        files |= {f"{i}.cls": b"%d" % i, f"{i}.txt": b"caption"}
    files |= {"x/only.mask.png": image(4), "x/tif.tif": image(5), "x/tif.npy": b"x"}
    data = Tar((8, 8), 3, 0, path=tarred(tmp_path / "a.tar", files))
    assert data.names == ["0.jpg", "1.jpg", "2.jpg", "x/only.mask.png", "x/tif.tif"]
    assert [data.image(i)[0, 0, 0] for i in range(5)] == [0, 1, 2, 4, 5]
    assert data.left_out == {"further images of a sample, as 0.depth.npy beside 0.jpg": 10, ".txt (no image)": 3}
    assert data.check() == []
    folder = Folder((8, 8), 3, 0, path=fill(tmp_path / "a", {n: d for n, d in files.items() if "npy" not in n}))
    assert len(folder) == 11  # a folder knows no samples


def test_a_sample_without_a_bare_name_is_said_once(tmp_path: Path) -> None:
    files = {f"{i}.{side}.png": image(10 * i + k) for i in range(3) for k, side in enumerate(("left", "right"))}
    data = Tar((8, 8), 3, 0, path=tarred(tmp_path / "a.tar", files))
    assert len(data) == 6 and data.left_out == {}
    (finding,) = data.check()
    assert finding.file == "0" and "2 images" in finding.problem and "2 other keys" in finding.problem


def test_images_without_a_suffix_in_archives(make: Callable[..., Any]) -> None:
    data = make({"a": image(1), "b.jfif": image(2), "c.scan": image(3), "readme": b"text", "d/e": image(4)})
    assert [data.image(i)[0, 0, 0] for i in range(len(data))] == [1, 2, 3, 4]
    assert data.left_out == {"without a suffix (no image)": 1}


def test_links_in_a_tar_are_no_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        (info := tarfile.TarInfo("a.png")).size = len(image(1))
        archive.addfile(info, io.BytesIO(image(1)))
        (info := tarfile.TarInfo("link")).type, info.linkname = tarfile.SYMTYPE, "a.png"
        archive.addfile(info)
    assert Tar((8, 8), 3, 0, path=tmp_path / "a.tar").names == ["a.png"]


# --- what commands say -----------------------------------------------------------------------------------------------

CHEAP = ["--features", "conv-random", "--steps", "1"]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0)
    files = {f"{i}.jfif": encode(noise.integers(0, 256, (16, 16, 3), np.uint8), "JPEG") for i in range(8)}
    return fill(tmp_path / "photos", files | {"a.heic": HEIC, "b.heic": HEIC, "notes.txt": b"x", ".c.png": b"x"})


def test_files_left_out_are_counted_everywhere(gz: Callable[..., Any], photos: Path, tmp_path: Path) -> None:
    counts = [2, 1, 1]
    for command in ("info", "doctor"):
        result = gz("data", command, photos, "--size", "16x16", "--json")
        found = json.loads(result.out)
        assert (result.code, found["images"]) == (0, 8) and sorted(found["left_out"].values(), reverse=True) == counts
        said = gz("data", command, photos, "--size", "16x16")
        text = [line for line in (said.out + said.err).splitlines() if "left out" in line]
        assert len(text) == 1 and "2 .heic" in text[0] and "1 .txt" in text[0] and "1 hidden" in text[0]
    packed = gz("data", "pack", photos, tmp_path / "p.zip", "--resolution", "16x16")
    assert packed.code == 0 and "2 .heic" in packed.err
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("dataset: {use: shapes, count: 64}\n", "").replace("  - {use", "  #")
    )
    run = gz("train", tmp_path / "tiny.yaml", "--data", photos, "--outdir", tmp_path / "runs", "--set", "metrics=[]")
    lines = [line for line in run.err.splitlines() if "left out" in line]
    assert run.code == 0 and len(lines) == 1 and "2 .heic" in lines[0] and "pillow-heif" in lines[0], run.err


def test_commands_agree_on_a_file(gz: Callable[..., Any], tmp_path: Path) -> None:
    """The same reason in `gz data`, `gz project` and `gz stylize`; a good one serves them all."""
    model = untrained(tmp_path, "stylegan2-tiny")
    bad = {"cut.png": encode(SQUARE)[:400], "page.jpg": b"<html></html>", "p.heic": HEIC, "huge.bin": b"8BPS\0\1"}
    fill(tmp_path, bad | {"good": encode(np.zeros((16, 16), np.uint16)), "style.png": image(9, 16)})
    for name in (*bad, "good"):
        path = tmp_path / name
        results = [
            gz("data", "info", path, "--size", "16x16"),
            gz("project", model, path, *QUICK, "--outdir", tmp_path / f"out-{name}"),
            gz("stylize", path, tmp_path / "style.png", *CHEAP, "--out", tmp_path / "styled.png"),
        ]
        if name == "good":
            assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
            continue
        reasons = {result.err.splitlines()[-1] for result in results[1:]}
        assert len(reasons) == 1 and str(path) in next(iter(reasons)), reasons
        assert [result.code for result in results[1:]] == [1, 1]


# --- projection of any target ----------------------------------------------------------------------------------------

SQUARE = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
GRAY, ALPHA = SQUARE[..., 0], np.where(SQUARE[..., 1] > 99, 255, 0).astype(np.uint8)
WIDE = np.random.default_rng(4).integers(0, 256, (16, 32, 3), np.uint8)
LUMA = (SQUARE @ [0.299, 0.587, 0.114] + 0.5).astype(np.uint8)
BARS = np.full((16, 16, 3), (255, 0, 0), np.uint8)
BARS[4:12] = 77
TARGETS: dict[str, tuple[list[str], np.ndarray, list[str], np.ndarray]] = {
    "gray for RGB": ([], GRAY, [], np.dstack([GRAY] * 3)),
    "RGBA for RGB": ([], np.dstack([SQUARE, ALPHA]), [], np.where(ALPHA[..., None] > 0, SQUARE, 255)),
    "on a colour": (
        [],
        np.dstack([SQUARE, ALPHA]),
        ["--dataset", "background=#ff0000"],
        np.where(ALPHA[..., None] > 0, SQUARE, [255, 0, 0]),
    ),
    "wide for square": ([], WIDE, [], WIDE[:, 8:24]),
    "with bars": ([], WIDE * 0 + 77, ["--dataset", "fit=fit", "--dataset", "background=#ff0000"], BARS),
    "square for wide": (["image.size=[8,16]"], SQUARE, [], SQUARE[4:12]),
    "RGB for gray": (["image.channels=1"], SQUARE, [], LUMA),
    "RGB for RGBA": (["image.channels=4"], SQUARE, [], np.dstack([SQUARE, np.full((16, 16), 255, np.uint8)])),
    "gray for RGBA": (["image.channels=4"], GRAY, [], np.dstack([GRAY] * 3 + [np.full((16, 16), 255, np.uint8)])),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_of_other_channels_and_proportions(case: str, gz: Callable[..., Any], tmp_path: Path) -> None:
    settings, target, flags, right = TARGETS[case]
    model = untrained(tmp_path, "stylegan2-tiny", *settings)
    Image.fromarray(target).save(tmp_path / "t.png")
    result = gz("project", model, tmp_path / "t.png", *QUICK, *flags, "--outdir", tmp_path / "out")
    assert result.code == 0, result.err
    written = np.asarray(Image.open(tmp_path / "out" / "t" / "target.png")).astype(int)
    assert written.shape == right.shape and np.abs(written - right).max() <= (1 if case == "RGB for gray" else 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#ff0000", "#ff0000"),
        ("my #1", "my #1"),
        ("a#b", "a#b"),
        ("'#1'", "#1"),
        ("[1, 2] # x", [1, 2]),
        ("1e3", 1000.0),
    ],
)
def test_a_value_on_the_command_line_holds_no_comment(text: str, value: object) -> None:
    assert parse_value(text, "--set") == value
