"""Sampling: the same seed gives the same image everywhere; mixing, walking, and what cannot be."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import ganzoo
from ganzoo import checkpoint, film, images, walk
from ganzoo.errors import RecipeError, UsageError
from ganzoo.model import Model, latents
from ganzoo.rundir import require_same_recipe
from ganzoo.walk import Walk, slerp, spline
from ganzoo_cli import main, sample
from snapshots import family

MODELS = {
    "stylegan2": ("stylegan2-tiny",),
    "progan": ("progan-tiny",),
    "adain": ("stylegan2-tiny", "generator.synthesis.block.layer=adain"),
    "gray": ("stylegan2-tiny", "image.channels=1"),
    "rgba": ("stylegan2-tiny", "image.channels=4", "image.size=[8, 16]"),
    "two channels": ("stylegan2-tiny", "image.channels=2"),
    "growing": (
        "progan-tiny",
        "generator.synthesis.block.layer=modconv",
        "growth.train_kimg=1",
        "growth.fade_kimg=1",
    ),
    "conditional": ("stylegan2-tiny", "labels"),
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("sampling"), MODELS)


@pytest.fixture
def good(capsys):
    def run(*args: object) -> list[str]:
        capsys.readouterr()
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out.splitlines()

    return run


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with this exit code and one sentence that holds these words."""

    def run(code: int, words: list[object], *args: object) -> None:
        capsys.readouterr()
        assert main([str(a) for a in args]) == code
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert errors[0].endswith("."), errors[0]
        for word in words:
            assert str(word) in errors[0]

    return run


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def frames_of(path) -> tuple[list[np.ndarray], list[int]]:
    film, pixels, times = Image.open(path), [], []
    for i in range(film.n_frames):
        film.seek(i)
        pixels.append(np.asarray(film.convert("RGB")))
        times.append(film.info["duration"])
    return pixels, times


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
    """But for rounding: sums of a batch are taken in another order. Classes never share one."""
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
    monkeypatch.setattr("ganzoo.model.free_memory", lambda device: free)
    assert model.fitting() == 1
    finest = sum(4 * 16 * 16 * layer.weight.shape[0] for layer in model.G.synthesis.blocks[-1].layers)
    free = 2 * finest * 100 / 2**30
    found = model.fitting(10_000)
    assert 20 <= found <= 100
    model.images(range(8), at_once=8)
    assert model.fitting(10_000) == found
    assert model.fitting(7) == 7
    free *= 2
    assert abs(model.fitting(10_000) - 2 * found) <= 1


def test_fewer_at_once_where_memory_runs_out(snapshots, good, fails, tmp_path, monkeypatch, capsys):
    """Halved until it fits, which is said; no image is lost. One that does not fit is an error."""
    render, asked = Model.render, []

    def short(self, ws, *, at_once=1, **how):
        asked.append(at_once)
        if at_once > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return render(self, ws, at_once=at_once, **how)

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
    for given in ({"seeds": [7]}, {"at_once": 0}):
        with pytest.raises(UsageError, match="3 images"):
            model.render(ws, noise="random", **given)


@pytest.mark.parametrize("name, layer", [("progan", "conv"), ("adain", "adain")])
def test_a_checkpoint_that_names_a_retired_option_is_read(snapshots, good, tmp_path, name, layer):
    """Of a version whose layers had the option 'fused', which changed no image; resuming is not another recipe."""
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
    assert max(most) <= sample.WAITING + 3


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


# --- walk ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize("loop", [True, False])
def test_keyframes_are_the_seeds_images(snapshots, good, tmp_path, space, loop):
    ckpt = snapshots("stylegan2")
    how = ("--seeds", "3,1,4", "--trunc", 0.7, "--trunc-cutoff", 3)
    good("generate", ckpt, *how, "--outdir", tmp_path)
    flag = "--loop" if loop else "--no-loop"
    good("walk", ckpt, *how, "--frames", 4, "--space", space, flag, "--out", tmp_path / "frames")
    frames = sorted((tmp_path / "frames").iterdir())
    assert [f.name for f in frames] == [f"frame{i:04d}.png" for i in range(12 if loop else 9)]
    for i, seed in enumerate([3, 1, 4]):
        assert np.array_equal(read(frames[4 * i]), read(tmp_path / f"seed{seed:04d}.png"))
    assert len({f.read_bytes() for f in frames}) == len(frames)
    text = Image.open(frames[5]).text
    assert (text["space"], text["frame"], json.loads(text["seeds"])) == (space, "5", [3, 1, 4])


