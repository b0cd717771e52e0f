"""Encoders: trained on what a generator makes, of use for that generator only."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.errors import CheckpointError
from ganzoo.model import checkpoint
from ganzoo.recipe.node import component_from
from ganzoo.registry.lookup import registry
from ganzoo.runs import run
from ganzoo.runs.folder import RunOptions
from ganzoo_cli import main
from ganzoo_projection import search as project
from ganzoo_projection.search import Projection
from snapshots import family

MODELS = {
    "stylegan2": ["stylegan2-tiny"],
    "other": ["stylegan2-tiny", "generator.mapping.depth=1"],
    "progan": ["progan-tiny", "growth=null"],
    "conditional": ["stylegan2-tiny", "labels"],
    "rgba": ["stylegan2-tiny", "image.channels=4", "image.size=[16,8]"],
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("models"), MODELS)


def trained(generator: Path, outdir: Path, kimg: float = 0.032, **options: object) -> Path:
    """A run of an encoder's training; returns its directory."""
    raw = {
        "use": "encoder",
        "generator": str(generator),
        "width": 8,
        "blocks": 1,
        "perceptual": "pixel",
        "lambda_percept": 0.0,
        "dataset": {"use": "shapes", "count": 64},
        "training": {"kimg": kimg, "batch": 8, "lr": 3e-3, "tick_kimg": kimg / 2, "snapshot_ticks": 0},
        **options,
    }
    node = component_from("experiment", raw, registry())
    return run.train(node, RunOptions(name="encoder", outdir=outdir, device="cpu", workers=0))


@pytest.fixture(scope="module")
def encoder(snapshots, tmp_path_factory) -> Path:
    return trained(snapshots("stylegan2"), tmp_path_factory.mktemp("runs"), kimg=0.8)


def test_it_learns(snapshots, encoder):
    """Of images that it never saw, it finds codes whose images are nearer than the mean's."""
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    view, ws = project.freeze(model), model.styles(range(1000, 1016))
    target = model.render(ws)
    make = project.factory("encoder", {"weights": str(encoder), "perceptual": "pixel"})
    search = Projection(view, make(3), target)
    assert search.done  # no step of optimization
    mean = model.render(view.mean.expand(1, model.G.num_ws, -1))
    far = (target - mean).square().mean()
    assert (search.images() - target).square().mean() < 0.5 * far
    assert (search.codes() - ws).square().mean() < 0.8 * (view.mean - ws).square().mean()
    stats = [json.loads(line)["means"] for line in (encoder / "stats.jsonl").read_text().splitlines()]
    assert stats[-1]["loss/latent"] < 0.8 * stats[0]["loss/latent"]


def test_refined(snapshots, encoder):
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    target = model.images([5, 6])
    losses = []
    for steps in (0, 30):
        options = {"weights": str(encoder), "perceptual": "pixel", "steps": steps}
        search = Projection(project.freeze(model), project.factory("encoder", options)(3), target)
        while not search.done:
            search.advance()
        losses.append(float((search.images() - target).square().mean()))
    assert losses[1] < losses[0]


def test_it_says_whose_it_is(snapshots, encoder, tmp_path):
    """The snapshot holds the encoder alone, and the digest of its generator; no other generator takes it."""
    _, tensors = checkpoint.read(next(encoder.glob("snapshot-*.safetensors")))
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    assert {name.partition(".")[0] for name in tensors} == {"E"}
    assert bytes(tensors["E.digest"].tolist()).hex() == model.header.digest
    other = ganzoo.load(snapshots("other"), "cpu")
    projector = project.factory("encoder", {"weights": str(encoder), "perceptual": "pixel"})(3)
    with pytest.raises(CheckpointError, match="trained for another generator"):
        Projection(project.freeze(other), projector, torch.zeros(1, 3, 16, 16))
    with pytest.raises(CheckpointError, match="no snapshot of an encoder"):
        project.factory("encoder", {"weights": str(snapshots("other")), "perceptual": "pixel"})(3).begin(
            project.freeze(model), torch.zeros(1, 3, 16, 16)
        )
    with pytest.raises(CheckpointError, match="holds no generator"):
        ganzoo.load(next(encoder.glob("snapshot-*.safetensors")), "cpu")


