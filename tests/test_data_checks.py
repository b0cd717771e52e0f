"""What a check of many files says and costs: each is read once, problems are grouped, gray sets are named."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import TINY
from commands import fails as fails
from commands import gz as gz
from ganzoo.recipe.datasets import image_sizes
from ganzoo.runs import dataset as training_data
from ganzoo_data.decode import size_in_head
from ganzoo_data.folder import Folder
from ganzoo_data.listing import canonical, tidy, visible
from ganzoo_data.tar import Tar
from pictures import encode, fill, npy, tarred

NOISE = np.random.default_rng(1)


def colours(height: int, width: int) -> np.ndarray:
    return NOISE.integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """How often each file is opened, and how many bytes are read of it, by its name."""
    counts: dict[str, Counter[str]] = {"opened": Counter(), "bytes": Counter()}
    names: dict[int, str] = {}
    open_, read_ = os.open, os.read

    def opened(path: Any, *args: Any, **options: Any) -> int:
        handle = open_(path, *args, **options)
        names[handle] = Path(path).name
        counts["opened"][names[handle]] += 1
        return handle

    def count(handle: int, size: int) -> bytes:
        data = read_(handle, size)
        counts["bytes"][names.get(handle, "")] += len(data)
        return data

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "read", count)
    return counts


# --- cost ------------------------------------------------------------------------------------------------------------


def test_a_file_is_opened_twice_at_most(gz: Any, read: Any, tmp_path: Path) -> None:
    """Once for ganzoo's own mark, and once to decode it, whether or not the smallest side has to be found first."""
    path = fill(tmp_path / "set", {f"{i}.png": encode(colours(8 + i, 9)) for i in range(6)})
    for command in ("info", "doctor"):
        for flags in ([], ["--size", "8x8"], ["--labels", "0"]):
            read["opened"].clear()
            assert gz("data", command, path, *flags).code == 0
            assert {name: read["opened"][name] for name in map(os.path.basename, path.iterdir())} == {
                f"{i}.png": 2 for i in range(6)
            }


