"""`gz data pack`: the packed file gives the same images and labels as its source."""

import io
import json
import os
import re
import signal
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.errors import DataError, UsageError
from ganzoo.io.files import ensure_folder
from ganzoo.training.labels import labels_at
from ganzoo.training.loader import Loader
from ganzoo_cli import main
from ganzoo_data import pack
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.images import ImageSet
from ganzoo_data.shapes import Shapes
from ganzoo_data.tar import Tar

OPENERS = {".zip": Zip, ".tar": Tar}
RNG = np.random.default_rng(5)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Odd sizes, all modes, an EXIF orientation, names whose order changes with their suffixes."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(noise(40, 30, 4)).save(folder / "a.b.png")
    Image.fromarray(noise(33, 47, 3)).save(folder / "a.png")
    Image.fromarray(noise(24, 24, 3)).save(folder / "a.webp")
    Image.fromarray(noise(50, 20)).save(folder / "sub" / "g.png")
    Image.fromarray(noise(31, 32)).convert("P").save(folder / "sub" / "p.gif")
    Image.fromarray(noise(29, 31).astype(np.uint16) * 200).save(folder / "sub" / "x.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(60, 36, 3)).save(folder / "turned.jpg", exif=exif)
    return folder


def same(packed: ImageSet, source: ImageSet) -> None:
    assert len(packed) == len(source)
    for i in range(len(source)):
        assert np.array_equal(packed.image(i), source.image(i))
        assert np.array_equal(packed.label(i), source.label(i))


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
@pytest.mark.parametrize(
    "options",
    [{}, {"filter": "box"}, {"fit": "fit", "background": "#20408000"}, {"fit": "fit", "filter": "box"}],
)
def test_the_same_pixels(photos: Path, suffix: str, channels: int, size: Any, options: dict[str, Any]):
    """For any options of the source; the packed file is read without options, and needs no fitting."""
    source = Folder(size, channels, 0, path=photos, **options)
    out = photos.parent / f"packed{suffix}"
    pack.write(source, out)
    same(OPENERS[suffix](size, channels, 0, path=out), source)
    same(OPENERS[suffix](size, channels, 0, path=out, fit="error"), source)
    packed = OPENERS[suffix](size, channels, 0, path=out)
    with Loader(source, seed=1, mirror=True, workers=0) as a, Loader(packed, seed=1, mirror=True) as b:
        assert torch.equal(a.batch(3, 20)[0], b.batch(3, 20)[0])


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("channels", [2, 5])
def test_channels_that_make_no_picture(tmp_path: Path, suffix: str, channels: int):
    for i in range(3):
        (tmp_path / "many").mkdir(exist_ok=True)
        np.save(tmp_path / "many" / f"{i}.npy", RNG.integers(0, 256, (20, 24, channels), np.uint8))
    source = Folder((5, 6), channels, 0, path=tmp_path / "many")  # [6, 5, 5] would also be read as channels first
    pack.write(source, tmp_path / f"p{suffix}")
    same(OPENERS[suffix]((5, 6), channels, 0, path=tmp_path / f"p{suffix}"), source)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_labels_are_kept(photos: Path, suffix: str):
    names = Folder((8, 8), 3, 0, path=photos).names
    for given, k in (([i % 3 for i in range(len(names))], 3), ([[i / 3, -0.1] for i in range(len(names))], 2)):
        table = {"labels": [[name, label] for name, label in zip(names, given)][::-1]}
        (photos / "dataset.json").write_text(json.dumps(table))
        out = photos.parent / f"l{suffix}"
        for labels in (0, k):  # as the files give them, and as the recipe wants them
            source = Folder((8, 8), 3, labels, path=photos)
            pack.write(source, out, pack.labels_of(source))
            same(OPENERS[suffix]((8, 8), 3, k, path=out), Folder((8, 8), 3, k, path=photos))
        pack.write(source, out)
        assert OPENERS[suffix]((8, 8), 3, 0, path=out).given_labels() is None
    drawn = Shapes((8, 8), 3, 4, count=9)
    pack.write(drawn, out, pack.labels_of(drawn))
    assert torch.equal(labels_at(OPENERS[suffix]((8, 8), 3, 4, path=out), range(9)), labels_at(drawn, range(9)))


def test_the_formats_are_those_of_others(photos: Path, tmp_path: Path):
    """A zip is StyleGAN's: stored, dataset.json, numbered names. A tar is WebDataset's: no member without an image."""
    source = Shapes((8, 8), 3, 4, count=1001)
    for suffix in (".zip", ".tar"):
        pack.write(source, tmp_path / f"s{suffix}", pack.labels_of(source))
    with zipfile.ZipFile(tmp_path / "s.zip") as z:
        assert {info.compress_type for info in z.infolist()} == {zipfile.ZIP_STORED}
        assert z.namelist()[0] == "00000/img00000000.png"
        assert z.namelist()[1000:] == ["00001/img00001000.png", "dataset.json", "ganzoo.json"]
        labels = json.loads(z.read("dataset.json"))["labels"]
        assert labels == [[n, source.shape(i)] for i, n in enumerate(z.namelist()[:1001])]
        about = json.loads(z.read("ganzoo.json"))
        with z.open("00000/img00000003.png") as file:
            assert np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), source.image(3))
    with tarfile.open(tmp_path / "s.tar") as t:
        names = t.getnames()
        assert names[-2:] == ["00001/img00001000.png", "00001/img00001000.cls"]
        assert len(names) == 2002
        member = t.extractfile(names[-1])
        assert member is not None
        assert int(member.read()) == source.shape(1000)
        assert json.loads(t.pax_headers["comment"]) == about
    assert about["fingerprint"] == source.fingerprint()
    assert (about["source"], about["images"], about["size"], about["channels"]) == ("shapes", 1001, [8, 8], 3)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_how_it_was_packed_is_known_afterwards(photos: Path, tmp_path: Path, suffix: str):
    """Records of metrics contain the filter of packing, also for an unzipped file."""
    source = Folder((8, 12), 3, 0, path=photos, filter="box", fit="fit", background="black")
    pack.write(source, out := tmp_path / f"p{suffix}")
    wanted = {"fit": "fit", "filter": "box", "background": "black", "size": [8, 12]}
    data = OPENERS[suffix]((8, 8), 3, 0, path=out)
    assert data.fitted["packed"] == wanted
    pack.write(data, again := tmp_path / f"again{suffix}")
    assert OPENERS[suffix]((8, 8), 3, 0, path=again).fitted["packed"]["packed"] == wanted
    if suffix == ".zip":
        with zipfile.ZipFile(out) as z:
            z.extractall(tmp_path / "x")
        assert Folder((8, 8), 3, 0, path=tmp_path / "x").fitted == data.fitted
        (tmp_path / "x" / "ganzoo.json").write_text("[[[")
        assert "packed" not in Folder((8, 8), 3, 0, path=tmp_path / "x").fitted


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (256, 5)])
def test_pngs_are_pngs(channels: int, size: tuple[int, int]):
    """Pillow reads them with all its checks; each is hardly larger than its pixels."""
    pixels = noise(*size, channels)
    data = pack.png(pixels)
    with Image.open(io.BytesIO(data)) as checked:
        checked.verify()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert picture.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(picture).reshape(pixels.shape), pixels)
    assert len(data) < pixels.size * 1.001 + size[0] + 100
    large = pack.png(noise(300, 300, 3))  # deflate's stored blocks hold 65,535 bytes each
    assert np.asarray(Image.open(io.BytesIO(large))).shape == (300, 300, 3)


