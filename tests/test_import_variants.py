"""`gz import` of recorded checkpoints as others save them: other wrappers, precisions, missing buffers, other shapes.

Each variant is made of a recorded file; the imported generator must give the recorded images.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ganzoo
from ganzoo.foreign import torchfile
from ganzoo.foreign.pickles import Object
from ganzoo.model import checkpoint
from ganzoo.model.model import Model
from ganzoo_cli import main
from ganzoo_import.formats import ada
from recorded_checkpoint import recorded_checkpoint
from reference import GOLDEN, Recorded, load

State = dict[str, Tensor]
TRAINED = GOLDEN / "04_rosinality_train_000123.pt"


def imported(tmp_path: Path, content: Any, capsys: Any, *args: str) -> tuple[Model, dict[str, Any]]:
    """Save, import by the command line, and load: (model, report)."""
    file, out = tmp_path / "theirs.pt", tmp_path / "ours.safetensors"
    torch.save(content, file)
    code = main(["import", str(file), "--out", str(out), "--json", *args])
    said = capsys.readouterr()
    assert code == 0, said.err
    return ganzoo.load(out, "cpu"), json.loads(said.out)


def refused(tmp_path: Path, content: Any, capsys: Any) -> str:
    """Save, and import by the command line in vain: the only sentence, which begins with the file's path."""
    file = tmp_path / "theirs.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    assert main(["import", str(file), "--out", str(tmp_path / "ours.safetensors")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {file}") and len(err.splitlines()) == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]
    return str(err)


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


# --- wrappers of rosinality's files ----------------------------------------------------------------------------------

WRAPPED: dict[str, Any] = {
    "bare": lambda g_ema, g, d: g_ema,
    "bare-module": lambda g_ema, g, d: prefixed(g_ema, "module."),
    "g_ema": lambda g_ema, g, d: {"g_ema": g_ema},
    "g-only": lambda g_ema, g, d: {"g": g_ema, "d": d},
    "module-everywhere": lambda g_ema, g, d: {n: prefixed(s, "module.") for n, s in zip(NETS, (g_ema, g, d))},
    "module-on-one": lambda g_ema, g, d: {"g_ema": g_ema, "g": prefixed(g, "module."), "d": d},
    "module-on-ema": lambda g_ema, g, d: {"g_ema": prefixed(g_ema, "module."), "g": g, "d": d},
    "params_ema": lambda g_ema, g, d: {"params": g, "params_ema": g_ema},
    "state_dict": lambda g_ema, g, d: {"epoch": 3, "state_dict": {"g_ema": g_ema, "d": d}},
    "nested": lambda g_ema, g, d: {"a": {"model": {"g_ema": prefixed(g_ema, "module.module.")}}},
    "flat": lambda g_ema, g, d: {**prefixed(g, "g."), **prefixed(g_ema, "g_ema.module."), **prefixed(d, "d.")},
    "compiled": lambda g_ema, g, d: {"g_ema": prefixed(g_ema, "_orig_mod.")},
    "in-a-list": lambda g_ema, g, d: [{"g_ema": g_ema}, {"lr": 0.002}],
}
NETS = ("g_ema", "g", "d")
WITH_D = ("g-only", "module-everywhere", "module-on-one", "module-on-ema", "state_dict", "flat")


def rosinality_nets() -> tuple[State, State, State]:
    """Recorded state dicts of g_ema, g and d."""
    data = torchfile.read(TRAINED)
    return data["g_ema"], data["g"], data["d"]


def check_rosinality(model: Model, tolerance: float = 5e-5) -> None:
    """Compare with the recorded images of g_ema."""
    expected = load("04_rosinality_ckpt_expect", torch.float32)
    with torch.no_grad(), model.G.noise("const"):
        expected.check("g_ema/const/img", model.G(expected["z"])[-1], tolerance)


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_networks(name: str, tmp_path: Path, capsys: Any) -> None:
    """The smoothed generator is found wherever it lies, and every tensor of the file is accounted for."""
    content = WRAPPED[name](*rosinality_nets())
    model, report = imported(tmp_path, content, capsys)
    check_rosinality(model)
    total = sum(1 for _ in torchfile.tensors(torchfile.read(tmp_path / "theirs.pt")))
    assert report["format"] == "rosinality" and report["tensors matched"] + report["tensors left out"] == total
    assert ("D" in report["networks"].split(", ")) == (name in WITH_D)