def test_a_dataset_is_read_once_for_all_sizes(read: Any, tmp_path: Path) -> None:
    """A checked dataset that is adapted to another size has the findings and fingerprint of one opened for it."""
    files = {f"{i}.png": encode(colours(6 + 4 * i, 20)) for i in range(4)}
    files |= {"twin.png": files["2.png"], "bad.png": b"x", "gray.png": encode(colours(16, 20)[..., 0])}
    path = fill(tmp_path / "set", files)
    first = Folder((4, 4), 3, 0, path=path)
    assert [f.file for f in first.check() if f.fatal] == ["bad.png"]
    read["opened"].clear()
    for size in ((4, 4), (8, 16), (16, 8), (2, 20)):
        adapted, other = first.adapted(size=size), Folder(size, 3, 0, path=path)
        before = sum(read["opened"].values())
        findings = adapted.check()
        assert sum(read["opened"].values()) == before
        assert findings == other.check() and adapted.fingerprint() == other.fingerprint()
        usable = next(i for i, name in enumerate(other.names) if name not in {f.file for f in findings if f.fatal})
        assert np.array_equal(adapted.image(usable), other.image(usable)) and adapted.image(usable).shape == (3, *size)
    assert {f.problem for f in first.check() if not f.fatal} >= {
        "is gray among colour images",
        "has exactly the bytes of 2.png",
    }


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": bytes(30_000)}, {"comment": b"c" * 60_000}])
def test_sizes_are_read_from_heads(read: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    big = encode(colours(400, 401), "JPEG", quality=95, **options)
    path = fill(tmp_path / "set", {"a.jpg": big, "b.png": encode(colours(200, 333)), "c.npy": npy(colours(5, 6))})
    data = Folder((4, 4), 3, 0, path=path)
    read["bytes"].clear()
    assert image_sizes(data) == {(400, 401), (200, 333), (5, 6)} and data.smallest_side() == 5
    assert read["bytes"]["a.jpg"] <= 2 * 65_536 < len(big) and read["bytes"]["b.png"] <= 2 * 65_536


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_no_cut_head_tells_a_wrong_size(form: str) -> None:
    data = encode(colours(30, 40), form)
    assert {size_in_head(data[:n], "") for n in range(min(len(data), 700))} <= {None, (30, 40)}
    assert size_in_head(data, "") == (30, 40)


@pytest.mark.parametrize(
    "name", ["a.png", "a/b.png", "./a.png", "a//b.png", "/a.png", "a/./b.png", ".", "a/.", "a/", "a\\b.png", ".\\a", ""]
)
def test_names_are_tidied_as_parts(name: str) -> None:
    """Against the definition, without the short ways that names of most files take."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    assert tidy(name) == "/".join(parts) == canonical(name)
    for odd in (f"{name}/.hidden/x", f"__MACOSX/{name}", f"{name}.x", f"x.{name}", f"a..{name}"):
        parts = [part for part in odd.replace("\\", "/").split("/") if part not in ("", ".")]
        assert visible(odd) is not any(part.startswith(".") or part == "__MACOSX" for part in parts), odd


# --- what is said ----------------------------------------------------------------------------------------------------


def test_problems_are_grouped(gz: Any, fails: Any, tmp_path: Path) -> None:
    """Problems that differ in numbers only are one kind: five files, then the number of the others."""
    files = {f"s{i:03d}.png": encode(np.full((3 + i % 4, 5, 3), (i, 9, 200), np.uint8)) for i in range(60)}
    files |= {"cut.png": encode(colours(16, 16))[:200], "good.png": encode(colours(16, 16))}
    path = fill(tmp_path / "set", files)
    doctor = gz("data", "doctor", path, "--size", "16x16")
    lines = doctor.out.splitlines()
    assert [line.split()[1] for line in lines[:5]] == [f"s00{i}.png:" for i in range(5)]
    assert "and 55 others of this kind: s005.png" in lines[5] and lines[6].startswith("unusable  cut.png: ")
    assert lines[7] == "62 images of set: 61 unusable, 0 odd." and len(lines) == 8
    everything = json.loads(gz("data", "doctor", path, "--size", "16x16", "--json").out)
    assert len(everything["findings"]) == everything["fatal"] == 61
    (tmp_path / "r.yaml").write_text(TINY)
    sentence = fails(
        1, ["61 of 62", "cut.png"], "train", tmp_path / "r.yaml", "--data", path, "--outdir", tmp_path / "r"
    )
    assert "(so are s001.png, s002.png, s003.png, s004.png and 55 more)" in sentence and "s009" not in sentence


GRAY: dict[str, tuple[Callable[[], bytes], bool]] = {
    "gray": (lambda: encode(colours(16, 16)[..., 0]), True),
    "gray JPEG": (lambda: encode(colours(16, 16)[..., 0], "JPEG"), True),
    "gray and alpha": (lambda: encode(Image.fromarray(colours(16, 16)[..., :2], "LA")), True),
    "equal channels": (lambda: encode(np.dstack([colours(16, 16)[..., 0]] * 3)), True),
    "nearly equal": (lambda: encode(nearly_gray()), False),
    "colours": (lambda: encode(colours(16, 16)), False),
}


def nearly_gray() -> np.ndarray:
    pixels = np.dstack([colours(16, 16)[..., 0]] * 3)
    pixels[3, 5, 1] ^= 1
    return pixels


@pytest.mark.parametrize("case", GRAY)
def test_gray_sets_are_named(gz: Any, tmp_path: Path, case: str) -> None:
    """By info, doctor, pack and training, which say how to keep them gray; nothing is said of other sets."""
    draw, gray = GRAY[case]
    path = fill(tmp_path / "set", {f"{i}": draw() for i in range(3)})
    words = "image.channels=1 trains on gray"
    for command in ("info", "doctor"):
        assert (words in gz("data", command, path, "--size", "16x16").out) is gray
        assert words not in gz("data", command, path, "--size", "16x16", "--channels", "1").out
    assert json.loads(gz("data", "info", path, "--size", "16x16", "--json").out)["gray"] == 3 * gray
    packed = gz("data", "pack", path, tmp_path / "p.tar", "--resolution", "16x16")
    assert ("--channels 1 packs gray" in packed.err) is gray and "image.channels" not in packed.err
    dataset = Folder((16, 16), 3, 0, path=path)
    dataset.check()
    assert (words in " ".join(dataset.remarks())) is gray


def test_a_check_without_a_terminal_counts(gz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_data, "LINE_SECONDS", 0)
    path = fill(tmp_path / "set", {f"{i:03d}.png": encode(np.full((8, 8, 3), i, np.uint8)) for i in range(130)})
    said = gz("data", "info", path, "--size", "8x8").err
    assert "Checked 64 of 130 images." in said and "Checked 128 of 130 images." in said


def test_twins_are_those_of_equal_bytes(tmp_path: Path) -> None:
    """Against a dictionary of the bytes, in a tar, whose members are read by position."""
    contents = [encode(np.full((8, 8, 3), i % 5, np.uint8)) for i in range(12)]
    files = {f"{i:02d}.png": content for i, content in enumerate(contents)}
    data = Tar((8, 8), 3, 0, path=tarred(tmp_path / "a.tar", files))
    first: dict[bytes, str] = {}
    right = [(n, first[c]) for n, c in zip(data.names, contents) if first.setdefault(c, n) != n]
    twins = [(f.file, f.problem.rpartition(" ")[2]) for f in data.check()]
    assert twins == right and len(right) == 7
