"""Whatever a user gives: one sentence on stderr that names it, the right exit code, and never a traceback."""

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ganzoo import checkpoint, files
from ganzoo.errors import Diverged, PluginError
from ganzoo.registry import registry
from ganzoo_cli import main
from test_cli import TINY


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with this exit code and one sentence that holds these words."""

    def run(code: int, words: list[object], *args: object) -> str:
        capsys.readouterr()
        got = main([str(a) for a in args])
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert got == code, captured.err
        assert "Traceback" not in captured.err + captured.out
        assert len(errors) == 1, captured.err
        assert errors[0].endswith("."), errors[0]
        for word in words:
            assert str(word) in errors[0]
        return errors[0]

    return run


@pytest.fixture
def recipe(tmp_path):
    """A recipe file with this text instead of, or after, the tiny one's."""

    def write(text: str = "", *, whole: bool = False) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text if whole else TINY + text)
        return path

    return write


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "tiny.yaml").write_text(TINY)
    flags = ["--outdir", str(folder), "--kimg", "0.008", "--metrics", "none"]
    assert main(["train", str(folder / "tiny.yaml"), *flags]) == 0
    return next(folder.glob("*/snapshot-*.safetensors"))


# --- recipes ---------------------------------------------------------------------------------------------------------

SETS = {
    "unknown component": ("loss=hinje", ["'hinje'", "Did you mean 'hinge'"]),
    "unknown component of a slot": ("generator.mapping.use=mpl", ["'mpl'", "Did you mean 'mlp'"]),
    "misspelt option": ("regularizers.0.gama=1", ["'gama'", "Did you mean 'gamma'", "regularizers.0"]),
    "misspelt group option": ("training.kimgs=1", ["'kimgs'", "Did you mean 'kimg'"]),
    "wrong type": ("generator.z_dim=many", ["generator.z_dim", "'many'"]),
    "out of range": ("training.kimg=-3", ["training.kimg", "-3"]),
    "not a number": ("training.lr=.nan", ["training.lr"]),
    "unknown path": ("generator.mapping.depth.x=1", ["generator.mapping.depth"]),
    "unknown top-level key": ("colour=blue", ["'colour'"]),
    "past the end of a list": ("regularizers.9.gamma=1", ["regularizers.9.gamma", "2 entries"]),
    "no value": ("training.kimg", ["training.kimg", "path.to.option=value"]),
    "size that cannot be halved": ("image.size=17", ["image.size", "17"]),
    "topologies that do not meet": ("growth=progressive", ["growth"]),
    "batch that does not split": ("training.batch_gpu=3", ["training.batch_gpu", "8"]),
    "null where something is needed": ("loss=null", ["loss"]),
}


@pytest.mark.parametrize("item, words", SETS.values(), ids=SETS)
@pytest.mark.parametrize("command", [["train"], ["recipe", "validate"]], ids=["train", "validate"])
def test_a_value_that_cannot_be(fails, recipe, capsys, command, item, words):
    if item == "growth=progressive":  # two places are wrong: a sentence each
        assert main([*command, str(recipe()), "--set", item]) == 2
        assert capsys.readouterr().err.count("error: ") == 2
    else:
        fails(2, words, *command, recipe(), "--set", item)


FILES = {
    "two equal keys": ("image: {size: 8}\nimage: {size: 16}\n", ["r.yaml:2", "image"]),
    "tabs": ("image:\n\tsize: 8\n", ["r.yaml:2"]),
    "a list": ("- 1\n", ["r.yaml", "mapping"]),
    "nothing": ("", ["r.yaml"]),
    "unclosed": ("image: {size: 8\n", ["r.yaml"]),
    "a parent that is not": ("extends: stylegan9\n", ["r.yaml:1", "stylegan9"]),
    "itself as a parent": ("extends: r.yaml\n", ["extends itself"]),
    "a tag that would run code": ("image: !!python/object/apply:os.system [true]\n", ["image", "tag", "os.system"]),
    "a tag on a value": ("title: !!python/name:os.system x\n", ["r.yaml:1", "tag"]),
    "wrong option with its line": ("extends: stylegan2-tiny\ntraining:\n  kimgs: 3\n", ["r.yaml:3", "kimgs"]),
    "an alias bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg")),
        ["r.yaml"],
    ),
}