def test_a_mean_style_code_beside_bare_weights(tmp_path: Path, capsys: Any) -> None:
    g_ema, _, _ = rosinality_nets()
    mean = torch.arange(float(len(g_ema["style.1.bias"])))
    for i, content in enumerate(({**g_ema, "latent_avg": mean}, {"x": {"g_ema": g_ema, "latent_avg": mean}})):
        folder = tmp_path / str(i)
        folder.mkdir()
        model, _ = imported(folder, content, capsys)
        assert torch.equal(model.G.w_mean, mean)


def test_more_generators_than_one(tmp_path: Path, capsys: Any) -> None:
    """Which one was taken is said."""
    g_ema, g, _ = rosinality_nets()
    model, report = imported(tmp_path, {"a": {"g_ema": g_ema}, "b": {"g_ema": g}}, capsys)
    check_rosinality(model)
    assert any("'b.g_ema' left out" in note for note in report["notes"])


# --- buffers that are younger than the file --------------------------------------------------------------------------


def test_published_files_lack_noise_maps(tmp_path: Path, capsys: Any) -> None:
    """The author's 550000.pt is older than `noises`: maps are drawn anew, and the rest is as recorded."""
    data = torchfile.read(GOLDEN / "04_rosinality_converted.pt")
    old = {n: {k: v for k, v in data[n].items() if not k.startswith("noises.")} for n in ("g_ema", "g")}
    model, report = imported(tmp_path, {**data, **old}, capsys)
    count = sum(key.startswith("noises.") for key in data["g_ema"])
    assert any(f"{2 * count} maps of noise" in note and "seed 0" in note for note in report["notes"])
    maps = {k: v for k, v in model.G.state_dict().items() if k.endswith("noise.const")}
    assert len(maps) == count and all(abs(float(m.std()) - 1) < 0.5 for m in maps.values())
    recorded, _ = recorded_checkpoint(torch.float32)
    drawn = iter(sorted(k.removeprefix("in/") for k in recorded.tensors if k.startswith("in/noise/")))
    with torch.no_grad(), model.G.drawing(lambda noise, x: recorded[next(drawn)]):
        recorded.check("given_noise/img", model.G(recorded["z"])[-1])
    again, _ = checkpoint.read(tmp_path / "ours.safetensors")
    assert again.recipe["generator"]["channels"] == [16, 16, 12, 8]


def test_genforce_without_buffers(tmp_path: Path, capsys: Any) -> None:
    """Without maps of noise and without a mean, images at full truncation and without noise are as before."""
    state = load("05_gf_stylegan_G", torch.float32).state()
    old = {k: v for k, v in state.items() if not k.endswith("apply_noise.noise") and k != "truncation.w_avg"}
    assert len(old) < len(state)
    images = []
    for i, content in enumerate((state, old)):
        folder = tmp_path / str(i)
        folder.mkdir()
        model, report = imported(folder, content, capsys)
        with torch.no_grad(), model.G.noise("none"):
            images.append(model.G(torch.ones(1, model.G.z_dim))[-1])
    assert torch.equal(*images)
    assert any("noise mode const" in note for note in report["notes"])
    assert any("mean style code" in note for note in report["notes"]) and bool(model.G.w_mean.any())


def test_parameters_are_never_made_anew(tmp_path: Path, capsys: Any) -> None:
    g_ema, _, _ = rosinality_nets()
    assert "lacks G_ema" in refused(tmp_path, {k: v for k, v in g_ema.items() if "noise.weight" not in k}, capsys)


