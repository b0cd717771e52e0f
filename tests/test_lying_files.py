"""Files that claim what they do not hold: refused in one sentence before they cost anything, and nothing of them steers
the terminal."""

import json
import re
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ganzoo
from commands import TINY
from commands import fails as fails
from commands import good as good
from commands import gz as gz
from ganzoo import recipe
from ganzoo.errors import CheckpointError, DataError, RecipeError
from ganzoo.io import budgets
from ganzoo.io.hashes import digest
from ganzoo.io.log import Log
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.source import parse_yaml
from ganzoo.runs.dataset import open_data
from ganzoo_cli import main
from snapshots import untrained, with_labels

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202egpj"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("whole"), "stylegan2-tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a state and a snapshot."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(TINY)
    flags = ["--outdir", str(folder / "runs"), "--kimg", "0.008", "--metrics", "none"]
    assert main(["train", str(folder / "tiny.yaml"), *flags]) == 0
    return next((folder / "runs").glob("0*"))


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON header and the data of a safetensors file."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def joined(path: Path, header: dict[str, Any], data: bytes) -> Path:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def lying(snapshot: Path, path: Path, change: Callable[[dict[str, Any]], object], keep: str = "") -> Path:
    """A snapshot with another recipe; of its tensors, those whose names begin with `keep`, and their digest."""
    with safe_open(snapshot, "pt") as file:
        metadata = json.loads(file.metadata()["ganzoo"])
    change(metadata["recipe"])
    tensors = {name: t for name, t in load_file(snapshot).items() if name.startswith(keep)}
    save_file(tensors, path, metadata={"ganzoo": json.dumps(metadata | {"digest": digest(tensors)})})
    return path


