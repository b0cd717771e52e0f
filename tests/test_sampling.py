"""Sampling: the same seed gives the same image everywhere; grids and mixing."""

import errno
import json
import os
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.errors import RecipeError, UsageError
from ganzoo.io import images
from ganzoo.model import checkpoint
from ganzoo.model.model import Model
from ganzoo.runs.folder import require_same_recipe
from ganzoo.training.seeds import latents
from ganzoo_cli.commands import generate
from sampling import MODELS, read
from sampling import fails as fails
from sampling import good as good
from sampling import snapshots as snapshots

# --- generate --------------------------------------------------------------------------------------------------------


def test_latents_are_those_of_the_stylegan_tools():
    """An odd length: the generator draws in pairs, and the rest of a pair must not reach the next seed."""
    seeds = [7, 0, 2**32 - 1, 7]
    expected = np.stack([np.random.RandomState(seed).randn(1, 63)[0] for seed in seeds])
    assert torch.equal(latents(seeds, 63), torch.from_numpy(expected).float())


@pytest.mark.parametrize("noise", ["const", "random", "none"])
@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_its_image_in_whatever_company(snapshots, name, noise):
    model = ganzoo.load(snapshots(name))
    how = {"psi": 0.7, "cutoff": 2, "label": 1 if name == "conditional" else None}
    together = model.images([3, 1, 4, 1], noise=noise, **how)
    for i, seed in enumerate([3, 1, 4, 1]):
        assert torch.equal(together[i : i + 1], model.images([seed], noise=noise, **how))
    ws = model.styles([9, 3, 1, 4], **how)
    assert torch.equal(model.render(ws[1:], noise=noise, seeds=[3, 1, 4]), together[:3])
    assert torch.equal(
        model.render(ws.repeat_interleave(2, dim=2)[1:, :, ::2], noise=noise, seeds=[3, 1, 4]), together[:3]
    )
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("batch", ["3", "auto"])
@pytest.mark.parametrize("name", ["conditional", "growing"])
def test_images_computed_at_once_are_those_computed_alone(snapshots, good, tmp_path, name, batch):
    """They differ by rounding only, as sums over a batch are taken in another order. Classes never share a batch."""
    flags = ["--seeds", "0-4", "--noise-mode", "random", *(["--class", "0-1"] if name == "conditional" else [])]
    for folder, own in (("alone", []), ("at once", ["--batch", batch])):
        good("generate", snapshots(name), *flags, *own, "--outdir", tmp_path / folder)
    files = sorted(file.name for file in (tmp_path / "alone").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "at once").iterdir())
    assert len(files) == (10 if name == "conditional" else 5)
    for file in files:
        alone, together = (read(tmp_path / folder / file).astype(int) for folder in ("alone", "at once"))
        assert abs(alone - together).max() <= 1


def test_as_many_at_once_as_half_the_free_memory_holds(snapshots, monkeypatch):
    """An image's maps are at least those of its finest layers; what was computed before changes nothing."""
    model, free = ganzoo.load(snapshots("stylegan2")), 0.0
    monkeypatch.setattr("ganzoo.model.model.free_memory", lambda device: free)
    assert model.largest_batch() == 1
    finest = sum(4 * 16 * 16 * layer.weight.shape[0] for layer in model.G.synthesis.blocks[-1].layers)
    free = 2 * finest * 100 / 2**30
    found = model.largest_batch(10_000)
    assert 20 <= found <= 100
    model.images(range(8), batch_size=8)
    assert model.largest_batch(10_000) == found
    assert model.largest_batch(7) == 7
    free *= 2
    assert abs(model.largest_batch(10_000) - 2 * found) <= 1


def test_fewer_at_once_where_memory_runs_out(snapshots, good, fails, tmp_path, monkeypatch, capsys):
    """Halved until it fits, which is said; no image is lost. One that does not fit is an error."""
    render, asked = Model.render, []

    def short(self, ws, *, batch_size=1, **how):
        asked.append(batch_size)
        if batch_size > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return render(self, ws, batch_size=batch_size, **how)

    monkeypatch.setattr(Model, "render", short)
    most = 2
    good("generate", snapshots("stylegan2"), "--seeds", "0-6", "--batch", "5", "--outdir", tmp_path)
    assert asked == [5, 3, 2, 2, 2, 2]
    assert len(list(tmp_path.iterdir())) == 7
    most = 0
    fails(1, ["out of memory"], "generate", snapshots("stylegan2"), "--seeds", "0-1", "--outdir", tmp_path)