# --- precisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype, tmp_path: Path, capsys: Any) -> None:
    """The snapshot holds exactly the file's numbers, in float32, and the report says so."""
    g_ema, _, _ = rosinality_nets()
    state = {key: tensor.to(dtype) for key, tensor in g_ema.items()}
    model, report = imported(tmp_path, {"g_ema": state}, capsys)
    source = sorted(v.float().numpy().tobytes() for k, v in state.items() if not k.endswith(".kernel"))
    ours = model.G.state_dict()
    assert source == sorted(v.numpy().tobytes() for k, v in ours.items() if k != "w_mean")
    assert any(f"{len(state)} in " in note and "without loss" in note for note in report["notes"])
    if dtype == torch.float64:
        check_rosinality(model)


def test_doubles_that_need_rounding(tmp_path: Path, capsys: Any) -> None:
    g_ema, _, _ = rosinality_nets()
    exact = {**g_ema, "input.input": g_ema["input.input"].double() * (1 + 2**-40)}
    model, report = imported(tmp_path, {"g_ema": exact}, capsys)
    assert any("1 of them hold" in note and "rounded to the nearest" in note for note in report["notes"])
    check_rosinality(model)


def test_weights_that_are_no_numbers_of_a_network(tmp_path: Path, capsys: Any) -> None:
    g_ema, _, _ = rosinality_nets()
    huge = {**g_ema, "input.input": g_ema["input.input"].double() + 1e300}
    assert "3.4e+38" in refused(tmp_path, {"g_ema": huge}, capsys)
    whole = {**g_ema, "input.input": g_ema["input.input"].to(torch.int8)}
    assert "int8" in refused(tmp_path, {"g_ema": whole}, capsys)


@pytest.mark.parametrize(
    "key", ["style.1.weight", "input.input", "convs.0.conv.weight", "to_rgb1.bias", "convs.0.conv.blur.kernel"]
)
def test_tensors_without_values(key: str, tmp_path: Path, capsys: Any) -> None:
    g_ema, _, d = rosinality_nets()
    message = refused(tmp_path, {"g_ema": {**g_ema, key: g_ema[key][..., :0]}, "d": d}, capsys)
    assert key in message and "no values" in message
    empty = refused(tmp_path, {"g_ema": {k: torch.zeros(0) for k in g_ema}}, capsys)
    assert "no values" in empty


# --- images that are not square --------------------------------------------------------------------------------------