@pytest.mark.parametrize("name", ["conditional", "progan", "growing", "two channels", "rgba"])
def test_any_model_can_be_walked(snapshots, good, tmp_path, name):
    label = ("--class", 2) if name == "conditional" else ()
    good("generate", snapshots(name), "--seeds", 5, *label, "--outdir", tmp_path)
    good("walk", snapshots(name), "--seeds", "4,5", *label, "--frames", 2, "--out", tmp_path / "frames")
    keyframe = tmp_path / "frames" / "frame0002.png"
    assert np.array_equal(read(keyframe), read(tmp_path / "seed0005.png"))
    assert Image.open(keyframe).text["space"] == ("z" if name == "progan" else "w")


@pytest.mark.parametrize("space", ["z", "w"])
def test_a_walk_is_smooth_and_closes(snapshots, space):
    model = ganzoo.load(snapshots("stylegan2"))
    keys = walk.gathered(model, [latents(range(5), model.G.z_dim)], space)
    made = Walk(model, keys[None], frames=20)
    at = torch.stack([made.place(0, i).flatten() for i in range(len(made))])
    steps = (at - at.roll(1, dims=0)).norm(dim=1)  # the first is from the last frame to the first
    legs = (keys - keys.roll(1, dims=0)).flatten(1).norm(dim=1)
    assert len(made) == 100
    assert steps.max() < 2 * legs.max() / 20
    assert steps[0] < 2 * legs[0] / 20
    assert np.array_equal(made.frame(-1), made.frame(99))
    with pytest.raises(IndexError):
        made.frame(100)


def test_slerp_turns_by_equal_angles():
    a, b = torch.randn(2, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = b * 3
    whole = torch.cosine_similarity(a, b).acos()
    for t in (0.0, 0.25, 0.5, 1.0):
        c = slerp(a, b, t)
        assert torch.allclose(c.norm(), a.norm().lerp(b.norm(), t))
        assert torch.allclose(torch.cosine_similarity(a, c).clamp(-1, 1).acos(), t * whole, atol=1e-7)
    for other in (a, -a, a * 0):
        assert slerp(a, other, 0.5).isfinite().all()
    assert torch.allclose(slerp(a, 2 * a, 0.5), 1.5 * a)


def test_a_spline_meets_its_points_without_a_kink():
    p = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(spline(*p[:4], 0), p[1])
    assert torch.allclose(spline(*p[:4], 1), p[2])
    step = 1e-6
    before, after = p[2] - spline(*p[:4], 1 - step), spline(*p[1:5], step) - p[2]
    assert torch.allclose(before / step, after / step, atol=1e-4)
    line = torch.arange(4.0)[:, None]
    assert torch.allclose(spline(*line, 0.3), torch.tensor([1.3]))


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".mp4"])
@pytest.mark.parametrize("name", ["stylegan2", "rgba", "two channels"])
def test_films_have_their_frames_and_times(snapshots, good, tmp_path, suffix, name):
    if suffix == ".mp4":
        av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    out = tmp_path / "new" / f"walk{suffix}"
    printed = good("walk", snapshots(name), "--seeds", "0-2", "--frames", 5, "--fps", 24, "--out", out)
    assert printed == [str(out)]
    assert [f.name for f in out.parent.iterdir()] == [out.name]
    height, width = {"rgba": (8, 16), "two channels": (16, 32)}.get(name, (16, 16))
    if suffix == ".mp4":
        with av.open(str(out)) as file:
            stream = file.streams.video[0]
            assert (stream.height, stream.width, stream.average_rate) == (height, width, 24)
            assert sum(1 for _ in file.decode(video=0)) == 15
            assert json.loads(file.metadata["comment"])["seeds"] == [0, 1, 2]
        return
    frames, times = frames_of(out)
    assert [f.shape for f in frames] == [(height, width, 3)] * 15
    assert sum(times) == pytest.approx(15 * 1000 / 24, abs=5)
    first = Image.open(out)
    about = first.getexif()[0x010E] if suffix == ".webp" else first.info["comment"]
    assert json.loads(about)["seeds"] == [0, 1, 2]
    assert first.info["loop"] == 0


def test_a_film_shows_the_frames(snapshots, good, tmp_path):
    good("walk", snapshots("stylegan2"), "--seeds", "0-2", "--frames", 2, "--no-loop", "--out", tmp_path / "a.webp")
    good("walk", snapshots("stylegan2"), "--seeds", "0-2", "--frames", 2, "--no-loop", "--out", tmp_path / "a")
    pixels, _ = frames_of(tmp_path / "a.webp")
    exact = [read(f).astype(float) for f in sorted((tmp_path / "a").iterdir())]
    for i, shown in enumerate(pixels):  # lossy, but each is nearest to its own
        distances = [np.abs(shown - frame).mean() for frame in exact]
        assert int(np.argmin(distances)) == i


