"""Tar shards give the same dataset as a folder of the same files, and missing or damaged data are refused."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganzoo.errors import DataError
from ganzoo.training.loader import Loader
from ganzoo_data import tar as tar_module
from ganzoo_data.decode import Target, decode
from ganzoo_data.folder import Folder
from ganzoo_data.tar import Tar, expand, index

Files = dict[str, bytes]


def picture(value: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 256, (size, size + 2, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def numbered(n: int) -> Files:
    return {f"{i:04d}.png": picture(i) for i in range(n)}


def packed(files: Files | list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as t:
        for name, data in files.items() if isinstance(files, dict) else files:
            (info := tarfile.TarInfo(name)).size = len(data)
            t.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def shards(folder: Path, files: Files, count: int) -> Path:
    """Distribute files over shards; files of a key stay together, as WebDataset requires."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = sorted({name.partition(".")[0] for name in files})
    for k in range(count):
        mine = {n: d for n, d in files.items() if keys.index(n.partition(".")[0]) % count == k}
        (folder / f"train-{k:03d}.tar").write_bytes(packed(mine))
    return folder


def opened(path: Path, labels: int = 0, **kwargs: Any) -> Tar:
    return Tar((8, 8), 3, labels, path=path, **kwargs)


# --- the same as a folder --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_how_images_are_cut_into_shards_does_not_matter(tmp_path: Path, form: int):
    files = {f"a/{'long' * 20}/{i:03d}.png": picture(i) for i in range(3)} | {"ä b.png": picture(3)}
    one, folder = tmp_path / "one.tar", tmp_path / "some"
    one.write_bytes(packed([(f"./{n}", d) for n, d in reversed(files.items())], form))
    shards(folder, files, 3)
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    same = Folder((8, 8), 3, 0, path=tmp_path / "folder", filter="box")
    for path in (one, folder, folder / "train-{000..002}.tar"):
        data = opened(path, filter="box")
        assert data.names == same.names
        assert data.fingerprint() == same.fingerprint()
        assert all(np.array_equal(data.image(i), same.image(i)) for i in range(4))
        assert data.check() == []
        with Loader(data, seed=3, mirror=True) as a, Loader(same, seed=3, mirror=True, workers=0, cache_bytes=0) as b:
            assert torch.equal(a.batch(5, 9)[0], b.batch(5, 9)[0])