def test_images_that_are_not_square(tmp_path: Path, capsys: Any) -> None:
    """A network of transposed kernels, constant and noise makes the transposed image: twice as high, twice as wide."""
    g_ema, _, _ = rosinality_nets()
    images = []
    for i, wide in enumerate((False, True)):
        state = {
            key: tensor[..., : tensor.shape[-1] // 2] if key == "input.input" or key.startswith("noises.") else tensor
            for key, tensor in g_ema.items()
        }
        if wide:
            state = {k: v.mT if v.ndim >= 4 else v for k, v in state.items()}
        folder = tmp_path / str(i)
        folder.mkdir()
        model, _ = imported(folder, {"g_ema": {k: v.contiguous() for k, v in state.items()}}, capsys)
        with torch.no_grad(), model.G.noise("const"):
            images.append(model.G(torch.ones(2, model.G.z_dim))[-1])
    assert images[0].shape == (2, 3, 32, 16) and images[1].shape == (2, 3, 16, 32)
    assert torch.allclose(images[0].mT, images[1], atol=1e-5)


# --- StyleGAN2 of NVlabs/stylegan3 -----------------------------------------------------------------------------------


def persistent(state: State, kwargs: dict[str, Any], top: bool = True) -> Object:
    """A module as NVlabs' persistence class pickles it, with the tensors of a state dict."""
    names = {key.partition(".")[0] for key in state if "." in key}
    below = {
        name: persistent({k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{name}.")}, {}, False)
        for name in names
    }
    fields: dict[str, Any] = {
        "_init_args": (),
        "_init_kwargs": kwargs,
        "_parameters": {key: tensor for key, tensor in state.items() if "." not in key},
        "_buffers": {},
        "_modules": below,
    }
    sizes = {key: kwargs[key] for key in ada.SIZES if key in kwargs} if top else {}
    return Object(ada.PERSISTENT, ({"type": "class", "class_name": "x", "state": {**fields, **sizes}},))


def stylegan3_arguments(file: Recorded) -> dict[str, Any]:
    """Arguments as NVlabs/stylegan3 gives them: those of the synthesis network are the generator's own."""
    kwargs = dict(file.meta["constructor_kwargs"])
    return {**kwargs, **kwargs.pop("synthesis_kwargs"), "fused_modconv_default": "inference_only", "num_fp16_res": 4}


@pytest.mark.parametrize("told", ["arguments", "shapes"])
@pytest.mark.parametrize(
    "name", ["01_ada_G_skip_cond", "01_ada_G_skip_uncond", "01_ada_G_clamp", "01_ada_G_resnet_cond"]
)
def test_pickles_of_stylegan3(name: str, told: str, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    """Channel base and maximum are the generator's own arguments there; without them, the tensors' shapes tell."""
    file = load(name, torch.float32)
    kwargs = stylegan3_arguments(file)
    if told == "shapes":
        kwargs = {key: value for key, value in kwargs.items() if key not in ("channel_base", "channel_max")}
    data = {"G_ema": persistent(file.state(), kwargs), "training_set_kwargs": {"resolution": 32}}
    monkeypatch.setattr(torchfile, "read", lambda path, allowed: data)
    out = tmp_path / "ours.safetensors"
    assert main(["import", "any.pkl", "--out", str(out)]) == 0
    model = ganzoo.load(out, "cpu")
    label = file["c"] if "in/c" in file.tensors else None
    with torch.no_grad(), model.G.noise("const"):
        file.check("const_psi1/img", model.G(file["z"], label)[-1])


@pytest.mark.parametrize("file", ["12_network-snapshot-000200.pkl", "12_network-snapshot-oldstyle.pkl"])
def test_whole_pickles_of_stylegan3(file: str, tmp_path: Path, monkeypatch: Any) -> None:
    """With classes and in half precision, with a discriminator: the same snapshot and recipe as before."""

    def moved(value: Any) -> Any:
        state = value.args[0]["state"]
        kwargs = dict(state["_init_kwargs"])
        kwargs |= kwargs.pop("synthesis_kwargs", {})
        return Object(value.name, ({**value.args[0], "state": {**state, "_init_kwargs": kwargs}},))

    data = torchfile.read(GOLDEN / file, frozenset({ada.PERSISTENT}))
    snapshots = []
    for i, content in enumerate((data, {**data, **{n: moved(data[n]) for n in ("G", "D", "G_ema")}})):
        monkeypatch.setattr(torchfile, "read", lambda path, allowed, content=content: content)
        out = tmp_path / f"{i}.safetensors"
        assert main(["import", "any.pkl", "--out", str(out)]) == 0
        snapshots.append(checkpoint.read(out)[0])
    assert snapshots[0].digest == snapshots[1].digest and snapshots[0].recipe == snapshots[1].recipe


# --- what a file leaves open -----------------------------------------------------------------------------------------


def test_options_of_the_recipe(tmp_path: Path, capsys: Any) -> None:
    content = {"g_ema": rosinality_nets()[0]}
    sets = ["--set", "regularizers.0.gamma=6.5", "--set", "loss=hinge", "--set", "group=2"]
    imported(tmp_path, content, capsys, *sets)
    recipe = checkpoint.header(tmp_path / "ours.safetensors").recipe
    assert recipe["regularizers"][0]["gamma"] == 6.5 and recipe["loss"]["use"] == "hinge"
    assert recipe["discriminator"]["head"]["statistic"]["group"] == 2
    file = str(tmp_path / "theirs.pt")
    bad = ["--out", str(tmp_path / "b.safetensors"), "--set", "regularizers.0.gamma=-1"]
    assert main(["import", file, *bad]) == 2
    assert "--set regularizers.0.gamma=-1" in capsys.readouterr().err
