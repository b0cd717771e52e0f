"""Whatever a user gives: one sentence on stderr that names it, the right exit code, and never a traceback."""

import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import fails as fails
from commands import recipe as recipe
from ganzoo.errors import Diverged, PluginError
from ganzoo.registry.lookup import registry
from ganzoo_cli import main

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

    monkeypatch.setattr("ganzoo.runs.run.train", train)
    if isinstance(error, KeyboardInterrupt):
        assert main(["train", str(recipe())]) == 130
    else:
        fails(code, words, "train", recipe())


def test_a_bug_shows_where_only_when_asked(recipe, monkeypatch, capsys):
    monkeypatch.setattr("ganzoo.runs.run.train", lambda *_: 1 / 0)
    monkeypatch.setenv("GZ_TRACEBACK", "1")
    assert main(["train", str(recipe())]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_plugin_is_named_once(monkeypatch, capsys):
    name = f"bad-{os.urandom(4).hex()}"  # one that this process has not named yet
    monkeypatch.setitem(registry().problems, name, PluginError("plugin 'bad' is broken: ImportError: x"))
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