def test_seeds_are_one_for_each_image(snapshots):
    model = ganzoo.load(snapshots("stylegan2"))
    ws = model.styles([1, 2, 3])
    for given in ({"seeds": [7]}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="3 images"):
            model.render(ws, noise="random", **given)


@pytest.mark.parametrize("name, layer", [("progan", "conv"), ("adain", "adain")])
def test_a_checkpoint_that_names_a_retired_option_is_read(snapshots, good, tmp_path, name, layer):
    """Layers once had the option 'fused', which changed no image; resuming such a run is not another recipe."""
    head, tensors = checkpoint.read(snapshots(name))
    recipe = json.loads(json.dumps(head.recipe))
    own = recipe["generator"]["synthesis"]["block"]["layer"]
    assert own["use"] == layer and "fused" not in own
    own["fused"] = False
    old, new = tmp_path / "old.safetensors", ganzoo.load(snapshots(name))
    checkpoint.write(old, tensors, replace(head, recipe=recipe))
    assert torch.equal(ganzoo.load(old).images([3]), new.images([3]))
    require_same_recipe(replace(head, recipe=recipe), head.recipe, old)
    own["fuse"] = False
    with pytest.raises(RecipeError, match="no option 'fuse'"):
        require_same_recipe(replace(head, recipe=recipe), head.recipe, old)


def test_grid_and_files_hold_the_same_images(snapshots, good, tmp_path):
    good("generate", snapshots("stylegan2"), "--seeds", "5-8", "--outdir", tmp_path)
    good("generate", snapshots("stylegan2"), "--seeds", "7,5,8", "--grid", "2x2", "--outdir", tmp_path)
    picture = read(tmp_path / "grid.png")
    assert np.array_equal(picture[:16, :16], read(tmp_path / "seed0007.png"))
    assert np.array_equal(picture[:16, 16:], read(tmp_path / "seed0005.png"))
    assert np.array_equal(picture[16:, :16], read(tmp_path / "seed0008.png"))
    assert (picture[16:, 16:] == 255).all()


@pytest.mark.parametrize(
    "name, size", [("growing", (8, 8)), ("two channels", (32, 16)), ("rgba", (16, 8)), ("gray", (16, 16))]
)
def test_any_channels_and_a_model_that_grows(snapshots, good, tmp_path, name, size):
    good("generate", snapshots(name), "--seeds", 3, "--outdir", tmp_path)
    assert Image.open(tmp_path / "seed0003.png").size == size
    if name == "two channels":
        assert np.load(tmp_path / "seed0003.npy").shape == (2, 16, 16)


def test_a_grid_of_classes(snapshots, good, tmp_path):
    ckpt = snapshots("conditional")
    files = good("generate", ckpt, "--class", "0,2", "--seeds", "4,5", "--outdir", tmp_path)
    assert [f.rpartition("/")[2] for f in files] == [f"seed000{s}-class{c}.png" for c in (0, 2) for s in (4, 5)]
    good("generate", ckpt, "--class", "0,2", "--grid", "2x2", "--seeds", "4,5", "--outdir", tmp_path)
    picture = Image.open(tmp_path / "grid.png")
    assert (json.loads(picture.text["label"]), json.loads(picture.text["seeds"])) == ([0, 2], [4, 5])
    good("generate", ckpt, "--class", "2", "--seeds", "5", "--outdir", tmp_path)
    alone = read(tmp_path / "seed0005.png")
    assert np.array_equal(alone, np.asarray(picture)[16:, 16:])
    assert np.array_equal(alone, read(tmp_path / "seed0005-class2.png"))
    assert not np.array_equal(alone, read(tmp_path / "seed0005-class0.png"))


def test_files_are_written_beside_and_told_in_order(snapshots, good, tmp_path, monkeypatch):
    """The first picture takes longest to write; a seed that is named twice is written twice."""
    ckpt, save, begun = snapshots("stylegan2"), images.save, []

    def slow(image, path, metadata=None):
        begun.append(path.name)
        time.sleep(0.2 if path.name == "seed0009.png" and len(begun) == 1 else 0)
        save(image, path, metadata)

    monkeypatch.setattr(images, "save", slow)
    wanted = [9, 2, 9, 4, 4, *range(10, 40)]
    printed = good("generate", ckpt, "--seeds", ",".join(map(str, wanted)), "--outdir", tmp_path)
    assert printed == [str(tmp_path / f"seed{seed:04d}.png") for seed in wanted]
    assert len(begun) == len(wanted)
    model = ganzoo.load(ckpt)
    about = model.about() | {"psi": 1.0, "noise": "const"}
    for seed in (9, 4, 39):
        save(model.pixels(model.images([seed]))[0], tmp_path / "alone.png", about | {"seed": seed})
        assert (tmp_path / f"seed{seed:04d}.png").read_bytes() == (tmp_path / "alone.png").read_bytes()


