"""A checkpoint that is damaged or does not fit: one sentence on stderr that names it, and the right exit code."""

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from commands import TINY
from commands import fails as fails
from commands import recipe as recipe
from ganzoo.io import files
from ganzoo.model import checkpoint
from ganzoo_cli import main


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "tiny.yaml").write_text(TINY)
    flags = ["--outdir", str(folder), "--kimg", "0.008", "--metrics", "none"]
    assert main(["train", str(folder / "tiny.yaml"), *flags]) == 0
    return next(folder.glob("*/snapshot-*.safetensors"))


# --- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cuda:9", "tpu", "cpu:x"])
def test_a_device_that_is_not_there(fails, recipe, snapshot, tmp_path, name):
    fails(2, [f"--device {name}"], "train", recipe(), "--device", name, "--outdir", tmp_path / "runs")
    fails(2, [f"--device {name}"], "generate", snapshot, "--device", name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--seeds", "1,x"], ["--seeds 1,x"]),
        (["--seeds", "9-3"], ["9-3"]),
        (["--seeds", "0-4000000000"], ["0-4000000000"]),
        (["--seeds", "4294967296"], ["4294967296"]),
        (["--seeds", ""], ["--seeds"]),
        (["--grid", "4"], ["--grid 4"]),
        (["--grid", "2x2", "--seeds", "0-9"], ["2x2", "10"]),
        (["--class", "1"], ["without classes"]),
        (["--noise-mode", "loud"], ["loud"]),
    ],
)
def test_generate_with_flags_that_cannot_be(fails, snapshot, tmp_path, flags, words):
    fails(2, words, "generate", snapshot, *flags, "--outdir", tmp_path)


# --- images ----------------------------------------------------------------------------------------------------------


def test_training_images_that_moved(fails, tmp_path, snapshot):
    head, tensors = checkpoint.read(snapshot)
    there = {"use": "folder", "path": str(tmp_path / "moved")}
    checkpoint.write(tmp_path / "s.safetensors", tensors, replace(head, recipe={**head.recipe, "dataset": there}))
    fails(1, [tmp_path / "moved", "--data"], "metrics", "swd", tmp_path / "s.safetensors")
    checkpoint.write(tmp_path / "s.safetensors", tensors, replace(head, recipe={**head.recipe, "dataset": None}))
    fails(2, ["s.safetensors", "--data"], "metrics", "swd", tmp_path / "s.safetensors")


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


COMMANDS = [["generate"], ["metrics", "swd"], ["ckpt", "info"], ["ckpt", "verify"]]


@pytest.fixture
def damaged(tmp_path, snapshot):
    """Files that are no whole checkpoint, by what is wrong."""
    whole, files = snapshot.read_bytes(), {}
    for name, data in {
        "cut": whole[: len(whole) // 2],
        "short": whole[:5],
        "empty": b"",
        "text": b"hello\n" * 20,
        "huge": b"\xff" * 100,
    }.items():
        files[name] = tmp_path / f"{name}.safetensors"
        files[name].write_bytes(data)
    files["foreign"] = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(3)}, files["foreign"])
    files["pickle"] = tmp_path / "pickle.safetensors"
    files["pickle"].write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    files["torch"] = tmp_path / "torch.safetensors"
    torch.save({"a": Evil(tmp_path / "ran")}, files["torch"])
    files["gone"] = tmp_path / "gone.safetensors"
    files["folder"] = tmp_path
    return files


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_is_no_checkpoint(fails, damaged, command, tmp_path):
    for path in damaged.values():
        fails(1, [path], *command, path)
    assert not (tmp_path / "ran").exists()


def test_a_file_says_what_it_is(fails, damaged):
    assert "pickle" in fails(1, [], "generate", damaged["pickle"])
    assert "cut off or damaged" in fails(1, [], "generate", damaged["cut"])
    assert "not one of ganzoo" in fails(1, [], "generate", damaged["foreign"])


def test_a_flipped_bit_is_found(fails, tmp_path, snapshot):
    data = bytearray(snapshot.read_bytes())
    data[-100] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    fails(1, ["flipped.safetensors", "damaged"], "ckpt", "verify", tmp_path / "flipped.safetensors")


