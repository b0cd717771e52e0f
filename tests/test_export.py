"""Networks for other programs: plain weights that load, and ONNX that draws what torch draws."""

import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import ganzoo
from ganzoo.model import checkpoint
from ganzoo.training.seeds import latents
from ganzoo_cli import main
from ganzoo_export import export
from sampling import fails as fails
from sampling import good as good
from snapshots import family, untrained

SMALL = ("image.size=8", "generator.mapping.depth=1")
MODELS = {
    "stylegan2": ("stylegan2-tiny", *SMALL),
    "residual": ("stylegan2-tiny", *SMALL, "generator.synthesis.block={use: residual, layer: modconv}"),
    "adain": ("stylegan2-tiny", *SMALL, "generator.synthesis.block.layer=adain"),
    "growing": ("progan-tiny", "growth.train_kimg=1", "growth.fade_kimg=1"),
    "conditional": ("stylegan2-tiny", *SMALL, "image.channels=1", "labels"),
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("export"), MODELS)


@pytest.fixture(scope="module")
def runtime():
    for package in export.NEEDED:
        pytest.importorskip(package, reason=f"{package} of the extra 'onnx' is not installed")
    return pytest.importorskip("onnxruntime")


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["G_ema", "G", "D"])
def test_weights_load_into_a_rebuilt_network(snapshots, good, tmp_path, net):
    ckpt, out = snapshots("stylegan2"), tmp_path / "new" / "weights.safetensors"
    assert good("export", ckpt, "--format", "state-dict", "--net", net, "--out", out) == [str(out)]
    weights, (_, tensors) = load_file(out), checkpoint.read(ckpt)
    assert weights.keys() == {k.removeprefix(f"{net}.") for k in tensors if k.startswith(f"{net}.")}
    module = export.rebuild(ckpt, net)
    for parameter in module.parameters():
        parameter.data.zero_()
    module.load_state_dict(weights)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[f"{net}.{name}"])
    with safe_open(out, framework="pt") as file:
        assert file.metadata().keys() == {"format", "note"}


def test_the_printed_line_loads_the_weights(snapshots, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(snapshots("stylegan2")), "--format", "state_dict"]) == 0
    captured = capsys.readouterr()
    (file,) = tmp_path.iterdir()
    assert captured.out == f"{file.name}\n"
    lines = [line.strip() for line in captured.err.splitlines() if line.startswith("  ")]
    scope: dict[str, object] = {}
    exec("\n".join(lines), scope)
    wanted = ganzoo.load(snapshots("stylegan2"), "cpu").G.state_dict()
    assert all(torch.equal(t, wanted[name]) for name, t in scope["net"].state_dict().items())


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_onnx_draws_what_torch_draws(runtime, snapshots, tmp_path, capsys, name):
    ckpt, out = snapshots(name), tmp_path / "g.onnx"
    assert (
        main(["export", str(ckpt), "--format", "onnx", "--trunc", "0.6", "--trunc-cutoff", "2", "--out", str(out)]) == 0
    )
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    said = re.search(r"largest difference ([\d.e+-]+) in", captured.err)
    assert said and float(said[1]) < 1e-3
    session, model = runtime.InferenceSession(str(out)), ganzoo.load(ckpt, "cpu")
    for seeds in ([7], [1, 2, 3, 4], [5, 6]):
        inputs, label = {"z": latents(seeds, model.G.z_dim).numpy()}, None
        if name == "conditional":
            inputs["label"], label = np.eye(3, dtype=np.float32)[[2] * len(seeds)], 2
        (image,) = session.run(["image"], inputs)
        wanted = model.images(seeds, psi=0.6, cutoff=2, label=label).numpy()
        assert image.shape == wanted.shape
        assert np.abs(image - wanted).max() < 1e-3
        assert np.abs(image - model.images(seeds, label=label).numpy()).max() > 1e-2
    about = session.get_modelmeta().custom_metadata_map
    assert (about["ganzoo"], json.loads(about["psi"]), json.loads(about["cutoff"])) == (ganzoo.__version__, 0.6, 2)
    assert str(export.__file__).encode() not in out.read_bytes()


def test_constant_maps_stay_what_they_are(runtime, tmp_path):
    """The eps of a normalisation is in the graph: without it the learned input, which begins as ones, gives NaN."""
    ckpt = untrained(tmp_path, "stylegan2-tiny", *SMALL, "generator.synthesis.stem=adain")
    head, tensors = checkpoint.read(ckpt)
    begun = {name: t * 0 if name.endswith(("strength", "bias")) else t for name, t in tensors.items()}
    checkpoint.write(ckpt, begun, head)
    assert export.onnx(ganzoo.load(ckpt, "cpu"), tmp_path / "g.onnx", psi=0.7) < 1e-4