def test_pictures_that_wait_to_be_written_do_not_fill_the_memory(snapshots, good, tmp_path, monkeypatch):
    begun, most, alive = threading.Event(), [], weakref.WeakSet()

    class Kept(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def pixels(self, made):
        kept = np.zeros((1, 3, 4, 4), np.uint8).view(Kept)
        alive.add(kept)
        most.append(len(alive))
        if len(most) == 3:
            begun.set()
        return kept

    def slow(image, path, metadata=None):
        begun.wait(5)  # at first nothing is written, then little
        time.sleep(0.002)

    monkeypatch.setattr(Model, "pixels", pixels)
    monkeypatch.setattr(images, "save", slow)
    good("generate", snapshots("stylegan2"), "--seeds", "0-99", "--outdir", tmp_path)
    assert len(most) == 100
    assert max(most) <= generate.WAITING + 3


@pytest.mark.parametrize("last", [3, 90])
def test_a_picture_that_cannot_be_written(fails, snapshots, tmp_path, monkeypatch, capsys, last):
    """As where the disk is full: the error is that of the first that failed, also where it was the last one."""
    save = images.save

    def full(image, path, metadata=None):
        if path.name >= "seed0003.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(image, path, metadata)

    monkeypatch.setattr(images, "save", full)
    words = [f"{tmp_path / 'seed0003.png'}: No space left on device."]
    fails(1, words, "generate", snapshots("stylegan2"), "--seeds", f"0-{last}", "--outdir", tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == [f"seed000{i}.png" for i in range(3)]


# --- mix -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stylegan2", "growing"])
def test_mixing_none_or_all_gives_the_row_or_the_column(snapshots, name):
    model = ganzoo.load(snapshots(name))
    row, col = model.images([85], psi=0.8), model.images([55], psi=0.8)
    assert torch.equal(model.mix(85, 55, [], psi=0.8), row)
    assert torch.equal(model.mix(85, 55, range(model.G.num_ws), psi=0.8), col)
    assert torch.equal(model.mix(85, 55, model.styled, psi=0.8), col)
    some, rest = model.styled[:2], [i for i in range(model.G.num_ws) if i not in model.styled[:2]]
    mixed = model.mix(85, 55, some, psi=0.8)
    assert torch.equal(mixed, model.mix(55, 85, rest, psi=0.8))
    assert not torch.equal(mixed, row)
    assert not torch.equal(mixed, col)


def test_the_grid_of_a_mix(snapshots, good, tmp_path):
    ckpt = snapshots("stylegan2")
    files = good("mix", ckpt, "--rows", "85,100", "--cols", "55,821,85", "--trunc", 0.8, "--outdir", tmp_path)
    names = {f.rpartition("/")[2] for f in files}
    assert {"grid.png", "85-55.png", "100-821.png", "55-55.png"} <= names
    picture, model = Image.open(tmp_path / "grid.png"), ganzoo.load(ckpt)
    assert json.loads(picture.text["styles"]) == [0, 1, 2]  # the coarser half of six
    assert (json.loads(picture.text["rows"]), json.loads(picture.text["cols"])) == ([85, 100], [55, 821, 85])
    tiles = np.asarray(picture).reshape(3, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4)
    assert (tiles[0, 0] == 255).all()
    for j, col in enumerate((55, 821, 85), 1):
        assert np.array_equal(tiles[0, j], np.asarray(model.sample([col], psi=0.8)[0]))
        for i, row in enumerate((85, 100), 1):
            assert np.array_equal(tiles[i, 0], np.asarray(model.sample([row], psi=0.8)[0]))
            cell = model.pixels(model.mix(row, col, [0, 1, 2], psi=0.8))[0].transpose(1, 2, 0)
            assert np.array_equal(tiles[i, j], cell)
            assert np.array_equal(cell, read(tmp_path / f"{row}-{col}.png"))


def test_layers_that_images_depend_on(snapshots):
    assert ganzoo.load(snapshots("stylegan2")).styled == tuple(range(6))
    assert ganzoo.load(snapshots("progan")).styled == (0,)
    growing = ganzoo.load(snapshots("growing"))
    assert growing.G.num_ws > len(growing.styled) == growing.styled[-1] + 1 > 1
