"""Metrics without weights are left out, sets are compared by whole images, and codes of other tools are read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from commands import gz as gz
from ganzoo.errors import CheckpointError, DataError
from ganzoo.evaluation import compare, evaluate
from ganzoo.extractors.vgg import VGG16, VGG19
from ganzoo.foreign import lpips, vgg
from ganzoo.foreign.published import Published
from ganzoo.interfaces import Shape
from ganzoo.model import latent_files
from ganzoo.recipe import datasets
from ganzoo.registry.lookup import registry
from ganzoo.training.loader import shuffled
from ganzoo_metrics import inception
from ganzoo_metrics.inception import Inception
from ganzoo_metrics.swd.swd import SWD
from snapshots import untrained
from weight_files import empty as empty


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("snapshots"), "stylegan2-tiny")


# --- metrics without weights -----------------------------------------------------------------------------------------


def test_metrics_without_weights_are_left_out(gz: Any, empty: Path, snapshot: Path):
    """The others have the values that they have when measured by themselves; the exit code is 1."""
    common = ("--data", "shapes", "--num", 16, "--json")
    whole = gz("metrics", "all", snapshot, "--metrics", "swd,msssim", *common)
    some = gz("metrics", "all", snapshot, "--metrics", "swd,fid50k_full,msssim,ppl", *common)
    assert (whole.code, some.code) == (0, 1)
    found, wanted = ({r["metric"]: r["results"] for r in json.loads(result.out)} for result in (some, whole))
    assert found == wanted
    for name, file in {"fid50k_full": inception.WEIGHTS.file, "ppl": vgg.FILES[16].file}.items():
        assert f"left out: {name}: " in some.err
        assert f"{file} is not in {empty}" in some.err
    assert "import" not in some.err


def test_nothing_is_left_to_measure(gz: Any, empty: Path, snapshot: Path):
    for command in (("all", snapshot, "--metrics", "fid,kid"), ("fid", snapshot)):
        result = gz("metrics", *command, "--data", "shapes", "--num", 16)
        assert (result.code, result.out) == (1, "")
        assert inception.WEIGHTS.file in result.err


def test_sets_are_compared_by_the_metrics_that_can_be_measured(gz: Any, empty: Path, tmp_path: Path):
    _write(tmp_path / "a", (32, 32), 0)
    result = gz("metrics", "compare", tmp_path / "a", "shapes", "--metrics", "fid,swd", "--num", 8, "--json")
    assert result.code == 1
    assert json.loads(result.out)["metric"] == "swd"
    assert "left out: fid: " in result.err


def test_a_training_is_refused_before_its_directory(gz: Any, empty: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    for names in ("swd,fid50k_full", "kid"):
        result = gz(
            "train", "stylegan2-tiny", "--data", "shapes", "--kimg", 0.016, "--metrics", names, "--outdir", runs
        )
        assert result.code == 1
        assert f"{inception.WEIGHTS.file} is not in {empty}" in result.err
        assert not runs.exists() or not list(runs.iterdir())


# --- published files -------------------------------------------------------------------------------------------------

FILES = [inception.WEIGHTS, vgg.FILES[16], vgg.FILES[19], lpips.LINEAR]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.file)
def test_the_cure_names_address_hash_size_and_licence(file: Published, empty: Path):
    with pytest.raises(CheckpointError) as caught:
        file.locate(None)
    said = str(caught.value)
    size = f"{file.size / 1e6:,.0f} MB" if file.size > 1e6 else f"{file.size:,} bytes"
    for part in (file.url, file.sha256, size, file.licence, str(empty / file.file)):
        assert part
        assert part in said
    assert "torchvision" not in said
    assert len(file.sha256) in (8, 64)
    if "-" in file.file and file is not lpips.LINEAR:
        assert Path(file.file).stem.rpartition("-")[2] == file.sha256[:8]  # its published name holds the beginning


@pytest.mark.parametrize(("name", "cls"), [("inception", Inception), ("vgg16", VGG16), ("vgg19", VGG19)])
def test_fetch_offline_says_what_it_would_fetch(gz: Any, empty: Path, name: str, cls: Any):
    result = gz("metrics", "fetch", name, "--offline")
    assert result.code == 1
    for line in cls.weight_files():
        assert line in result.err
    assert "nothing was fetched" in result.err
    assert not empty.exists()


def test_fetch_takes_only_the_published_bytes(empty: Path, tmp_path: Path):
    """By the whole hash, also where the first digits are right."""
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    file = replace(vgg.FILES[16], url=source.as_uri(), sha256=right)
    assert file.fetch(False, lambda *_: None).read_bytes() == b"weights"
    (empty / file.file).unlink()
    wrong = replace(file, sha256=right[:8] + "0" * 56)
    with pytest.raises(CheckpointError, match=f"has the sha256 {right[:16]}"):
        wrong.fetch(False, lambda *_: None)
    assert not (empty / file.file).exists()


# --- whole images ----------------------------------------------------------------------------------------------------


def _write(folder: Path, size: tuple[int, int], seed: int, number: int = 8) -> list[np.ndarray]:
    """Random images of a (height, width) whose ends are darker than their middle, so that cutting them off shows."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    pictures = []
    for i in range(number):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        pixels[:, : size[1] // 3] //= 1 + seed
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
        pictures.append(pixels)
    return pictures


def test_sets_that_are_not_square_are_compared_whole(gz: Any, tmp_path: Path):
    """The value is SWD's of the arrays themselves, not of their middle squares."""
    sets = {name: _write(tmp_path / name, (32, 96), seed) for seed, name in enumerate("ab")}
    result = gz("metrics", "compare", tmp_path / "a", tmp_path / "b", "--json")
    record = json.loads(result.out)
    assert (result.code, record["size"]) == (0, [32, 96])

    def value(size: tuple[int, int], left: int) -> float:
        metric = SWD(Shape((size,), 3), 0)
        evaluate.limit([metric], 8, 8)
        for name, which in (("b", "real"), ("a", "fake")):
            order = shuffled(datasets.open_set(str(tmp_path / name), size, 3, 0, registry()), 0)
            pixels = np.stack([sets[name][int(i)][:, left : left + size[1]] for i in order])
            metric.update(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), which)
        return metric.compute()["swd"]

    assert record["results"]["swd"] == pytest.approx(value((32, 96), 0), rel=1e-6)
    assert record["results"]["swd"] != pytest.approx(value((32, 32), 32), rel=0.05)
    assert "middle" not in result.err