def flipped(source: Path, path: Path) -> Path:
    """One bit of the tensors changed."""
    header, data = parts(source)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0x40
    return joined(path, header, bytes(changed))


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["generate"],
        ["metrics", "swd"],
        ["export", "--format", "state-dict"],
        ["mix", "--rows", "1", "--cols", "2"],
        ["walk", "--seeds", "1,2"],
        ["ckpt", "verify"],
    ],
)
def test_no_command_uses_weights_that_do_not_match_their_digest(fails, snapshot, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    path = flipped(snapshot, tmp_path / "flipped.safetensors")
    assert "digest" in fails(1, [path, "damaged"], *command, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_no_training_begins_with_weights_that_do_not_match_their_digest(fails, run, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    path = flipped(next(run.glob("snapshot-*")), tmp_path / "flipped.safetensors")
    flags = ["--outdir", tmp_path / "runs", "--metrics", "none"]
    fails(1, [path, "digest"], "train", tmp_path / "tiny.yaml", "--init-from", path, *flags)
    state = next(run.glob("state-*"))
    broken = flipped(state, tmp_path / state.name)
    fails(1, [broken, "digest"], "train", tmp_path / "tiny.yaml", "--resume", broken, *flags)


def test_python_checks_the_digest_too(snapshot, tmp_path):
    with pytest.raises(CheckpointError, match="digest"):
        ganzoo.load(flipped(snapshot, tmp_path / "flipped.safetensors"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.float64])
@pytest.mark.parametrize("honest", [False, True], ids=["old digest", "own digest"])
def test_weights_of_another_type(fails, snapshot, tmp_path, dtype, honest):
    with safe_open(snapshot, "pt") as file:
        metadata = json.loads(file.metadata()["ganzoo"])
    tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in load_file(snapshot).items()}
    path = tmp_path / "other.safetensors"
    metadata |= {"digest": digest(tensors)} if honest else {}
    save_file(tensors, path, metadata={"ganzoo": json.dumps(metadata)})
    name = str(dtype).removeprefix("torch.")
    fails(1, [path, name, "float32"], "generate", path, "--outdir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- claims ----------------------------------------------------------------------------------------------------------


CLAIMS = {
    "image.size": (lambda r: r.update(image={**r["image"], "size": 8192}), "", "lacks G"),
    "more than any image has": (lambda r: r.update(image={**r["image"], "size": 65536}), "", "more values"),
    "a width": (lambda r: r["generator"].update(channels=[2**24] * 3), "", "instead of"),
    "a network that the file lacks": (
        lambda r: r["discriminator"].update(channel_base=10**9, channel_max=10**9),
        "G_ema.",
        "above the limit",
    ),
    "a depth": (lambda r: r["generator"]["mapping"].update(depth=10**6), "", "2,000 modules"),
    "taps": (lambda r: r["generator"]["synthesis"].update(resample_filter=[1.0] * 19_000), "", "limit of 128"),
    "values": (lambda r: r["discriminator"].update(channels=[1] * 30_000), "", "20,000 values"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_recipe_is_compared_with_its_file_before_anything_is_built(snapshot, tmp_path, claim):
    change, keep, words = CLAIMS[claim]
    path = lying(snapshot, tmp_path / "lying.safetensors", change, keep)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CheckpointError, RecipeError), match=words) as caught:
        ganzoo.load(path)
    assert str(path) in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_a_header_that_is_too_long_is_not_parsed(fails, snapshot, tmp_path):
    header, data = parts(snapshot)
    header["__metadata__"]["more"] = "x" * 90_000_000
    path = joined(tmp_path / "long.safetensors", header, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in ["generate"], ["ckpt", "info"], ["ckpt", "verify"], ["import"]:
        fails(1, [path, "header", "limit"], *command, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


RECIPES = {
    "characters": "a: [" + "1, " * 10_000_000 + "1]",
    "brackets": "a: " + "[" * 60_000,
    "aliases": "b: &b {" + ",".join(f"k{i}: 1" for i in range(2000)) + "}\na: {<<: [" + "*b," * 4000 + "*b]}",
    "values": "b: &b [" + "1," * 500 + "1]\na: [" + "*b," * 100 + "*b]",
}


@pytest.mark.parametrize("limit", RECIPES)
def test_a_recipe_has_a_budget(limit):
    with pytest.raises(RecipeError, match=rf"recipe.yaml: more than [\d,]+ {limit}, which is the limit"):
        parse_yaml(RECIPES[limit], "recipe.yaml")


def test_a_large_recipe_is_not_read_whole(fails, tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(20 << 30)  # sparse: it takes no room on the disk, and could not be held in memory
    fails(2, [path, f"{budgets.RECIPE_CHARACTERS:,} characters"], "recipe", "validate", path)


# --- control characters ----------------------------------------------------------------------------------------------


def test_metadata_does_not_steer_the_terminal(gz, snapshot, tmp_path):
    path = lying(snapshot, tmp_path / "escapes.safetensors", lambda r: r.update(title=ESCAPES))
    result = gz("ckpt", "info", path)
    assert result.code == 0
    assert not STEERING.search(result.out + result.err)
    assert "?]0;owned??[31mred?2J?gpj" in result.out
    assert json.loads(gz("ckpt", "info", path, "--json").out)["title"] == ESCAPES


def test_a_recipe_does_not_steer_the_terminal(gz, tmp_path):
    path = tmp_path / "recipe\x1b[2J.yaml"
    path.write_text("extends: stylegan2-tiny\npaper: " + json.dumps(ESCAPES) + "\ntitle: " + json.dumps("a\nOK: b"))
    for command in ["show"], ["validate"], ["diff", "stylegan2-tiny"]:
        result = gz("recipe", command[0], path, *command[1:])
        assert result.code == 0
        assert not STEERING.search(result.out + result.err)
        assert not any(line.startswith("OK: b") for line in result.out.splitlines())


def test_a_log_does_not_steer_the_terminal(tmp_path, capsys):
    with Log(tmp_path / "log.txt", 1) as log:
        log.say(f"images of {ESCAPES}")
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "images of ?]0;owned??[31mred" in text
        assert not STEERING.search(text)


# --- mixes and classes -----------------------------------------------------------------------------------------------


def test_widths_that_come_down_to_zero_channels(fails, tmp_path):
    tree = ["discriminator.channels=[1, 1, 1, 1]"]
    fails(2, ["discriminator", "zero channels"], "recipe", "validate", "msggan-tiny", "--set", tree[0])
    with pytest.raises(RecipeError, match="zero channels"):
        build_experiment(recipe.load("msggan-tiny", tree))
    build_experiment(recipe.load("msggan-tiny", ["discriminator.channels=[2, 2, 2, 2]"]))


def with_classes(folder: Path, classes: int, labels: int) -> Any:
    """An experiment of `labels` classes whose images, in a folder, are of the first `classes`."""
    for i in range(2 * classes):
        Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(folder / f"{i}.png")
    table = [[f"{i}.png", i % classes] for i in range(2 * classes)]
    (folder / "dataset.json").write_text(json.dumps({"labels": table}))
    overrides = [*with_labels(labels), "image.size=16", "dataset.use=folder", f"dataset.path={folder}"]
    return build_experiment(recipe.load("stylegan2-tiny", overrides))


def test_classes_are_compared_before_training(tmp_path, capsys):
    with pytest.raises(DataError, match=r"dataset.json: 3.png has the class 3, the recipe wants classes 0 to 2"):
        open_data(with_classes(tmp_path, classes=5, labels=3))
    open_data(with_classes(tmp_path, classes=5, labels=8))
    assert "3 of the recipe's 8 classes have no image" in capsys.readouterr().err
    open_data(with_classes(tmp_path, classes=5, labels=5))
    assert "no image" not in capsys.readouterr().err


def test_labels_of_a_plugins_images_have_the_recipes_length(tmp_path, monkeypatch):
    experiment = with_classes(tmp_path, classes=5, labels=5)
    images = experiment.dataset()
    monkeypatch.setattr(images, "label", lambda index: np.zeros(4, np.float32))
    monkeypatch.setattr(experiment, "dataset", lambda: images)
    with pytest.raises(DataError, match=r"shape \[4\], and the recipe has labels=5"):
        open_data(experiment)