@pytest.mark.parametrize("suffix", [".webp", ".mp4", ""])
def test_a_long_film_does_not_fill_the_memory(tmp_path, suffix):
    if suffix == ".mp4":
        pytest.importorskip("av", reason="the extra 'video' is not installed")
    alive, most = weakref.WeakSet(), 0

    class Frame(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def frames():
        nonlocal most
        for i in range(40):
            frame = np.random.default_rng(i).integers(0, 256, (3, 17, 15), np.uint8).view(Frame)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    film.write(tmp_path / f"a{suffix}", frames(), 40, fps=30, loop=True, about={})
    assert most <= 4


def test_no_half_film_stays(tmp_path):
    def frames():
        yield np.zeros((3, 16, 16), np.uint8)
        raise KeyboardInterrupt

    for suffix in (".webp", ".gif"):
        with pytest.raises(KeyboardInterrupt):
            film.write(tmp_path / f"a{suffix}", frames(), 5, fps=30, loop=True, about={})
    assert not list(tmp_path.iterdir())


def test_times_do_not_drift():
    for fps in (1, 7, 24, 30, 50):
        for unit in (1, 10):
            assert sum(film.durations(1000, fps, unit)) == pytest.approx(1e6 / fps, abs=unit)


def test_several_walks_in_a_grid(snapshots, good, tmp_path):
    ckpt = snapshots("stylegan2")
    good("generate", ckpt, "--seeds", "0-5", "--outdir", tmp_path)
    seeds = [read(tmp_path / f"seed{i:04d}.png") for i in range(6)]
    good("walk", ckpt, "--seeds", "0-5", "--frames", 2, "--grid", "2x1", "--out", tmp_path / "dealt")
    good("walk", ckpt, "--seeds", "0-5", "--frames", 2, "--grid", "3x2", "--out", tmp_path / "all")
    dealt, everyone = sorted((tmp_path / "dealt").iterdir()), sorted((tmp_path / "all").iterdir())
    assert (len(dealt), len(everyone)) == (6, 12)
    for i in range(3):
        assert np.array_equal(read(dealt[2 * i]), np.concatenate([seeds[i], seeds[3 + i]], axis=1))
    for i in range(6):
        picture = read(everyone[2 * i])
        assert np.array_equal(picture[:16, :16], seeds[i])
        assert np.array_equal(picture[16:, 32:], seeds[(i + 5) % 6])


@pytest.mark.parametrize("kind", ["z.npz", "w.npz", "ws.safetensors", "z.safetensors", "codes.npy", "each.npz"])
def test_latents_from_a_file(snapshots, good, tmp_path, kind):
    ckpt, file = snapshots("stylegan2"), tmp_path / kind
    model, seeds = ganzoo.load(ckpt), [3, 1]
    z, ws = latents(seeds, model.G.z_dim).numpy(), model.styles(seeds).numpy()
    arrays = {"z": z, "w": ws[:, 0], "ws": ws, "codes": ws, "each": ws[:, :1]}[file.stem]
    if file.suffix == ".npy":
        np.save(file, arrays)
    else:
        given = {"w" if file.stem == "each" else file.stem: np.ascontiguousarray(arrays)}
        save_file(given, file) if file.suffix == ".safetensors" else np.savez(file, **given)
    good("walk", ckpt, "--latents", file, "--frames", 2, "--trunc", 0.5, "--out", tmp_path / "a")
    good("walk", ckpt, "--seeds", "3,1", "--frames", 2, "--trunc", 0.5, "--out", tmp_path / "b")
    for a, b in zip(sorted((tmp_path / "a").iterdir()), sorted((tmp_path / "b").iterdir())):
        assert np.array_equal(read(a), read(b))


def test_latents_from_several_files(snapshots, good, tmp_path):
    ckpt = snapshots("stylegan2")
    model = ganzoo.load(ckpt)
    np.savez(tmp_path / "a.npz", w=model.styles([3]).numpy())
    np.savez(tmp_path / "b.npz", z=latents([1], 8).numpy())
    files = ("--latents", tmp_path / "a.npz", "--latents", tmp_path / "b.npz")
    good("walk", ckpt, *files, "--frames", 1, "--out", tmp_path / "out")
    for path, seed in zip(sorted((tmp_path / "out").iterdir()), (3, 1)):
        assert np.array_equal(read(path), np.asarray(model.sample([seed])[0]))


# --- what cannot be --------------------------------------------------------------------------------------------------

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


def test_a_run_directory_is_no_checkpoint(fails, snapshots, tmp_path):
    fails(1, [tmp_path, "is a folder", "none"], "generate", tmp_path)
    for number in (1, 2):
        (tmp_path / f"snapshot-00000{number}.safetensors").write_bytes(snapshots("stylegan2").read_bytes())
    newest = tmp_path / "snapshot-000002.safetensors"
    for command in (["generate"], ["walk"], ["mix", "--rows", "1", "--cols", "2"], ["metrics", "swd"]):
        fails(1, ["is a folder", newest], *command, tmp_path)
    fails(1, ["is a folder", newest], "export", tmp_path, "--format", "state-dict")


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