def test_the_size_at_which_sets_are_compared():
    cases: list[tuple[set[tuple[int, int]], tuple[int, int], bool]] = [
        ({(32, 96)}, (32, 96), True),
        ({(32, 96), (64, 192)}, (32, 96), True),
        ({(64, 64), (48, 48)}, (48, 48), True),
        ({(96, 32), (32, 96)}, (32, 32), False),
        ({(32, 96), (64, 64)}, (32, 32), False),
        ({(1024, 512)}, (1024, 512), True),
    ]
    for sizes, wanted, whole in cases:
        assert compare.common_size(sizes) == wanted
        assert compare.are_whole(sizes, wanted) is whole


def test_what_is_not_compared_whole_is_said(gz: Any, snapshot: Path, tmp_path: Path):
    _write(tmp_path / "wide", (32, 96), 0)
    _write(tmp_path / "square", (40, 40), 1)
    for other, more in ((tmp_path / "square", ()), (snapshot, ("--num", 8)), ("shapes", ("--size", "32x32"))):
        result = gz("metrics", "compare", tmp_path / "wide", other, *more)
        assert result.code == 0
        assert f"warning: {tmp_path / 'wide'}: not all images have the proportions of" in result.err
        assert "square: not all" not in result.err


# --- codes of other tools --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(snapshot: Path) -> Any:
    return ganzoo.load(snapshot)