def test_a_generator_that_grows_is_noted(runtime, snapshots, tmp_path, capsys):
    said = "still growing at 8x8 of "
    assert main(["export", str(snapshots("growing")), "--format", "onnx", "--out", str(tmp_path / "g.onnx")]) == 0
    assert said in capsys.readouterr().err
    for name in ("growing", "stylegan2"):
        out = tmp_path / f"{name}.safetensors"
        assert main(["export", str(snapshots(name)), "--format", "state-dict", "--out", str(out)]) == 0
        assert (said in capsys.readouterr().err) == (name == "growing")


def test_an_interrupt_that_falls_into_an_import(runtime, snapshots, tmp_path, capsys, monkeypatch):
    """torch's exporter then raises an error of its own, which must not be told as the generator's fault."""

    def export_(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            try:
                raise AttributeError("module torch._dynamo has no attribute 'exc'")
            except AttributeError as err:
                raise torch.onnx.errors.OnnxExporterError from err

    monkeypatch.setattr(torch.onnx, "export", export_)
    ckpt, out = snapshots("stylegan2"), tmp_path / "g.onnx"
    assert main(["export", str(ckpt), "--format", "onnx", "--out", str(out)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted: nothing was written."
    assert not list(tmp_path.iterdir())


def test_exporting_leaves_the_model_as_it_was(runtime, snapshots, tmp_path):
    """Tensors cached while a graph is traced must not be used afterwards."""
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    export.onnx(model, tmp_path / "a.onnx")
    again = ganzoo.load(snapshots("stylegan2"), "cpu")
    assert torch.equal(model.images([3]), again.images([3]))


def test_a_graph_that_draws_something_else_is_not_kept(runtime, fails, snapshots, tmp_path, monkeypatch):
    session = runtime.InferenceSession

    def apart(worst, *args, **kwargs):
        """A session whose images are all off by a number."""
        run = session(*args, **kwargs).run
        return SimpleNamespace(run=lambda *names: [image + np.float32(worst) for image in run(*names)])

    for worst in (0.5, float("nan")):
        monkeypatch.setattr(runtime, "InferenceSession", partial(apart, worst))
        fails(1, ["g.onnx", str(worst)], "export", snapshots("adain"), "--format", "onnx", "--out", tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


# --- what cannot be --------------------------------------------------------------------------------------------------

BAD = {
    "no format": ([], ["--format"]),
    "format": (["--format", "tflite"], ["--format", "tflite"]),
    "net": (["--format", "state-dict", "--net", "E"], ["--net", "'E'"]),
    "suffix": (["--format", "state-dict", "--out", "a.pt"], ["a.pt", ".safetensors"]),
    "suffix of onnx": (["--format", "onnx", "--out", "a.safetensors"], ["a.safetensors", ".onnx"]),
    "onnx of D": (["--format", "onnx", "--net", "D"], ["--net D", "G_ema"]),
    "truncated weights": (["--format", "state-dict", "--trunc", "0.7"], ["--trunc"]),
    "trunc": (["--format", "onnx", "--trunc", "nan"], ["nan"]),
    "trunc too large": (["--format", "onnx", "--trunc", "1e30"], ["1e+30", "-10 to 10"]),
    "cutoff": (["--format", "onnx", "--trunc-cutoff", "99"], ["99"]),
}


@pytest.mark.parametrize("args, words", BAD.values(), ids=BAD)
def test_a_flag_that_cannot_be(fails, snapshots, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    fails(2, words, "export", snapshots("stylegan2"), *args)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_not_written_over(fails, snapshots, tmp_path):
    ckpt = snapshots("stylegan2")
    before = ckpt.read_bytes()
    fails(2, ["itself"], "export", ckpt, "--format", "state-dict", "--out", ckpt)
    (tmp_path / "file").write_text("")
    for format_, name in (("state-dict", "a.safetensors"), ("onnx", "a.onnx")):
        fails(2, ["file", "choose a folder"], "export", ckpt, "--format", format_, "--out", tmp_path / "file" / name)
    (tmp_path / "a.safetensors").mkdir()
    words = ["is a folder", tmp_path / "a.safetensors" / "G_ema.safetensors"]
    fails(2, words, "export", ckpt, "--format", "state-dict", "--out", tmp_path / "a.safetensors")
    fails(1, ["is a folder", ckpt.parent], "export", ckpt.parent, "--format", "state-dict")
    fails(1, ["gone.safetensors"], "export", tmp_path / "gone.safetensors", "--format", "state-dict")
    assert ckpt.read_bytes() == before


def test_a_missing_extra_is_named(fails, snapshots, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    words = ["onnxscript", "pip install 'ganzoo[onnx]'"]
    fails(2, words, "export", snapshots("stylegan2"), "--format", "onnx", "--out", tmp_path / "a.onnx")
