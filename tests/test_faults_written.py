"""Files that exist are kept, whatever command writes beside them; run directories; users without a home directory."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

import ganzoo
from ganzoo.errors import UsageError
from ganzoo.io import files
from snapshots import family

pytest_plugins = ["commands"]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("snapshots"), {"stylegan2": ["stylegan2-tiny"]})


@pytest.fixture
def ckpt(snapshots, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return snapshots("stylegan2")


def test_unused_names(tmp_path):
    wanted = tmp_path / "a.png"
    assert files.unused(wanted) == wanted
    wanted.touch()
    (tmp_path / "a-1.npz").touch()
    (tmp_path / "a-2.png").symlink_to(tmp_path / "gone")
    assert files.unused(wanted) == tmp_path / "a-1.png"
    assert files.unused(wanted, ".npz") == tmp_path / "a-3.png"
    null = type(wanted)(os.devnull)
    assert files.unused(null) == null


GRID = ("generate", "--seeds", "0-3", "--grid", "2x2")
SEED = ("generate", "--seeds", "3")
MIX = ("mix", "--rows", "1", "--cols", "2")
WALK = ("walk", "--seeds", "0,1", "--frames", "2")
WRITING = {
    "grid": (GRID, ["out/grid.png"]),
    "seed": (SEED, ["out/seed0003.png"]),
    "mix": (MIX, ["out/grid.png", "out/1-2.png"]),
    "walk": (WALK, ["walk.webp"]),
    "morph": (("edit", "morph", "1", "2", "--frames", "2"), ["morph.webp", "morph.npz", "morph.safetensors"]),
    "morph strip": (("edit", "morph", "1", "2", "--frames", "2", "--out", "m.png"), ["m.png", "m.npz"]),
    "directions": (("edit", "directions", "--count", "1", "--steps", "2"), ["directions.png", "directions.npz"]),
    "state dict": (("export", "--format", "state-dict", "--out", "g.safetensors"), ["g.safetensors"]),
    "metrics": (("metrics", "swd", "--data", "shapes", "--num", "8", "--out", "m.json"), ["m.json"]),
}


@pytest.mark.parametrize("case", WRITING)
def test_a_second_command_keeps_what_the_first_wrote(gz, ckpt, tmp_path, case):
    (command, *how), names = WRITING[case]
    inner = [how.pop(0)] if command in ("edit", "metrics") else []
    args = (command, *inner, ckpt, *how)
    first = gz(*args)
    assert first.code == 0, first.err
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {tmp_path / name for name in names} <= before.keys()
    second = gz(*args)
    assert second.code == 0, second.err
    assert {path: path.read_bytes() for path in before} == before
    for name in names:
        stem, _, suffix = name.rpartition(".")
        numbered = f"{stem}-1.{suffix}"
        assert (tmp_path / numbered).is_file()
        if command != "metrics":
            assert numbered in second.out.split() or suffix in ("npz", "safetensors")
    assert "kept" in second.err


def test_generate_and_mix_share_a_folder(gz, ckpt, tmp_path):
    assert gz(*GRID[:1], ckpt, *GRID[1:]).code == 0
    grid = (tmp_path / "out" / "grid.png").read_bytes()
    result = gz(*MIX[:1], ckpt, *MIX[1:])
    assert "out/grid-1.png" in result.out.split()
    assert (tmp_path / "out" / "grid.png").read_bytes() == grid
    assert Image.open(tmp_path / "out" / "grid-1.png").size == (32, 32)  # 2 x 2 images of 16 x 16


def test_a_seed_that_is_named_twice_is_one_file(good, ckpt, tmp_path):
    good("generate", ckpt, "--seeds", "3,3")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["seed0003.png"]


def test_stylize_keeps_an_earlier_picture(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for name, image in zip("ab", pixels):
        Image.fromarray(image).save(f"{name}.png")
    how = ("--features", "conv-random", "--steps", 1, "--size", 16)
    assert good("stylize", "a.png", "b.png", *how).split() == ["stylized.png"]
    before = (tmp_path / "stylized.png").read_bytes()
    assert good("stylize", "b.png", "a.png", *how).split() == ["stylized-1.png"]
    assert (tmp_path / "stylized.png").read_bytes() == before


# --- run directories --------------------------------------------------------------------------------------------------


def test_a_run_stands_for_its_newest_snapshot(gz, good, ckpt, tmp_path):
    older = tmp_path / "runs" / "00000-a"
    newer = tmp_path / "runs" / "00001-b"
    for run in (older, newer):
        run.mkdir(parents=True)
        (run / "snapshot-000002.safetensors").write_bytes(b"older")
        (run / "snapshot-000010.safetensors").write_bytes(ckpt.read_bytes())
    (tmp_path / "runs" / "00002-empty").mkdir()
    wanted = ganzoo.load(ckpt, "cpu")
    pixels = wanted.pixels(wanted.images([5]))[0].transpose(1, 2, 0)
    for i, reference in enumerate((older, newer, "latest")):
        result = gz("generate", reference, "--seeds", 5, "--outdir", f"o{i}")
        assert result.code == 0, result.err
        run = older.name if reference is older else newer.name
        assert f"{run}/snapshot-000010.safetensors" in result.err
        assert (np.asarray(Image.open(f"o{i}/seed0005.png")) == pixels).all()
    good("export", older, "--format", "state-dict")
    assert json.loads(good("metrics", "swd", older, "--data", "shapes", "--num", 8, "--json"))["num_fake"] == 8


def test_latest_without_a_run(fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(1, ["latest: no run with a snapshot", tmp_path], "generate", "latest")


# --- home directories -------------------------------------------------------------------------------------------------

NOWHERE = "~no-user-of-this-name/x"


@pytest.mark.parametrize(
    "args",
    [
        ("data", "info", NOWHERE),
        ("data", "doctor", f"{NOWHERE}.zip"),
        ("data", "pack", NOWHERE, "d.zip", "--resolution", "8x8"),
        ("train", "stylegan2-tiny", "--data", NOWHERE, "-n"),
        ("metrics", "compare", NOWHERE, NOWHERE),
        ("recipe", "validate", "stylegan2-tiny", "--set", f"dataset={{use: folder, path: {NOWHERE}}}"),
    ],
)
def test_a_user_without_a_home(gz, tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    result = gz(*args)
    assert "bug" not in result.err
    assert result.code in (0, 2)  # a recipe's path is opened by training
    if result.code:
        assert f"{NOWHERE}" in result.err
        assert "no home directory is known for the user 'no-user-of-this-name'" in result.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A process of a uid without passwd entry, in which HOME is not set."""
    if sys.platform == "win32":
        pytest.skip("Windows knows users otherwise")
    import pwd

    def nobody(key):
        raise KeyError(key)

    for name in ("HOME", "XDG_CACHE_HOME", "GZ_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_the_cache_is_in_the_temporary_folder(homeless):
    folder = files.cache_dir()
    assert folder.parent == homeless
    assert folder.stat().st_mode & 0o777 == 0o700
    assert files.cache_dir() == folder
    with pytest.raises(UsageError, match=r"~/x: no home directory is known for this user \(HOME is not set\)"):
        files.expand_user("~/x")


def test_a_cache_of_another_is_not_trusted(homeless):
    folder = files.cache_dir()
    folder.rmdir()
    folder.symlink_to(homeless)
    with pytest.raises(UsageError, match="set GZ_CACHE"):
        files.cache_dir()
