"""`gz import`: recorded checkpoints of other projects become snapshots that give the original outputs.

What a file must give is recorded beside it: the tensors that a converter has to recover bit for bit, and images, style
codes and logits of the reference on given inputs.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import ganzoo
from ganzoo import recipe
from ganzoo.errors import CheckpointError
from ganzoo.foreign import pickles, torchfile
from ganzoo.gan.gan import Gan
from ganzoo.model import checkpoint
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.node import parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry
from ganzoo_cli import main
from ganzoo_import import convert as importing
from ganzoo_import.formats import ada, names, rosinality
from recorded_checkpoint import recorded_checkpoint
from reference import EXACT, FORWARD, GOLDEN, assert_close, load

PICKLES = {"12_network-snapshot-000200.pkl": "12_snapshot-000200_expect"}
PICKLES |= {"12_network-snapshot-oldstyle.pkl": "12_snapshot-oldstyle_expect"}
CHECKPOINTS = {"04_rosinality_converted.pt": "converted", "04_rosinality_train_000123.pt": "train"}
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Import all recorded files by the command line: {file: snapshot}."""
    folder = tmp_path_factory.mktemp("import")
    out = {name: folder / f"{Path(name).stem}.safetensors" for name in (*PICKLES, *CHECKPOINTS)}
    for name, path in out.items():
        assert main(["import", str(GOLDEN / name), "--out", str(path)]) == 0
    return out