@pytest.mark.parametrize("text, words", FILES.values(), ids=FILES)
def test_a_file_that_is_no_recipe(fails, recipe, text, words):
    fails(2, words, "recipe", "validate", recipe(text, whole=True))


def test_a_recipe_that_is_not_there_or_is_binary(fails, tmp_path):
    fails(2, ["nowhere.yaml"], "train", tmp_path / "nowhere.yaml")
    fails(2, ["stylegan2-tny", "Did you mean 'stylegan2-tiny'"], "train", "stylegan2-tny")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    fails(2, ["b.yaml", "UTF-8"], "train", tmp_path / "b.yaml")


def test_numbers_are_numbers(recipe, capsys):
    assert main(["recipe", "resolve", str(recipe()), "--set", "training.lr=1e-3", "--set", "training.eps=1E-6"]) == 0
    out = capsys.readouterr().out
    assert "lr: 0.001" in out
    assert "eps: 1.0e-06" in out or "eps: 1e-06" in out


def test_init_overwrites_nothing(fails, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    fails(2, [file, "exists already"], "recipe", "init", "stylegan2-tiny", file)
    assert file.read_text() == "precious"
    fails(2, ["stylegan9"], "recipe", "init", "stylegan9", tmp_path / "new.yaml")
    fails(2, ["nowhere"], "recipe", "init", "stylegan2-tiny", tmp_path / "nowhere" / "x.yaml")


# --- flags -----------------------------------------------------------------------------------------------------------

FLAGS = {
    "unknown command": (["trian"], ["trian", "train"]),
    "unknown flag": (["train", "x", "--foo"], ["--foo"]),
    "no argument": (["train"], ["RECIPE"]),
    "word for a number": (["train", "x", "--kimg", "many"], ["--kimg", "many"]),
    "negative workers": (["train", "stylegan2-tiny", "--workers", "-1"], ["--workers", "-1"]),
    "keep": (["train", "stylegan2-tiny", "--keep", "newest"], ["--keep newest", "last=3,best=2"]),
    "precision": (["train", "stylegan2-tiny", "--precision", "fp8", "-n"], ["training.precision", "fp8"]),
    "metric": (["train", "stylegan2-tiny", "--metrics", "swdd"], ["swdd", "swd"]),
    "no data": (["train", "stylegan2-tiny"], ["--data"]),
    "data": (["train", "stylegan2-tiny", "--data", "shaeps"], ["shaeps", "shapes"]),
    "size": (["data", "info", "shapes", "--size", "32"], ["--size 32"]),
    "kind": (["components", "list", "layr"], ["layr", "Did you mean 'layer'"]),
    "component": (["components", "show", "layer:modcnv"], ["modcnv", "Did you mean 'modconv'"]),
    "component without a kind": (["components", "show", "modconv"], ["modconv", "KIND:NAME"]),
}


@pytest.mark.parametrize("args, words", FLAGS.values(), ids=FLAGS)
def test_a_flag_that_cannot_be(fails, args, words):
    fails(2, words, *args)


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


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(side: int = 16) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb() -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


BAD_IMAGES = {"truncated": png()[:200], "text": b"hello\n", "empty": b"", "bomb": bomb(), "too small": png(8)}


@pytest.mark.parametrize("data", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_an_image_that_cannot_be_used(fails, recipe, capsys, tmp_path, data):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.png").write_bytes(png())
    (folder / "bad.png").write_bytes(data)
    fails(1, ["bad.png", "1 of 2"], "train", recipe(), "--data", folder, "--outdir", tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*"))
    fails(1, ["1 of 2", folder], "data", "doctor", folder, "--size", "16x16")
    assert main(["data", "doctor", str(folder), "--size", "16x16", "--json"]) == 1
    assert '"file": "bad.png"' in capsys.readouterr().out


def test_images_that_are_not_there(fails, recipe, tmp_path):
    (tmp_path / "none").mkdir()
    fails(1, [tmp_path / "none"], "train", recipe(), "--data", tmp_path / "none")
    fails(1, [tmp_path / "gone"], "train", recipe(), "--data", tmp_path / "gone")
    fails(1, [tmp_path / "gone.zip"], "data", "info", tmp_path / "gone.zip")
    (tmp_path / "fake.zip").write_bytes(b"no zip")
    fails(1, [tmp_path / "fake.zip"], "data", "doctor", tmp_path / "fake.zip")


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


@contextmanager
def largest_file(size: int):
    """Let no file grow beyond a size, as a full disk would not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("size", [200, 150_000], ids=["at once", "at the snapshot"])
def test_a_full_disk(fails, recipe, tmp_path, size):
    sets = [
        word for item in ("image.size=8", "generator.channel_max=32", "training.kimg=0.008") for word in ("--set", item)
    ]
    file = recipe()
    with largest_file(size):
        sentence = fails(
            1, [tmp_path] if size > 200 else [], "train", file, "--outdir", tmp_path, "--metrics", "none", *sets
        )
    assert "safetensors cannot be written" in sentence or size == 200
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ganzoo_cli", "recipe", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device.\n"


def test_a_reader_that_went_away():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ganzoo_cli", "components", "list"], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_an_outdir_that_cannot_be(fails, recipe, snapshot, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    fails(2, [file], "train", recipe(), "--outdir", file)
    fails(2, [file], "generate", snapshot, "--outdir", file / "sub")
    if Path("/proc").is_dir():
        fails(2, ["/proc/nowhere"], "train", recipe(), "--outdir", "/proc/nowhere")


@pytest.mark.parametrize(
    "error, code, words",
    [
        (RuntimeError("boom\nbang"), 1, ["this is a bug", "RuntimeError: boom bang", "GZ_TRACEBACK=1"]),
        (MemoryError(), 1, ["out of memory", "--batch-gpu"]),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, ["--batch-gpu"]),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), 1, ["--batch-gpu"]),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), 1, ["--batch-gpu"]),
        (KeyboardInterrupt(), 130, []),
        (Diverged("training diverged at 3 kimg."), 4, ["diverged"]),
        (OSError(28, "No space left on device", "/a/b.png"), 1, ["/a/b.png: No space left on device"]),
    ],
)
def test_what_goes_wrong_while_training(fails, recipe, monkeypatch, error, code, words):
    def train(*_: object) -> None:
        raise error

    monkeypatch.setattr("ganzoo.run.train", train)
    if isinstance(error, KeyboardInterrupt):
        assert main(["train", str(recipe())]) == 130
    else:
        fails(code, words, "train", recipe())


def test_a_bug_shows_where_only_when_asked(recipe, monkeypatch, capsys):
    monkeypatch.setattr("ganzoo.run.train", lambda *_: 1 / 0)
    monkeypatch.setenv("GZ_TRACEBACK", "1")
    assert main(["train", str(recipe())]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_plugin_is_named_once(monkeypatch, capsys):
    from ganzoo_cli import console

    monkeypatch.setattr(console, "_warned", set())
    monkeypatch.setitem(registry().problems, "bad", PluginError("plugin 'bad' is broken: ImportError: x"))
    assert main(["recipe", "validate", "stylegan2-tiny"]) == 0
    assert capsys.readouterr().err == "warning: plugin 'bad' is broken: ImportError: x\n"
    assert main(["recipe", "validate", "stylegan2-tiny"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["plugins", "doctor"]) == 3
    assert "error: 1 of" in capsys.readouterr().err


def test_a_device_file_is_no_image(fails, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    fails(1, ["1 of 2"], "data", "doctor", tmp_path)