def _cases(model: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    layers, width = model.G.num_ws, model.G.w_mean.shape[0]
    several, w = torch.randn(3, layers, width), torch.randn(2, width)
    shared = w[:, None].expand(2, layers, width)
    return {
        "[N, L, W]": (several, several),
        "[1, N, L, W]": (several[None], several),
        "[N, 1, L, W]": (several[:, None], several),
        "[1, L, W]": (several[:1], several[:1]),
        "[1, 1, L, W]": (several[None, :1], several[:1]),
        "[L, W]": (several[0], several[:1]),
        "[N, W]": (w, shared),
        "[N, 1, W]": (w[:, None], shared),
        "[W]": (w[0], shared[:1]),
    }


@pytest.mark.parametrize("shape", ["[N, L, W]", "[1, N, L, W]", "[N, 1, L, W]", "[1, L, W]", "[1, 1, L, W]"])
def test_codes_of_layers_are_read_under_every_name(model: Any, tmp_path: Path, shape: str):
    given, wanted = _cases(model)[shape]
    for name in ("w", "ws", "dlatents", "latents"):
        np.savez(tmp_path / "codes.npz", **{name: given.numpy()})
        assert torch.equal(latent_files.read(tmp_path / "codes.npz", model), wanted)
    np.savez(tmp_path / "codes.npz", given.numpy())  # numpy names it arr_0
    np.save(tmp_path / "codes.npy", given.numpy().astype(np.float64))
    for file in ("codes.npz", "codes.npy"):
        assert torch.equal(latent_files.read(tmp_path / file, model), wanted)


@pytest.mark.parametrize("shape", ["[L, W]", "[N, W]", "[N, 1, W]", "[W]"])
def test_codes_without_an_axis(model: Any, tmp_path: Path, shape: str):
    given, wanted = _cases(model)[shape]
    for name in ("w", "ws", "dlatents"):
        np.savez(tmp_path / "codes.npz", **{name: given.numpy()})
        assert torch.equal(latent_files.stored(tmp_path / "codes.npz", model), wanted)


def test_latents_of_other_tools(model: Any, tmp_path: Path):
    z = torch.randn(3, model.G.z_dim)
    for given in (z, z[:, None], z[None]):
        np.savez(tmp_path / "z.npz", z=given.numpy())
        assert torch.equal(latent_files.stored(tmp_path / "z.npz", model), z)
    np.savez(tmp_path / "z.npz", latents=z.numpy())
    assert torch.equal(latent_files.stored(tmp_path / "z.npz", model, "z"), z)


def test_what_is_no_codes_is_refused_in_a_sentence(model: Any, tmp_path: Path):
    layers, width = model.G.num_ws, model.G.w_mean.shape[0]
    shapes = [(2, 2, layers, width), (3, layers + 1, width), (3, layers, width + 1), (1, 1, 1, layers, width), (2, 99)]
    for shape in shapes:
        for name in ("w", "dlatents", "latents"):
            np.savez(tmp_path / "bad.npz", **{name: np.zeros(shape, np.float32)})
            with pytest.raises(DataError) as caught:
                latent_files.read(tmp_path / "bad.npz", model)
            assert str(list(shape)) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_walk_and_an_edit_of_stored_codes(gz: Any, model: Any, snapshot: Path, tmp_path: Path):
    """Keyframes are the images of the codes."""
    given, wanted = _cases(model)["[1, N, L, W]"]
    np.savez(tmp_path / "walk.npz", dlatents=given.numpy())
    frames = tmp_path / "frames"
    result = gz("walk", snapshot, "--latents", tmp_path / "walk.npz", "--frames", 1, "--out", frames)
    assert result.code == 0
    images = [np.asarray(Image.open(file)) for file in sorted(frames.glob("*.png"))]
    pixels = [model.pixels(model.render(w[None]))[0].transpose(1, 2, 0) for w in wanted]
    assert len(images) == 3
    assert all(np.array_equal(one, other) for one, other in zip(images, pixels))
    np.save(tmp_path / "one.npy", given[0, 0].numpy())  # [L, W] is as many latents [K, Z], where Z is W
    np.savez(tmp_path / "one.npz", ws=given[0, 0].numpy())
    out = tmp_path / "morph.png"
    refused = gz("edit", "morph", snapshot, tmp_path / "one.npy", f"{tmp_path}/walk.npz:1", "--out", out)
    assert (refused.code, "may be latents or style codes" in refused.err) == (1, True)
    assert gz("edit", "morph", snapshot, tmp_path / "one.npz", f"{tmp_path}/walk.npz:1", "--out", out).code == 0
    assert out.exists()
    refused = gz("generate", snapshot, "--latents", tmp_path / "walk.npz")
    assert refused.code == 2
    assert "gz walk" in refused.err