def test_a_checkpoint_of_a_plugin_that_is_not_there(fails, tmp_path, snapshot):
    head, tensors = checkpoint.read(snapshot)
    path = tmp_path / "ghost.safetensors"
    checkpoint.write(path, tensors, replace(head, versions={**head.versions, "ghost": "ganzoo-ghost 1.2"}))
    fails(3, ["'ghost'", "ganzoo-ghost 1.2", "the package 'ganzoo-ghost'", "trust"], "generate", path)


HEADERS = {
    "recipe": "str",
    "images": "many",
    "versions": [],
    "digest": None,
    "kind": "other",
    "iteration": True,
    "data": 3,
    "format": "one",
    "extra": 1,
}


@pytest.mark.parametrize("key", HEADERS)
def test_a_header_of_the_wrong_types(fails, tmp_path, snapshot, key):
    head, tensors = checkpoint.read(snapshot)
    path = tmp_path / "odd.safetensors"
    text = json.dumps({**asdict(head), key: HEADERS[key]})
    save_file(tensors, path, metadata={"ganzoo": text})
    for command in COMMANDS:
        fails(1, [path, "metadata is damaged", key], *command, path)
    for text in ("[]", "3", "[" * 100_000, "{"):
        save_file(tensors, path, metadata={"ganzoo": text})
        fails(1, [path, "metadata is damaged"], "ckpt", "info", path)


def test_no_temporary_file_stays(tmp_path, snapshot, monkeypatch):
    head, tensors = checkpoint.read(snapshot)

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "sync", stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(tmp_path / "s.safetensors", tensors, head)
    assert not list(tmp_path.iterdir())


def test_a_sentence_does_not_steer_the_terminal(tmp_path, snapshot, capsys):
    head, tensors = checkpoint.read(snapshot)
    path = tmp_path / "ghost.safetensors"
    checkpoint.write(path, tensors, replace(head, versions={"gh\x1b[2Jost": ""}))
    assert main(["generate", str(path)]) == 3
    assert "'gh?[2Jost'" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fit_its_recipe(fails, tmp_path, snapshot):
    head, tensors = checkpoint.read(snapshot)
    path = tmp_path / "odd.safetensors"
    checkpoint.write(path, {k: v for k, v in tensors.items() if k != "G_ema.w_mean"}, head)
    fails(1, [path, "G_ema.w_mean"], "generate", path)


def test_metrics_that_cannot_be(fails, snapshot, tmp_path):
    fails(2, ["'fidd'", "swd"], "metrics", "fidd", snapshot)
    fails(2, ["--num"], "metrics", "swd", snapshot, "--num", 1)
    fails(2, [tmp_path / "no"], "metrics", "swd", snapshot, "--out", tmp_path / "no" / "x.json")


def test_resuming_what_cannot_be(fails, recipe, tmp_path, snapshot):
    fails(1, ["latest", tmp_path / "runs"], "train", recipe(), "--resume", "latest", "--outdir", tmp_path / "runs")
    fails(1, [tmp_path / "gone"], "train", recipe(), "--resume", tmp_path / "gone")
    fails(1, ["latest", tmp_path / "runs"], "train", "--resume", "latest", "--outdir", tmp_path / "runs")
    fails(1, [tmp_path / "gone"], "train", "--resume", tmp_path / "gone")
    fails(2, ["RECIPE", "--resume latest"], "train", "--resume", "auto")
    stray = tmp_path / "stray.safetensors"
    stray.write_bytes(b"")
    fails(2, [stray, "recipe.resolved.yaml is missing"], "train", "--resume", stray)
    fails(1, [snapshot, "snapshot"], "train", recipe(), "--resume", snapshot)
    state = next(snapshot.parent.glob("state-*"))
    fails(1, ["training.batch", "16"], "train", recipe(), "--resume", state, "--batch", 16)


# --- disks and machines ----------------------------------------------------------------------------------------------


def test_an_outdir_that_cannot_be(fails, recipe, snapshot, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    fails(2, [file], "train", recipe(), "--outdir", file)
    fails(2, [file], "generate", snapshot, "--outdir", file / "sub")
    if Path("/proc").is_dir():
        fails(2, ["/proc/nowhere"], "train", recipe(), "--outdir", "/proc/nowhere")