@pytest.mark.parametrize("name", ["progan", "rgba"])
@pytest.mark.parametrize("space", ["w", "w+"])
def test_any_generator(snapshots, tmp_path, name, space):
    folder = trained(
        snapshots(name), tmp_path, space=space, lambda_real=1.0, perceptual="conv-random", lambda_percept=0.8
    )
    model = ganzoo.load(snapshots(name), "cpu")
    view, target = project.freeze(model), model.images([1, 2])
    options = {"weights": str(folder), "perceptual": "pixel", "space": space}
    search = Projection(view, project.factory("encoder", options)(model.G.shape.channels), target)
    assert search.variables["latent"].shape[1:] == view.latent_shape(model.G.num_ws if space == "w+" else 1)
    assert (folder / "fakes000000.032.png").exists()


def test_resumed_it_is_the_same(snapshots, tmp_path):
    whole = trained(snapshots("stylegan2"), tmp_path / "a")
    half = trained(snapshots("stylegan2"), tmp_path / "b", kimg=0.016)
    raw = json.loads(json.dumps(checkpoint.header(next(half.glob("state-*"))).recipe))
    raw["training"]["kimg"] = 0.032
    node = component_from("experiment", raw, registry())
    again = run.train(
        node, RunOptions(name="encoder", outdir=tmp_path / "b", device="cpu", workers=0, resume=str(half))
    )
    a, b = (checkpoint.read(max(f.glob("snapshot-*.safetensors")))[1] for f in (whole, again))
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_the_command(snapshots, encoder, capsys, tmp_path):
    image = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(image)
    command = ["project", str(snapshots("stylegan2")), str(image), "--method", "encoder", "--perceptual", "pixel"]
    command += ["--outdir", str(tmp_path / "out")]
    assert main([*command, "--set", f"weights={encoder}"]) == 0
    record = json.loads((tmp_path / "out" / "report.json").read_text())["images"][0]
    assert record["steps"] == 0
    capsys.readouterr()
    assert main(command) == 2
    assert "needs a trained one" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "w"), "--set", f"weights={encoder}", "--space", "w"]) == 2
    assert "choose --space w+" in capsys.readouterr().err


def test_it_compares_as_it_was_trained(snapshots, encoder, capsys, monkeypatch, tmp_path):
    """Without any file of weights but the encoder's; and that one is asked for first."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (16, 16), "red").save(tmp_path / "x.png")
    command = ["project", str(snapshots("stylegan2")), str(tmp_path / "x.png"), "--method", "encoder"]
    command += ["--outdir", str(tmp_path / "out")]
    assert main(command) == 2
    assert "needs a trained one" in capsys.readouterr().err
    assert main([*command, "--set", f"weights={encoder}"]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["perceptual"] == "pixel"
    assert found["images"][0]["perceptual"] == pytest.approx(found["images"][0]["mse"], rel=1e-5)


def test_trained_by_the_command(snapshots, capsys, tmp_path):
    """It says how to go on; and metrics are nothing that an encoder has."""
    recipe = tmp_path / "enc.yaml"
    recipe.write_text(
        f"use: encoder\ngenerator: {snapshots('stylegan2')}\nperceptual: pixel\nwidth: 8\nblocks: 1\n"
        "dataset: {use: shapes, count: 8}\ntraining: {kimg: 0.008, batch: 4}\n"
    )
    command = ["train", str(recipe), "--outdir", str(tmp_path / "runs"), "--device", "cpu", "--metrics"]
    assert main([*command, "swd"]) == 2
    assert "--metrics swd: a training of 'encoder' measures nothing" in capsys.readouterr().err
    assert main([*command, "none"]) == 0
    said = capsys.readouterr()
    step = f"gz project CKPT IMAGE --method encoder --set weights={said.out.strip()}"
    assert said.err.count("Next:") == 1 and step in said.err
