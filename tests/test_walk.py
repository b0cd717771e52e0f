"""Walks: keyframes, films, and latents from files."""

import json
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import ganzoo
from ganzoo.io import film
from ganzoo.training.seeds import latents
from ganzoo_editing import latent_walk
from ganzoo_editing.latent_walk import Walk, slerp, spline
from sampling import good as good
from sampling import read
from sampling import snapshots as snapshots


def frames_of(path) -> tuple[list[np.ndarray], list[int]]:
    film, pixels, times = Image.open(path), [], []
    for i in range(film.n_frames):
        film.seek(i)
        pixels.append(np.asarray(film.convert("RGB")))
        times.append(film.info["duration"])
    return pixels, times


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
    keys = latent_walk.keyframes(model, [latents(range(5), model.G.z_dim)], space)
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