def test_the_same_images_make_the_same_bytes(photos: Path, tmp_path: Path):
    for suffix in (".zip", ".tar"):
        for name in ("a", "b"):
            pack.write(Folder((8, 8), 3, 0, path=photos), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def gz(capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["data", *map(str, args)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def test_pack_on_the_command_line(gz: Any, photos: Path, tmp_path: Path):
    out = tmp_path / "new" / "small"
    flags = ["--resolution", "16x12", "--transform", "fit", "--resize-filter", "box", "--background", "red"]
    code, said, notes = gz("pack", photos, out, "--format", "tar", *flags)
    assert (code, said) == (0, f"{out}.tar\n")
    assert "7 images of 16x12, without labels" in notes
    wanted = Folder((12, 16), 3, 0, path=photos, fit="fit", filter="box", background="red")
    same(Tar((12, 16), 3, 0, path=Path(f"{out}.tar")), wanted)
    (tmp_path / "r.yaml").write_text(
        "extends: stylegan2-tiny\nimage: {size: 16}\ndataset: {use: folder, path: x, filter: box}\n"
    )
    code, said, _ = gz("pack", photos, f"{out}.zip", "--recipe", tmp_path / "r.yaml", "--json")
    facts = json.loads(said)
    assert code == 0
    assert (facts["images"], facts["size"], facts["fitted"]["filter"], facts["labels"]) == (7, [16, 16], "box", False)
    same(Zip((16, 16), 3, 0, path=Path(f"{out}.zip")), Folder((16, 16), 3, 0, path=photos, filter="box"))
    code, said, _ = gz("info", f"{out}.zip", "--size", "16x16")
    assert code == 0
    assert "filter lanczos, background white; packed with fit crop, filter box" in said
    assert gz("doctor", f"{out}.tar", "--size", "16x12")[0] == 0


def test_pack_never_overwrites_unless_told(gz: Any, photos: Path, tmp_path: Path):
    out = tmp_path / "p.zip"
    out.write_bytes(b"precious")
    code, _, err = gz("pack", photos, out, "--resolution", "8x8")
    assert code == 2
    assert f"{out} exists already: choose another name, or say --overwrite" in err
    assert out.read_bytes() == b"precious"
    assert gz("pack", photos, out, "--resolution", "8x8", "--overwrite")[0] == 0
    assert len(Zip((8, 8), 3, 0, path=out)) == 7
    code, _, err = gz("pack", out, out, "--resolution", "4x4", "--overwrite")
    assert code == 2
    assert "is what is to be packed" in err


BAD: dict[str, tuple[list[str], int, str]] = {
    "no size": (["photos", "p.zip"], 2, "--resolution WIDTHxHEIGHT, or --recipe"),
    "odd size": (["photos", "p.zip", "--resolution", "64"], 2, "64"),
    "suffix": (["photos", "p.rar", "--resolution", "8x8"], 2, "end the name in .zip or .tar"),
    "no suffix": (["photos", "p", "--resolution", "8x8"], 2, "end the name in .zip or .tar"),
    "other format": (["photos", "p.zip", "--resolution", "8x8", "--format", "tar"], 2, "end the name in .zip or .tar"),
    "folder": (["photos", "folder.zip", "--resolution", "8x8"], 2, "folder.zip is a folder"),
    "source": (["none", "p.zip", "--resolution", "8x8"], 2, "none"),
    "path": (["./none", "p.zip", "--resolution", "8x8"], 1, "does not exist"),
    "transform": (["photos", "p.zip", "--resolution", "8x8", "--transform", "stretch"], 2, "stretch"),
    "option of another": (["shapes", "p.zip", "--resolution", "8x8", "--transform", "fit"], 2, "no option 'fit'"),
    "too small": (["photos", "p.zip", "--resolution", "64x64"], 1, "--resolution wants 64x64"),
    "labels": (["photos", "p.zip", "--resolution", "8x8", "--labels", "3"], 1, "3 labels"),
    "odd size by name": (["photos", "p.zip", "--resolution", "64"], 2, "--resolution 64: write it as width x height"),
    "too small, the cure": (
        ["photos", "p.zip", "--resolution", "64x64"],
        1,
        "say a smaller --resolution or say --upsc",
    ),
    "not exact": (
        ["photos", "p.zip", "--resolution", "8x8", "--transform", "error"],
        1,
        "say --transform center-crop or",
    ),
    "labels, the cure": (["photos", "p.zip", "--resolution", "8x8", "--labels", "3"], 1, "or say --labels 0"),
    "labels of another": (["shapes", "p.zip", "--resolution", "8x8", "--labels", "3"], 1, "say --labels 4 or 0"),
    "folders of another": (
        ["shapes", "p.zip", "--resolution", "8x8", "--labels", "folders"],
        2,
        "--labels folders: the",
    ),
    "odd labels": (["photos", "p.zip", "--resolution", "8x8", "--labels", "3.5"], 2, "--labels 3.5: give the number"),
    "channels": (["photos", "p.zip", "--resolution", "8x8", "--channels", "5"], 1, "say other --channels"),
    "flag of another": (
        ["shapes", "p.zip", "--resolution", "8x8", "--transform", "fit"],
        2,
        "--transform: the dataset",
    ),
    "colour": (["photos", "p.zip", "--resolution", "8x8", "--background", "blurple"], 1, "blurple"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(gz: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, case: str):
    monkeypatch.chdir(photos.parent)
    Path("folder.zip").mkdir()
    args, code, part = BAD[case]
    exit_code, out, err = gz("pack", *args)
    assert exit_code == code, err
    assert part in err
    assert err.count("error: ") == 1
    assert not re.search(r"\b(dataset|image)\.[a-z]+\b|labels=|upscale=", err.replace("dataset.json", "")), err
    assert out == ""
    assert {p.name for p in Path().iterdir()} == {"photos", "folder.zip"}


def test_a_bad_image_or_label_leaves_nothing(gz: Any, photos: Path, tmp_path: Path):
    (photos / "z.png").write_bytes(b"text")
    code, _, err = gz("pack", photos, tmp_path / "p.tar", "--resolution", "8x8")
    assert code == 1
    assert f"{photos}/z.png is no PNG" in err
    (photos / "z.png").unlink()
    (photos / "dataset.json").write_text('{"labels": [["a.png", 0]]}')
    code, _, err = gz("pack", photos, tmp_path / "p.tar", "--resolution", "8x8")
    assert code == 1
    assert "lacks the label of a.b.png and of 5 others" in err
    assert not list(tmp_path.glob("*p.tar*"))
    assert gz("pack", photos, tmp_path / "p.tar", "--resolution", "8x8", "--labels", "0")[0] == 0
    names = json.loads((photos / "dataset.json").read_text())["labels"] + [
        [n, "cat"] for n in Folder((8, 8), 3, 0, path=photos).names if n != "a.png"
    ]
    (photos / "dataset.json").write_text(json.dumps({"labels": names}))
    with pytest.raises(DataError, match=r"a\.b\.png has the label '\"cat\"': write a class number or a vector"):
        pack.labels_of(Folder((8, 8), 3, 0, path=photos))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_nothing(gz: Any, photos: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    """A signal while images are written leaves no new file, and keeps an earlier one."""
    out = photos.parent / "p.zip"
    out.write_bytes(b"earlier")
    written: list[str] = []

    class Stopped(zipfile.ZipFile):
        def writestr(self, info: Any, data: Any, *args: Any) -> None:
            super().writestr(info, data, *args)
            written.append(info.filename)
            if len(written) == 3:
                os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(zipfile, "ZipFile", Stopped)
    code, said, err = gz("pack", photos, out, "--resolution", "8x8", "--overwrite")
    assert (code, said) == (130, "")
    assert "interrupted: nothing was written" in err
    assert len(written) == 3
    assert out.read_bytes() == b"earlier"
    assert {p.name for p in photos.parent.iterdir()} == {"photos", "p.zip"}
    assert signal.getsignal(signal.SIGTERM) is before


def test_names_of_destinations(tmp_path: Path):
    assert pack.destination(tmp_path / "a.ZIP", None, "x", False) == tmp_path / "a.ZIP"
    assert pack.destination(tmp_path / "v1.5", "tar", "x", False) == tmp_path / "v1.5.tar"
    long = tmp_path / ("a" * 240) / f"{'b' * 240}.zip"
    pack.write(Shapes((8, 8), 3, 0, count=2), pack.destination(long, None, "x", False))
    assert len(Zip((8, 8), 3, 0, path=long)) == 2 and [path.name for path in long.parent.iterdir()] == [long.name]
    with pytest.raises(UsageError, match=r"File name too long\): choose a shorter name"):
        ensure_folder(tmp_path / ("c" * 300), "--outdir")
    with pytest.raises(UsageError, match="cannot write into"):
        (tmp_path / "file").write_text("")
        pack.destination(tmp_path / "file" / "a.zip", None, "x", False)
