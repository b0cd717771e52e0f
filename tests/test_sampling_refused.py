"""Sampling: what cannot be is said in a sentence, and an interrupt leaves nothing half."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.errors import UsageError
from ganzoo.io import film, images
from ganzoo.model import checkpoint
from ganzoo.model.model import Model
from ganzoo_cli import main
from sampling import fails as fails
from sampling import snapshots as snapshots

GENERATE = {
    "trunc nan": (["--trunc", "nan"], ["nan", "0.7"]),
    "trunc inf": (["--trunc", "-inf"], ["-inf"]),
    "trunc too large": (["--trunc", "1e30"], ["1e+30", "-10 to 10", "mean"]),
    "seeds too large": (["--seeds", "0,99999999999999"], ["99999999999999", "0 to 4294967295"]),
    "trunc word": (["--trunc", "much"], ["--trunc", "much"]),
    "cutoff": (["--trunc-cutoff", "7"], ["cutoff 7", "0 to 6"]),
    "cutoff below": (["--trunc-cutoff", "-1"], ["--trunc-cutoff", "-1"]),
    "class word": (["--class", "cat"], ["--class cat"]),
    "class": (["--class", "0-1"], ["without classes"]),
    "grid of classes": (["--class", "0-9", "--grid", "3x3"], ["3x3", "9", "10"]),
    "batch": (["--batch", "0"], ["--batch 0", "auto"]),
    "batch word": (["--batch", "all"], ["--batch all", "1 to 9999"]),
    "classes and seeds": (["--class", "0-1", "--seeds", "0-4", "--grid", "3x3"], ["3x3", "5 for each of 2"]),
}
MIX = {
    "no rows": (["--cols", "1"], ["--rows"]),
    "rows": (["--rows", "1,x", "--cols", "1"], ["--rows 1,x", "'x'"]),
    "cols": (["--rows", "1", "--cols", "9-3"], ["--cols 9-3"]),
    "seed": (["--rows", "4294967296", "--cols", "1"], ["4294967296"]),
    "styles word": (["--rows", "1", "--cols", "2", "--styles", "all"], ["--styles all", "'all'"]),
    "styles": (["--rows", "1", "--cols", "2", "--styles", "0-6"], ["--styles 0-6", "no layer 6", "0 to 5"]),
    "too many": (["--rows", "0-200", "--cols", "0-200"], ["201 by 201"]),
    "trunc": (["--rows", "1", "--cols", "2", "--trunc", "nan"], ["nan"]),
    "class": (["--rows", "1", "--cols", "2", "--class", "0"], ["without classes"]),
    "noise": (["--rows", "1", "--cols", "2", "--noise-mode", "loud"], ["loud"]),
}
WALK = {
    "seeds": (["--seeds", "a"], ["--seeds a"]),
    "one seed": (["--seeds", "3"], ["--seeds 3", "two keyframes"]),
    "frames": (["--frames", "0"], ["--frames", "0"]),
    "fps": (["--fps", "0"], ["--fps", "0"]),
    "gif fps": (["--fps", "60", "--out", "a.gif"], ["--fps 60", "50"]),
    "suffix": (["--out", "a.avi"], ["a.avi", ".webp", ".mp4"]),
    "space": (["--space", "x"], ["--space", "x"]),
    "noise": (["--noise-mode", "random"], ["--noise-mode", "random"]),
    "grid": (["--grid", "3"], ["--grid 3"]),
    "grid that does not split": (["--grid", "2x2", "--seeds", "0-5"], ["--grid 2x2", "6 keyframes for 4", "8"]),
    "trunc": (["--trunc", "nan"], ["nan"]),
    "cutoff": (["--trunc-cutoff", "99"], ["99"]),
    "trunc too large": (["--trunc", "-11"], ["-11", "-10 to 10"]),
    "class": (["--class", "1"], ["without classes"]),
    "both": (["--seeds", "0-3", "--latents", "a.npz"], ["--seeds 0-3", "--latents a.npz"]),
    "too long": (["--seeds", "0-999", "--frames", "10000"], ["--frames 10000", "10,000,000"]),
}


@pytest.mark.parametrize(
    "command, args, words",
    [
        pytest.param(command, *case, id=f"{command} {name}")
        for command, cases in {"generate": GENERATE, "mix": MIX, "walk": WALK}.items()
        for name, case in cases.items()
    ],
)
def test_a_flag_that_cannot_be(fails, snapshots, tmp_path, monkeypatch, command, args, words):
    monkeypatch.chdir(tmp_path)
    fails(2, words, command, snapshots("stylegan2"), *args)
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_a_picture_that_is_too_large(fails, snapshots, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PIXELS", 1000)
    ckpt, out = snapshots("stylegan2"), ("--outdir", tmp_path)
    fails(2, ["--grid 4x1", "64x16"], "generate", ckpt, "--grid", "4x1", *out)
    fails(2, ["--rows and --cols", "64x32"], "mix", ckpt, "--rows", 1, "--cols", "1-3", *out)
    fails(2, ["--grid 4x1", "64x16"], "walk", ckpt, "--grid", "4x1", "--seeds", "0-7", "--out", tmp_path / "a.webp")
    assert not list(tmp_path.iterdir())


def test_a_class_that_is_not(fails, snapshots, tmp_path):
    ckpt = snapshots("conditional")
    pair = ("--rows", 1, "--cols", 2, "--outdir", tmp_path)
    fails(2, ["3 classes", "0 to 2", "--class 0-2", "label=0"], "generate", ckpt, "--outdir", tmp_path)
    fails(2, ["class 3", "0 to 2"], "generate", ckpt, "--class", "1-3", "--outdir", tmp_path)
    fails(2, ["3 classes"], "mix", ckpt, *pair)
    fails(2, ["class 7"], "mix", ckpt, *pair, "--class", 7)
    fails(2, ["3 classes"], "walk", ckpt, "--out", tmp_path / "w.webp")
    fails(2, ["class 7"], "walk", ckpt, "--class", 7, "--out", tmp_path / "w.webp")
    assert not list(tmp_path.iterdir())


def test_nothing_to_mix(fails, snapshots, tmp_path):
    pair = ("--rows", 1, "--cols", 2, "--outdir", tmp_path)
    fails(2, ["nothing to mix", "gz walk"], "mix", snapshots("progan"), *pair)
    fails(2, ["no layer 4", "grown"], "mix", snapshots("growing"), *pair, "--styles", "4-5")


def test_latents_that_cannot_be(fails, snapshots, tmp_path):
    ckpt = snapshots("stylegan2")
    np.savez(tmp_path / "names.npz", a=np.zeros((2, 8)))
    np.savez(tmp_path / "shape.npz", w=np.zeros((2, 7, 8)))
    np.savez(tmp_path / "nan.npz", z=np.full((2, 8), np.nan))
    np.savez(tmp_path / "text.npz", z=np.array(["a", "b"]))
    np.savez(tmp_path / "object.npz", z=np.array([{}, {}], dtype=object))
    np.save(tmp_path / "either.npy", np.zeros((2, 8)))
    np.save(tmp_path / "empty.npy", np.zeros((0, 8)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "nan.npz").read_bytes()[:50])
    (tmp_path / "cut.safetensors").write_bytes(b"x")
    (tmp_path / "codes.txt").write_text("1")
    words = {
        "names.npz": ["'a'", "'z'"],
        "shape.npz": ["[2, 7, 8]", "[K, 6, 8]"],
        "nan.npz": ["not finite"],
        "text.npz": ["'z'", "<U1"],
        "object.npz": ["cannot be read"],
        "either.npy": ["--space"],
        "empty.npy": ["[0, 8]"],
        "cut.npz": ["cannot be read"],
        "cut.safetensors": ["cannot be read"],
        "codes.txt": [".npz"],
        "gone.npz": ["no file"],
    }
    for name, expected in words.items():
        fails(1, [name, *expected], "walk", ckpt, "--latents", tmp_path / name, "--out", tmp_path / "w.webp")
    np.savez(tmp_path / "ws.npz", w=np.zeros((2, 6, 8)))
    fails(
        2, ["--space z"], "walk", ckpt, "--latents", tmp_path / "ws.npz", "--space", "z", "--out", tmp_path / "w.webp"
    )
    fails(2, ["--class 1"], "walk", ckpt, "--latents", tmp_path / "ws.npz", "--class", 1, "--out", tmp_path / "w.webp")


def test_a_film_that_cannot_be(fails, snapshots, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    fails(2, ["is a file"], "walk", snapshots("stylegan2"), "--out", tmp_path / "file")
    for name in ("a.webp", "frames"):
        words = ["cannot write", "choose a folder"]
        fails(2, words, "walk", snapshots("stylegan2"), "--out", tmp_path / "file" / name)
    monkeypatch.setitem(film.LARGEST, ".webp", 10)
    fails(2, ["10 pixels", "16x16"], "walk", snapshots("stylegan2"), "--out", tmp_path / "a.webp")
    monkeypatch.setattr(film, "find_spec", lambda name: None)
    fails(2, ["a.mp4", "ganzoo[video]"], "walk", snapshots("stylegan2"), "--out", tmp_path / "a.mp4")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_has_files_is_not_written_into(fails, snapshots, tmp_path):
    ckpt = snapshots("stylegan2")
    fails(2, [ckpt.parent, "not empty"], "walk", ckpt, "--out", ckpt.parent)
    (tmp_path / "mine.txt").write_text("")
    fails(2, [tmp_path, "not empty"], "walk", ckpt, "--out", tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_an_outdir_that_cannot_be(fails, snapshots, tmp_path):
    (tmp_path / "file").write_text("")
    for outdir in (tmp_path / "file", tmp_path / "file" / "sub"):
        how, words = ("--outdir", outdir), [f"--outdir {outdir}", "choose a folder"]
        fails(2, words, "generate", snapshots("stylegan2"), *how)
        fails(2, words, "mix", snapshots("stylegan2"), "--rows", 1, "--cols", 2, *how)


def test_a_directory_without_snapshots_is_no_checkpoint(fails, tmp_path):
    """One that holds snapshots stands for its newest (test_faults_typed)."""
    for command in (["generate"], ["walk"], ["mix", "--rows", "1", "--cols", "2"], ["metrics", "swd"]):
        fails(1, [tmp_path, "is a folder", "none"], *command, tmp_path)
    fails(1, [tmp_path, "is a folder", "none"], "export", tmp_path, "--format", "state-dict")


@pytest.mark.parametrize("command", ["generate", "mix", "walk"])
def test_what_images_are_of(snapshots, tmp_path, capsys, monkeypatch, command):
    """A note where a generator was still growing, and where it has no mean to truncate to."""
    monkeypatch.chdir(tmp_path)
    flags = {"generate": ["--seeds", "1"], "mix": ["--rows", "1", "--cols", "2"], "walk": ["--frames", "1"]}[command]
    for name, psi, notes in (
        ("growing", "1", ["still growing at 8x8 of 16x16"]),
        ("growing", "0.5", ["still growing", "no learned mapping"]),
        ("stylegan2", "0.5", []),
    ):
        (tmp_path / f"{name}-{psi}").mkdir()
        monkeypatch.chdir(tmp_path / f"{name}-{psi}")  # an earlier picture would be noted too
        assert main([command, str(snapshots(name)), *flags, "--trunc", psi]) == 0
        said = capsys.readouterr().err.splitlines()
        assert len(said) == len(notes), said
        assert all(note in line for note, line in zip(notes, said))


def interrupt_at(monkeypatch, number):
    """Let rendering be interrupted when so many images are asked for."""
    render, asked = Model.render, []

    def interrupted(self, *args, **how):
        asked.append(1)
        if len(asked) == number:
            raise KeyboardInterrupt
        return render(self, *args, **how)

    monkeypatch.setattr(Model, "render", interrupted)


@pytest.mark.parametrize(
    "flags, said",
    [
        (["generate", "--seeds", "0-8", "--outdir", "big"], "2 of 9 images written to big/."),
        (["generate", "--grid", "3x3", "--outdir", "big"], "nothing was written."),
        (["mix", "--rows", "1,2", "--cols", "3", "--outdir", "big"], "2 of 5 images written to big/."),
        (["walk", "--frames", "2", "--out", "big"], "2 of 12 frames written to big/."),
        (["walk", "--frames", "2", "--out", "big.webp"], "nothing was written."),
    ],
)
def test_an_interrupt_says_what_was_written(snapshots, tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    interrupt_at(monkeypatch, 3)
    command, *rest = flags
    assert main([command, str(snapshots("stylegan2")), *rest]) == 130
    assert capsys.readouterr().err == f"error: interrupted: {said}\n"
    assert len([f for f in tmp_path.rglob("*") if f.is_file()]) == (2 if said[0] == "2" else 0)


def test_an_interrupt_waits_for_what_is_being_written(snapshots, tmp_path, capsys, monkeypatch):
    save = images.save

    def slow(image, path, metadata=None):
        time.sleep(0.2)
        save(image, path, metadata)

    monkeypatch.setattr(images, "save", slow)
    interrupt_at(monkeypatch, 4)
    assert main(["generate", str(snapshots("stylegan2")), "--seeds", "5-13", "--outdir", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert err == f"error: interrupted: 3 of 9 images written to {tmp_path}/.\n"
    assert out.splitlines() == [str(tmp_path / f"seed000{i}.png") for i in (5, 6, 7)]
    assert sorted(str(f) for f in tmp_path.iterdir()) == out.splitlines()


def test_no_half_picture_stays(tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", lambda self, path, **_: stop(path.touch()))
    with pytest.raises(KeyboardInterrupt):
        images.save(np.zeros((3, 4, 4), np.uint8), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_images_that_are_no_numbers(fails, snapshots, tmp_path):
    head, tensors = checkpoint.read(snapshots("adain"))
    ckpt = tmp_path / "nan.safetensors"
    checkpoint.write(
        ckpt, {name: t * float("nan") if t.is_floating_point() else t for name, t in tensors.items()}, head
    )
    fails(1, ["not finite", "truncation"], "generate", ckpt, "--outdir", tmp_path)


def test_python_is_told_too(snapshots):
    model = ganzoo.load(snapshots("conditional"))
    for wrong in (
        lambda: model.images([]),
        lambda: model.images([-1], label=0),
        lambda: model.images([1], label=[0.0]),
        lambda: model.images([1], label=[0.0, float("nan"), 0.0]),
        lambda: model.images([1], label=0, noise="loud"),
        lambda: model.mix(1, 2, [-1], label=0),
        lambda: model.mix(1, 2, [6], label=0),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert torch.equal(model.images([1], label=[0.0, 1.0, 0.0]), model.images([1], label=1))


def test_help_needs_no_torch():
    code = """
import sys
from ganzoo_cli import main
for command in ("generate", "mix", "walk", "export"):
    assert main([command, "--help"]) == 0
assert not {"torch", "numpy", "PIL"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