def handles() -> int:
    """Number of open files of this process; 0 if the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_many_threads_and_more_shards_than_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar_module, "OPEN", 3)
    files = numbered(40)
    data = opened(shards(tmp_path / "s", files, 20))
    alone = [decode(files[name], Target((8, 8), 3), is_npy=False).pixels for name in data.names]
    before = handles()
    with ThreadPoolExecutor(8) as pool:
        drawn = [i % 40 for i in range(800)]
        assert np.array_equal(list(pool.map(data.image, drawn)), [alone[i] for i in drawn])
    assert handles() <= before + 3
    del data
    assert handles() <= before


def test_titles(tmp_path: Path):
    shards(tmp_path / "cats", numbered(2), 2)
    for path in ("cats/train-{000..001}.tar", "cats/train-000.tar", "cats"):
        wanted = {"cats": "cats", "cats/train-000.tar": "train-000"}.get(path, "train")
        assert opened(tmp_path / path).title == wanted
    (tmp_path / "cats" / "7.tar").write_bytes(packed(numbered(1)))
    assert opened(tmp_path / "cats" / "{7..7}.tar").title == "cats"


@given(st.integers(0, 30), st.integers(0, 5), st.integers(1, 4))
def test_patterns_count(first: int, more: int, digits: int):
    a, b = f"{first:0{digits}}", f"{first + more:0{digits}}"
    names = list(expand(f"x-{{{a}..{b}}}.tar"))
    assert names == [f"x-{str(i).zfill(digits)}.tar" for i in range(first, first + more + 1)]
    assert list(expand(f"{{0..1}}/{{{a}..{b}}}")) == [f"{k}/{n[2:-4]}" for k in (0, 1) for n in names]


def test_an_empty_shard_is_odd(tmp_path: Path):
    shards(tmp_path, numbered(3), 2)
    (tmp_path / "train-002.tar").write_bytes(packed({"notes.txt": b"hello"}))
    assert [(f.file, f.fatal) for f in opened(tmp_path).check()] == [("train-002.tar", False)]


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_beside_images(tmp_path: Path):
    files = numbered(4) | {"0000.cls": b"2", "0001.cls": b" 0\n", "0002.json": b'{"label": 1, "url": "x"}'}
    files |= {"0003.json": b"2", "0000.json": b'{"caption": "no label"}', "0003.txt": b"a cat"}
    data = opened(shards(tmp_path / "a", files, 3), labels=3)
    assert np.array_equal([data.label(i) for i in range(4)], np.eye(3)[[2, 0, 1, 2]])
    assert data.given_labels() == [2, 0, 1, 2]
    vectors = numbered(2) | {"0000.json": b"[0.5, 1]", "0001.json": b'{"label": [0, -3]}'}
    data = opened(shards(tmp_path / "b", vectors, 2), labels=2)
    assert np.array_equal([data.label(i) for i in range(2)], [[0.5, 1], [0, -3]])
    table = json.dumps({"labels": [["0000.png", 1], ["0001.png", 1]]}).encode()
    data = opened(shards(tmp_path / "c", vectors | {"dataset.json": table}, 2), labels=2)
    assert np.array_equal([data.label(i) for i in range(2)], [[0, 1], [0, 1]])  # dataset.json is asked first
    assert opened(shards(tmp_path / "d", numbered(2), 1)).given_labels() is None


# --- bad input -------------------------------------------------------------------------------------------------------

WHOLE = packed(numbered(3))


def at(path: str, data: bytes) -> Callable[[Path], Any]:
    def run(tmp: Path) -> Any:
        (tmp / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp / path).write_bytes(data)
        return opened(tmp / path).image(0)

    return run


def several(*contents: Files, labels: int = 0, look: Callable[[Tar], object] = len) -> Callable[[Path], Any]:
    def run(tmp: Path) -> Any:
        for k, files in enumerate(contents):
            (tmp / f"s-{k}.tar").write_bytes(packed(files))
        return look(opened(tmp, labels))

    return run


def of(path: str) -> Callable[[Path], Any]:
    return lambda tmp: opened(tmp / path)


def flipped(position: int, data: bytes = WHOLE) -> bytes:
    raw = bytearray(data)
    raw[position] ^= 255
    return bytes(raw)


def linked(tmp: Path) -> Any:
    with tarfile.open(tmp / "l.tar", "w") as t:
        (info := tarfile.TarInfo("a.png")).type, info.linkname = tarfile.SYMTYPE, "b.png"
        t.addfile(info)
    return opened(tmp / "l.tar").image(0)


def shortened(tmp: Path) -> Any:
    (tmp / "x.tar").write_bytes(WHOLE)
    data = opened(tmp / "x.tar")
    os.truncate(tmp / "x.tar", 700)
    return data.image(0)


def made_folder(tmp: Path) -> Any:
    (tmp / "x.tar").mkdir()
    return opened(tmp / "x.tar")


def negative(tmp: Path) -> Any:
    """Write a size of -512 in base 256, on which a trusting reader loops forever."""
    (info := tarfile.TarInfo("a.png")).size = 0
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (256**12 - 512).to_bytes(12, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return at("x.tar", bytes(raw) + bytes(1024))(tmp)


ONE, TWO = picture(1), picture(2)
BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "missing": (of("none.tar"), "none.tar", "does not exist"),
    "missing shards": (of("s-{0..3}.tar"), "s-0.tar", "nor do 3 others of 4"),
    "no shards": (of("s-{5..3}.tar"), "s-{5..3}.tar", "names 0 shards"),
    "too many": (of("s-{0..999999999999}.tar"), "s-{0..", "names 1,000,000,000,000 shards"),
    "folder": (made_folder, "x.tar", "holds no .tar"),
    "no folder of tars": (of("."), "", "holds no .tar"),
    "zero bytes": (at("x.tar", b""), "x.tar", "no tar file"),
    "nothing inside": (at("x.tar", packed({})), "x.tar", "holds no images"),
    "other files": (at("x.tar", packed({"a.txt": b"", "b.txt": b""})), "x.tar", "(2 other files)"),
    "text": (at("x.tar", b"hello" * 300), "x.tar", "no tar file"),
    "gzip": (at("x.tar.gz", gzip.compress(WHOLE)), "x.tar.gz", "with gzip -d"),
    "gzip by another name": (at("x.tar", gzip.compress(WHOLE)), "x.tar", "compressed"),
    "bzip2": (at("x.tar", bz2.compress(WHOLE)), "x.tar", "with bzip2 -d"),
    "xz": (at("x.tar", lzma.compress(WHOLE)), "x.tar", "with xz -d"),
    "zstd": (at("x.tar.zst", b"\x28\xb5\x2f\xfd12345678"), "x.tar.zst", "with zstd -d"),
    "compressed among others": (
        lambda tmp: (at("b.tar", WHOLE)(tmp), at("a.tgz", gzip.compress(WHOLE))(tmp), opened(tmp)),
        "a.tgz",
        "compressed",
    ),
    "cut in a header": (at("x.tar", WHOLE[:300]), "x.tar", "no tar file or is damaged"),
    "damaged header": (at("x.tar", flipped(WHOLE.index(b"0001.png"))), "x.tar", "damaged at byte"),
    "joined": (at("x.tar", WHOLE + packed({"z.png": ONE})), "x.tar", "goes on after its end"),
    "negative size": (negative, "x.tar", "damaged"),
    "twice": (at("x.tar", packed([("a.png", ONE), ("a.png", TWO)])), "x.tar", "holds a.png twice"),
    "in two shards": (several({"a.png": ONE}, {"./a.png": TWO}), "s-0.tar", "and s-1.tar both hold a.png"),
    "two images of a key": (several({"a.jpg": ONE}, {"a.png": TWO}), "", "two images of the key a, a.jpg and a.png"),
    "a mask": (several({"x/a.seg.png": ONE}, {"x/a.png": TWO}), "", "the key x/a, x/a.png and x/a.seg.png"),
    "corrupt member": (several({"a.png": ONE}, {"b.png": TWO[:99]}, look=lambda d: d.image(1)), "s-1.tar/b.png", "can"),
    "link": (linked, "l.tar/a.png", "is a link"),
    "shortened": (shortened, "x.tar/0000.png", "become shorter"),
    "no labels": (several({"a.png": ONE}, labels=2), "key.cls", "the recipe wants 2 labels"),
    "mixed labels": (several({"a.png": ONE, "a.cls": b"0"}, {"b.png": TWO}, labels=2), "key.cls", "label of b.png"),
    "class too high": (several({"a.png": ONE, "a.cls": b"2"}, labels=2), "a.png", "classes 0 to 1"),
    "class name": (several({"a.png": ONE, "a.cls": b"cat"}, labels=2), "s-0.tar/a.cls", "no label"),
    "class bytes": (several({"a.png": ONE, "a.cls": b"\xff\xfe"}, labels=2), "a.cls", "is no label"),
    "json without": (several({"a.png": ONE, "a.json": b'{"id": 3}'}, labels=2), "a.png", "null"),
    "given labels": (several({"a.png": ONE, "a.cls": b'"cat"'}, look=lambda d: d.given_labels()), "a.png", '\\"cat\\"'),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case: str, tmp_path: Path) -> None:
    run, name, part = BAD[case]
    with pytest.raises(DataError) as caught:
        run(tmp_path)
    sentence = str(caught.value)
    assert name in sentence, sentence
    assert part.replace('\\"', '"') in sentence, sentence
    assert sentence.endswith("."), sentence
    assert ". " not in sentence, sentence
    assert "\n" not in sentence, sentence


def test_names_with_dots_are_images_of_their_own(tmp_path: Path):
    (tmp_path / "x.tar").write_bytes(packed({"a.1.png": ONE, "a.2.png": TWO, "b/a.png": ONE}))
    assert opened(tmp_path / "x.tar").names == ["a.1.png", "a.2.png", "b/a.png"]


def test_no_cut_goes_unnoticed(tmp_path: Path):
    """A tar cut off at any byte is refused, unless only zeros after its first closing block are missing."""
    path, whole = tmp_path / "x.tar", packed({"a.png": ONE, "b.png": TWO[:60], "c.png": ONE})
    end = len(whole.rstrip(b"\0"))
    end = -(-end // 512) * 512 + 512
    for size in {*range(0, len(whole), 512), *range(1, len(whole), 777), end - 1, end, end + 1}:
        path.write_bytes(whole[:size])
        if size < end:
            with pytest.raises(DataError):
                opened(path)
        else:
            assert opened(path).names == ["a.png", "b.png", "c.png"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_raise_data_error_only(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    path = tmp_path_factory.getbasetemp() / "fuzz.tar"
    long = packed({"n" * 120 + ".png": ONE[:30], "b.png": b"x"})
    raw = bytearray(
        data.draw(st.sampled_from([WHOLE, long, packed({"a.png": b"", "b.cls": b"1"}, tarfile.GNU_FORMAT)]))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        members, _ = index(path, 0)
        assert all(m.offset + m.size <= len(raw) for m in members.values())
        data = opened(path)
        for i in range(len(data)):
            data.image(i)
    except DataError as err:
        assert "\n" not in str(err)
