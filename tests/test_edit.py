"""Editing from the command line: every command, and what cannot be."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import ganzoo
from editing import snapshots as snapshots
from ganzoo.model import latent_files
from ganzoo_cli import main
from ganzoo_editing import style_codes


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run `gz edit` in an empty folder: exit code, stdout's lines, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = main(["edit", *(str(a) for a in args)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


# --- commands ---------------------------------------------------------------------------------------------------------


def saved(stem: str) -> torch.Tensor:
    found = load_file(f"{stem}.safetensors")
    (values,) = found.values()
    assert np.array_equal(values, np.load(f"{stem}.npz")[next(iter(found))])
    return torch.from_numpy(values)


@pytest.mark.parametrize("name", ["stylegan2", "progan", "growing", "gray", "rgba", "two channels"])
def test_morph_frames_end_in_the_seeds_images(snapshots, run, name):
    ckpt = snapshots(name)
    done, out, err = run("morph", ckpt, 3, 5, "--frames", 4, "--out", "frames")
    assert done == 0, err
    assert out == ["frames", "frames/morph.npz", "frames/morph.safetensors"]
    assert ("great circle" in err) == (name in ("progan", "growing"))
    model = ganzoo.load(ckpt)
    for frame, seed in (("0000", 3), ("0003", 5)):
        assert np.array_equal(Image.open(f"frames/frame{frame}.png"), model.sample([seed])[0])
    assert torch.equal(saved("frames/morph")[[0, -1]], model.styles([3, 5]))


@pytest.mark.parametrize("suffix", ["webp", "gif", "png"])
def test_morph_of_files(snapshots, run, tmp_path, suffix):
    ckpt = snapshots("stylegan2")
    model = ganzoo.load(ckpt)
    latent_files.save(tmp_path / "a", model.styles([1, 2, 3]), latent_files.about(model))
    done, out, err = run("morph", ckpt, "a.npz:1", "a.safetensors:2", "--frames", 3, "--out", f"m.{suffix}")
    assert done == 0, err
    assert out[0] == f"m.{suffix}"
    assert torch.equal(saved("m")[[0, -1]], model.styles([2, 3]))
    assert getattr(Image.open(f"m.{suffix}"), "n_frames", 1) == (1 if suffix == "png" else 3)


def test_a_crossover_is_that_of_mix(snapshots, run):
    ckpt = snapshots("stylegan2")
    assert run("crossover", ckpt, 3, 5, "--layers", "0,2,6", "--trunc", 0.5)[0] == 0
    model = ganzoo.load(ckpt)
    a, b = model.styles([3, 5], psi=0.5)
    made = saved("crossover")
    assert torch.equal(made[[0, 2]], torch.stack([b, a]))
    mixed = model.mix(3, 5, range(2, 6), psi=0.5)  # the last four layers from seed 5
    assert torch.equal(model.render(made[1:2]), mixed)
    picture = Image.open("crossover.png")
    assert json.loads(picture.text["layers"]) == [0, 2, 6]
    assert picture.width == 5 * 64
    last = np.asarray(picture)[-64:, 256:, :]  # the style's image itself
    assert np.array_equal(last[::4, ::4], np.asarray(model.sample([5], psi=0.5)[0]))
    assert run("crossover", ckpt, 3, 5, "--out", "half.png")[0] == 0
    assert torch.equal(saved("half")[0], style_codes.crossover(model.styles([3]), model.styles([5]), 3)[0])


def test_a_transfer_from_the_command_line(snapshots, run):
    ckpt = snapshots("adain")
    model = ganzoo.load(ckpt)
    options = ("--neutral", 1, "--expressive", 2)
    assert run("transfer", ckpt, 0, *options, "--strength", "0,1,-2")[0] == 0
    w, neutral, expressive = model.styles([0, 1, 2]).double()
    wanted = torch.stack([w + s * (expressive - neutral) for s in (0, 1, -2)])
    assert torch.allclose(saved("transfer").double(), wanted, atol=1e-5)
    assert torch.equal(saved("transfer")[:1], model.styles([0]))


def test_directions_are_written_and_applied(snapshots, run):
    ckpt = snapshots("stylegan2")
    model = ganzoo.load(ckpt)
    found = run("directions", ckpt, "--layers", "1-3", "--count", 2, "--steps", 3, "--seeds", "0,4", "--strength", 1.5)
    assert found[0] == 0, found[2]
    directions = saved("directions")
    assert torch.equal(directions, style_codes.directions(model, [1, 2, 3], 2).offsets)
    rows = np.asarray(Image.open("directions.png"))[-256:, -192:]  # 4 rows of 3 images, the middle one is the seed's
    for row, seed in enumerate([0, 4, 0, 4]):
        tile = rows[64 * row : 64 * row + 64 : 4, 64:128:4]
        assert np.array_equal(tile, np.asarray(model.sample([seed])[0]))
    for file in ("directions.npz", "directions.safetensors"):
        assert run("apply", ckpt, 4, file, "--number", 1, "--strength", "-1.5,0", "--out", "a.png")[0] == 0
        moved = saved("a")
        assert torch.equal(moved[1:], model.styles([4]))
        assert torch.allclose(moved[:1], model.styles([4]) - 1.5 * directions[1:2], atol=1e-6)
    assert run("apply", ckpt, "a.npz:0", "directions.npz", "--strength", "1", "--out", "b.png")[0] == 0


def test_a_growing_model_uses_the_layers_it_has(snapshots, run):
    ckpt = snapshots("growing")
    used = ganzoo.load(ckpt).styled[-1] + 1
    assert run("crossover", ckpt, 1, 2, "--layers", used)[0] == 0
    done, _, err = run("crossover", ckpt, 1, 2, "--layers", used + 1)
    assert done == 2
    assert f"{used + 1} is more than the {used} layers" in err


def test_classes(snapshots, run):
    ckpt = snapshots("conditional")
    assert run("morph", ckpt, 1, 2, "--class", 1, "--out", "m.png")[0] == 0
    assert torch.equal(saved("m")[:1], ganzoo.load(ckpt).styles([1], label=1))
    assert run("morph", ckpt, "m.npz:0", "m.npz:7", "--out", "n.png")[0] == 0  # codes have their class already
    assert "3 classes" in run("morph", ckpt, 1, 2)[2]


# --- what cannot be ---------------------------------------------------------------------------------------------------


PAIR = ("--neutral", 1, "--expressive", 2)
BAD = {
    "no file": (1, ("morph", "gone.npz", 3), ["no file gone.npz"]),
    "word": (1, ("morph", "cat", 3), ["cat"]),
    "seed": (2, ("morph", 4294967296, 3), ["A 4294967296"]),
    "nan": (1, ("crossover", "nan.npz", 3), ["nan.npz", "not finite"]),
    "several": (2, ("morph", 3, "two.npz"), ["B two.npz", "holds 2", "two.npz:0"]),
    "past the last": (2, ("morph", 3, "two.npz:2"), ["0 to 1"]),
    "another model": (1, ("apply", "other.safetensors", "d.npz"), ["another model"]),
    "another shape": (1, ("morph", "wide.npz", 1), ["[1, 6, 9]"]),
    "k": (2, ("crossover", 1, 2, "--layers", "7"), ["--layers 7", "6 layers"]),
    "k word": (2, ("crossover", 1, 2, "--layers", "all"), ["--layers all"]),
    "one frame": (2, ("morph", 1, 2, "--frames", 1), ["--frames"]),
    "film": (2, ("morph", 1, 2, "--out", "m.avi"), ["m.avi"]),
    "no picture": (2, ("crossover", 1, 2, "--out", "c.webp"), ["c.webp", ".png"]),
    "strength": (2, ("transfer", 0, *PAIR, "--strength", "1,x"), ["--strength 1,x", "'x'"]),
    "strength nan": (2, ("transfer", 0, *PAIR, "--strength", "nan"), ["finite"]),
    "threshold": (2, ("transfer", 0, *PAIR, "--threshold", "inf"), ["--threshold"]),
    "direction strength": (2, ("directions", "--strength", "nan"), ["--strength nan"]),
    "layer": (2, ("directions", "--layers", "2,6"), ["layer 6", "0, 1, 2, 3, 4, 5"]),
    "count": (2, ("directions", "--count", 9), ["9 directions", "1 to 8"]),
    "both": (2, ("directions", "--seeds", "1", "--latents", "two.npz"), ["give one of them"]),
    "number": (2, ("apply", 1, "d.npz", "--number", 2), ["--number 2", "0 to 1"]),
    "no directions": (1, ("apply", 1, "two.npz"), ["'gz edit directions' wrote"]),
    "class": (2, ("morph", 1, 2, "--class", 0), ["without classes"]),
    "trunc": (2, ("morph", 1, 2, "--trunc", "nan"), ["nan"]),
    "over an input": (2, ("morph", "two.npz:0", 1, "--out", "two.webp"), ["two.npz", "written over"]),
    "over others' codes": (2, ("morph", 1, 2, "--out", "two.png"), ["two.npz", "not written with this picture"]),
    "morph jpg": (2, ("morph", 1, 2, "--out", "m.jpg"), ["'.jpg'", ".webp", ".png"]),
    "number word": (2, ("morph", "two.npz:x", 1), ["A two.npz:x: 'x' is no number", "two.npz:0"]),
    "number too long": (2, ("morph", "two.npz:" + "9" * 5000, 1), ["is no number"]),
    "unwritable": (2, ("crossover", 1, 2, "--out", "/proc/x.png"), ["--out /proc/x.png: cannot write into /proc"]),
    "unwritable film": (2, ("morph", 1, 2, "--out", "/proc/x.webp"), ["--out /proc/x.webp: cannot write into /proc"]),
    "over directions": (2, ("apply", 1, "d.npz", "--out", "d.png"), ["d.npz", "written over"]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_said_in_a_sentence(snapshots, run, tmp_path, name):
    wanted, (command, *args), words = BAD[name]
    np.savez("nan.npz", w=np.full((1, 6, 8), np.nan))
    np.savez("two.npz", w=np.zeros((2, 6, 8)))
    np.savez("wide.npz", w=np.zeros((1, 6, 9)))
    np.savez("d.npz", directions=np.zeros((2, 6, 8)))
    other = ganzoo.load(snapshots("adain"))
    latent_files.save(tmp_path / "other", other.styles([1]), latent_files.about(other))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done, out, err = run(command, snapshots("stylegan2"), *args)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (done, len(errors), out) == (wanted, 1, []), err
    assert errors[0].endswith(".")
    for word in words:
        assert word in errors[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "command", [("crossover", 1, 2), ("transfer", 0, *PAIR), ("directions",), ("directions", "--layers", "0")]
)
def test_a_generator_without_styles_is_refused_where_an_edit_has_no_meaning(snapshots, run, command):
    name, *args = command
    done, _, err = run(name, snapshots("progan"), *args)
    assert done == 2
    assert "no style" in err or "no matrix" in err


def test_codes_are_replaced_only_with_their_picture(snapshots, run, tmp_path):
    ckpt = snapshots("stylegan2")
    assert run("morph", ckpt, 1, 2, "--out", "mo.png")[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done, out, err = run("morph", ckpt, 3, 4, "--out", "mo.webp")
    assert (done, out) == (2, [])
    assert "mo.npz and mo.safetensors hold the codes of mo.png: choose another name, or remove them." in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run("crossover", ckpt, 3, 4, "--out", "mo.png")[0] == 0  # the picture goes with its codes
    (tmp_path / "mo.safetensors").unlink()
    assert "not written with this picture" in run("morph", ckpt, 3, 4, "--out", "mo.png")[2]


def test_foreign_codes_on_a_users_word(snapshots, run, tmp_path):
    other = ganzoo.load(snapshots("adain"))
    latent_files.save(tmp_path / "other", other.styles([1]), latent_files.about(other))
    ckpt = snapshots("stylegan2")
    assert run("morph", ckpt, "other.safetensors", 1, "--out", "m.png", "--foreign")[0] == 0
    assert torch.equal(saved("m")[:1], other.styles([1]))
    walked = ["walk", str(ckpt), "--latents", "other.safetensors", "--latents", "m.safetensors", "--frames", "1"]
    assert main([*walked, "--out", "frames"]) == 1
    assert main([*walked, "--out", "frames", "--foreign"]) == 0