def networks(path: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Build the networks of a snapshot, and load its weights."""
    head, tensors = checkpoint.read(path)
    nets = {}
    for name in {key.partition(".")[0] for key in tensors}:
        gan: Gan = build_experiment(parse(Source(head.recipe), registry()))
        nets[name] = gan.D if name == "D" else gan.G
        checkpoint.load_weights(nets[name], tensors, name, path)
        nets[name].to(dtype).eval()
    return nets


# --- StyleGAN2 of NVlabs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICKLES)
def test_pickled_tensors_are_recovered_bit_by_bit(name, imported):
    """Each recorded tensor is in the snapshot under its new name; the resampling filters became an option."""
    expected = load(PICKLES[name], torch.float32)
    head, tensors = checkpoint.read(imported[name])
    for net in ("G", "D", "G_ema"):
        convert = ada.discriminator if net == "D" else ada.generator
        theirs = convert(expected.state(f"{net}/"), {})
        ours = {k.removeprefix(f"{net}."): v for k, v in tensors.items() if k.startswith(f"{net}.")}
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        kernels = [v for k, v in expected.state(f"{net}/").items() if k.endswith("resample_filter")]
        assert {names.taps_of(kernel) for kernel in kernels} == {(1.0, 3.0, 3.0, 1.0)}
    assert head.images == 0 and head.recipe["title"] == "StyleGAN2, imported"
    assert {"import", "dataset"} & head.versions.keys() == set()  # using it needs no importer


@PRECISIONS
@pytest.mark.parametrize("name", PICKLES)
def test_pickled_networks_compute_the_same(name, dtype, imported):
    expected = load(PICKLES[name], dtype)
    nets = networks(imported[name], dtype)
    label, real = (expected[key] if f"in/{key}" in expected.tensors else None for key in ("c", "img_c"))
    G, D = nets["G_ema"], nets["D"]
    with torch.no_grad():
        ws = G.styles(expected["z"], label)
        expected.check("ws", ws)
        with G.noise("const"), nets["G"].noise("const"):
            expected.check("G_ema_image", G.synthesize(ws)[-1])
            near = G.truncate(ws, expected.meta["truncation_psi"])
            expected.check("G_ema_image_psi", G.synthesize(near)[-1])
            expected.check("G_image", nets["G"](expected["z"], label)[-1])
        with G.noise("none"):
            expected.check("G_ema_image_nonoise", G.synthesize(ws)[-1])
        expected.check("D_logits", D((expected["img"],), real))


@pytest.mark.parametrize("name", PICKLES)
def test_every_tensor_of_a_pickle_is_accounted_for(name):
    done = importing.convert(GOLDEN / name)
    listed = [*done.converted.used, *done.converted.unused]
    assert (
        len(listed)
        == len(set(listed))
        == sum(1 for _ in torchfile.tensors(torchfile.read(GOLDEN / name, ada.ADA.globals)))
    )
    assert all("resample_filter" in key or key.startswith("augment_pipe.") for key in done.converted.unused)
    theirs = load(PICKLES[name], torch.float32).tensors
    assert {f"state/{key.replace('.', '/', 1)}" for key in listed} == {k for k in theirs if k.startswith("state/")}


def pickled(generator: dict[str, Any], kwargs: dict[str, Any], **fields: Any) -> Any:
    """Result of reading a pickle whose only network has these modules: {path: (fields, tensors)}."""

    def module(path: str) -> Any:
        contents = generator.get(path, {})
        inside = {p.removeprefix(f"{path}.".lstrip(".")).partition(".")[0] for p in below(path)}
        tensors = {k: v for k, v in contents.items() if isinstance(v, Tensor)}
        state = {k: v for k, v in contents.items() if not isinstance(v, Tensor)}
        state |= {
            "_parameters": tensors,
            "_buffers": {},
            "_modules": {n: module(f"{path}.{n}".lstrip(".")) for n in inside},
        }
        state |= {"_init_args": (), "_init_kwargs": kwargs if not path else {}} | (fields if not path else {})
        meta = {"type": "class", "version": 6, "module_src": "raise", "class_name": "x", "state": state}
        return pickles.Object(ada.PERSISTENT, (meta,))

    def below(path: str) -> list[str]:
        return [p for p in generator if p and (not path or p.startswith(f"{path}."))]

    return {"G_ema": module(""), "D": None, "G": None}


GENERATOR = {"z_dim": 4, "w_dim": 4, "c_dim": 0, "img_resolution": 8, "img_channels": 3}


@pytest.mark.parametrize(
    ("kwargs", "modules", "words"),
    [
        ({"synthesis_kwargs": {"activation": "swish"}}, {}, "activation='swish'"),
        ({"synthesis_kwargs": {"kernel_size": 5}}, {}, "kernel_size=5"),
        ({"synthesis_kwargs": {"wings": 2}}, {}, "wings=2"),
        ({"mapping_kwargs": {"wings": 2}}, {}, "wings=2"),
        ({"mapping_kwargs": {"num_layers": 10**9}}, {}, "layers"),
        ({}, {"synthesis.b8.conv0": {"activation": "relu"}}, "activation 'relu'"),
        ({}, {"synthesis.b8": {"architecture": "orig"}, "synthesis.b16": {"architecture": "skip"}}, "differ"),
        ({"img_resolution": 7}, {}, "cannot be built"),
        ({"img_resolution": 1 << 60}, {}, "cannot be built|does not fit"),
        ({"z_dim": "four"}, {}, "cannot be built"),
        ({}, {}, "lacks G_ema"),
    ],
)
def test_pickles_that_cannot_be_expressed(kwargs, modules, words, tmp_path, monkeypatch):
    network = {"synthesis.b4": {"const": torch.zeros(8, 4, 4)}, **modules}
    data = pickled(network, {**GENERATOR, **kwargs})
    monkeypatch.setattr(torchfile, "read", lambda path, allowed: data)
    with pytest.raises(CheckpointError, match=words) as caught:
        importing.convert(tmp_path / "x.pkl")
    assert str(caught.value).startswith(str(tmp_path)) and len(str(caught.value).splitlines()) == 1


def test_filters_become_taps():
    for taps in ((1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 1.0), (1.0,), (1.0, 4.0, 6.0, 4.0, 1.0), (-1.0, 5.0, 5.0, -1.0)):
        kernel = torch.outer(torch.tensor(taps), torch.tensor(taps))
        assert names.taps_of(kernel / kernel.sum()) == taps
        assert names.taps_of(kernel / kernel.sum() * 4) == taps  # gain of an upsampling
    odd = torch.rand(5, dtype=torch.float64) + 0.1
    assert torch.allclose(torch.tensor(names.taps_of(torch.outer(odd, odd)), dtype=torch.float64), odd / odd.sum())
    for bad in (
        torch.rand(3, 3),
        torch.zeros(4, 4),
        torch.rand(3, 4),
        torch.full((2, 2), float("nan")),
        torch.rand(2, 2, 2),
    ):
        with pytest.raises(CheckpointError):
            names.taps_of(bad)
    assert names.filter_of([torch.ones(2, 2)], "x") == {"resample_filter": [1.0, 1.0]}
    with pytest.raises(CheckpointError, match="differ"):
        names.filter_of([torch.ones(2, 2), torch.ones(3, 3)], "x")


# --- StyleGAN2 of rosinality -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_compute_the_same(name, imported):
    expected = load("04_rosinality_ckpt_expect", torch.float32)
    nets = networks(imported[name], torch.float32)
    with torch.no_grad():
        for ours, theirs in (("G_ema", "g_ema"), ("G", "g")):
            with nets[ours].noise("const"):
                expected.check(f"{theirs}/const/img", nets[ours](expected["z"])[-1])
        expected.check(f"d/logits_from_{CHECKPOINTS[name]}", nets["D"]((expected["img"],)))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_tensors_are_recovered_bit_by_bit(name, imported):
    """The snapshot holds exactly the numbers of the file's networks."""
    data, tensors = torchfile.read(GOLDEN / name), load_file(imported[name])
    for ours, theirs in (("G_ema", "g_ema"), ("G", "g"), ("D", "d")):
        source = {k: v for k, v in data[theirs].items() if not k.endswith(".kernel")}
        if ours != "D":
            source["mean"] = data.get("latent_avg", tensors[f"{ours}.w_mean"])
        given = sorted(v.numpy().tobytes() for v in source.values())
        assert given == sorted(v.numpy().tobytes() for k, v in tensors.items() if k.startswith(f"{ours}."))


@PRECISIONS
def test_rosinality_in_full(dtype):
    """Style codes, truncation, mixing, W+, given noise and logits match the recorded ones."""
    recorded, data = recorded_checkpoint(dtype)
    converted = rosinality.Rosinality().convert(data)
    gan: Gan = parse(Source(converted.recipe), registry()).bind()()
    gan.G.load_state_dict(converted.nets["G_ema"])
    gan.D.load_state_dict(converted.nets["D"])
    G, D = gan.G.to(dtype).eval(), gan.D.to(dtype).eval()

    def image(name: str, ws: Tensor) -> None:
        reference, exact = recorded.output(f"{name}/img")
        assert_close(G.synthesize(ws)[-1], reference, EXACT if exact else FORWARD, name)

    with torch.no_grad():
        ws, other = G.styles(recorded["z"]), G.styles(recorded["z2"])
        recorded.check("const/latent", ws)
        with G.noise("const"):
            image("const", ws)
            near = G.truncate(ws, 0.7)
            recorded.check("trunc0.7/latent", near)
            image("trunc0.7", near)
            image("mix", torch.cat([ws[:, :3], other[:, 3:]], dim=1))
            image("wplus", recorded["wplus"])
        maps = iter(sorted(k.removeprefix("in/") for k in recorded.tensors if k.startswith("in/noise/")))
        with G.drawing(lambda noise, x: recorded[next(maps)]):
            image("given_noise", ws)
        recorded.check("logits", D((recorded["img"],)))
        for n in (4, 2):
            recorded.check(f"logits_batch{n}", D((recorded["img"][:n],)))


def test_the_mean_style_is_estimated_where_the_file_has_none(imported):
    """10,000 latents of seed 0: the same at every import, and near the mean of other latents."""
    trained = networks(imported["04_rosinality_train_000123.pt"], torch.float32)
    G = trained["G_ema"]
    again = importing.convert(GOLDEN / "04_rosinality_train_000123.pt")
    assert torch.equal(again.converted.nets["G_ema"]["w_mean"], G.w_mean)
    with torch.no_grad():
        ws = G.map(torch.randn(20_000, G.z_dim, generator=torch.Generator().manual_seed(1)))
    assert (G.w_mean - ws.mean(dim=0)).abs().max() < 5 * ws.std(dim=0).max() / 10_000**0.5
    assert any("mean style code" in note for note in again.converted.notes)
    assert again.converted.recipe["generator"]["channels"] == [16, 16, 12, 8]


def test_only_one_generator(tmp_path, monkeypatch, capsys):
    """A converted file often holds g_ema alone: then the snapshot holds G_ema alone, and is valid."""
    _, data = recorded_checkpoint(torch.float32)
    monkeypatch.setattr(torchfile, "read", lambda path, allowed: {"g_ema": data["g_ema"]})
    monkeypatch.chdir(tmp_path)
    assert main(["import", "any.pt"]) == 0
    snapshot = tmp_path / "any.safetensors"
    _, tensors = checkpoint.read(snapshot)
    assert {key.partition(".")[0] for key in tensors} == {"G_ema"}
    assert torch.isfinite(ganzoo.load(snapshot).images([3])).all()
    capsys.readouterr()
    assert main(["ckpt", "verify", str(snapshot)]) == 0
    assert main(["ckpt", "info", str(snapshot)]) == 0
    assert "G_ema" in capsys.readouterr().out
    assert recipe.load(tmp_path / "any.yaml").dump() == checkpoint.header(snapshot).recipe


# --- the command -----------------------------------------------------------------------------------------------------


def test_what_import_prints_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = "12_network-snapshot-oldstyle"
    assert main(["import", str(GOLDEN / f"{file}.pkl")]) == 0
    out, err = capsys.readouterr()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{file}.safetensors", f"{file}.yaml"]
    for pattern in ("stylegan2-ada", "8,314", "8,596", "tensors matched +128"):
        assert re.search(pattern, out), out
    assert err.startswith("note: ")
    assert main(["import", str(GOLDEN / f"{file}.pkl")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["import", str(GOLDEN / f"{file}.pkl"), "--out", "b.safetensors", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters of G"] == 8314 and len(facts["unused"]) == facts["tensors left out"] == 29
    assert main(["generate", "b.safetensors", "--seeds", "0", "--class", "1"]) == 0


@pytest.mark.parametrize(
    ("code", "words", "args"),
    [
        (2, "no importer named 'stylegan'", ["--from", "stylegan"]),
        (1, "does not look like stylegan2-ada", ["--from", "stylegan2-ada"]),
        (2, "rosinality has no option 'lr_mu'", ["--set", "lr_mu=1"]),
        (2, "greater than 0", ["--set", "lr_mul=-1"]),
        (2, "write it as option=value", ["--set", "lr_mul"]),
        (2, "ends in .safetensors", ["--out", "x.pt"]),
        (2, "no folder", ["--out", "no/x.safetensors"]),
    ],
)
def test_wrong_use(code, words, args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(GOLDEN / "04_rosinality_converted.pt"), *args]) == code
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_options_of_a_format(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["--set", "lr_mul=0.02", "--set", "group=2", "--out", "x.safetensors"]
    assert main(["import", str(GOLDEN / "04_rosinality_converted.pt"), *args]) == 0
    tree = checkpoint.header(Path("x.safetensors")).recipe
    assert tree["generator"]["mapping"]["lr_mul"] == 0.02
    assert tree["discriminator"]["head"]["statistic"]["group"] == 2


def test_a_snapshot_of_ours_and_unknown_weights(tmp_path, imported, capsys):
    assert main(["import", str(imported["04_rosinality_converted.pt"])]) == 1
    assert "already" in capsys.readouterr().err
    shutil.copy(GOLDEN / "01_ada_G_clamp.safetensors", tmp_path / "x.safetensors")
    assert main(["import", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "y.safetensors")]) == 1
    assert "does not look like" in capsys.readouterr().err


def test_damaged_weights_are_not_kept(tmp_path, monkeypatch, capsys):
    _, data = recorded_checkpoint(torch.float32)
    data["g_ema"] = {**data["g_ema"], "input.input": torch.full((1, 16, 4, 4), float("nan"))}
    monkeypatch.setattr(torchfile, "read", lambda path, allowed: data)
    assert main(["import", "any.pt", "--out", str(tmp_path / "x.safetensors")]) == 1
    assert "not finite" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- a stranger's format ---------------------------------------------------------------------------------------------


def test_tolerances_are_those_of_the_golden_data():
    assert EXACT == 1e-9 and FORWARD == 5e-5
