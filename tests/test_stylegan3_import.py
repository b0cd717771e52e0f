"""`gz import` of StyleGAN3's network pickles: written here as the reference's persistence class writes them."""

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import ganzoo
from alias_free import NETWORKS
from ganzoo.errors import CheckpointError
from ganzoo.model import checkpoint
from ganzoo_cli import main
from ganzoo_import import convert
from reference import load

CANARY = "raise RuntimeError('module source was run')"


class Persistent:
    """A module, pickled as a call of the reference's function with its source text and attributes."""

    def __init__(self, name: str, rebuild: Callable[..., Any]) -> None:
        self.meta: dict[str, Any] = {"type": "class", "version": 6, "module_src": CANARY, "class_name": name}
        self.meta["state"] = {"_parameters": {}, "_buffers": {}, "_modules": {}, "training": False}
        self.rebuild = rebuild

    def __reduce__(self) -> Any:
        return self.rebuild, (self.meta,)


@pytest.fixture
def rebuild(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The function that pickles name, in a module of its name; unpickling it would fail."""

    def function(meta: Any) -> Any:
        raise AssertionError

    module, name = ModuleType("torch_utils.persistence"), "_reconstruct_persistent_obj"
    function.__module__, function.__qualname__ = module.__name__, name
    setattr(module, name, function)
    monkeypatch.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield function


def network(state: dict[str, Tensor], kwargs: dict[str, Any], rebuild: Callable[..., Any]) -> Persistent:
    """A generator whose modules hold a state dict."""
    top = Persistent("Generator", rebuild)
    top.meta["state"] |= {"_init_args": (), "_init_kwargs": kwargs}
    top.meta["state"] |= {k: v for k, v in kwargs.items() if k in ("z_dim", "c_dim", "w_dim", "img_resolution")}
    for key, tensor in state.items():
        *path, name = key.split(".")
        part = top
        for step in path:
            part = part.meta["state"]["_modules"].setdefault(step, Persistent("Part", rebuild))
        kind = "_buffers" if name.endswith(("filter", "ema", "avg", "freqs", "phases", "transform")) else "_parameters"
        part.meta["state"][kind][name] = tensor
    return top


def written(path: Path, config: str, rebuild: Callable[..., Any], **changed: Any) -> tuple[Path, dict[str, Tensor]]:
    """A pickle of a recorded network, and its state dict."""
    recorded = load(f"11_sg3_{config}", torch.float32)
    kwargs = {**recorded.meta["constructor_kwargs"], **changed}
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    nets = {"G": None, "D": None, "G_ema": network(recorded.state(), kwargs, rebuild)}
    path.write_bytes(pickle.dumps(nets, protocol=4))
    return path, recorded.state()


@pytest.mark.parametrize("config", NETWORKS)
def test_a_pickle_gives_the_recorded_images(config: str, tmp_path: Path, rebuild: Any, capsys: Any) -> None:
    """Through the command, from the file to images; each tensor is accounted for, and filters are computed."""
    path, state = written(tmp_path / "network.pkl", config, rebuild)
    assert main(["import", str(path), "--out", str(tmp_path / "x.safetensors"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == "stylegan3"
    assert any("no discriminator" in note for note in report["notes"])
    recorded, model = load(f"11_sg3_{config}", torch.float32), ganzoo.load(tmp_path / "x.safetensors")
    with torch.no_grad():
        ws = model.G.styles(recorded["z"])
        recorded.check("ws", ws)
        recorded.check("image", model.G.synthesize(ws)[-1])
        recorded.check("image_psi0.6", model.G.synthesize(model.G.truncate(ws, 0.6))[-1])
    _, tensors = checkpoint.read(tmp_path / "x.safetensors")
    kept = [tensor for key, tensor in state.items() if not key.endswith("_filter")]
    assert len(kept) == sum(key.startswith("G_ema.") for key in tensors)
    assert all(any(torch.equal(tensor, ours) for ours in tensors.values()) for tensor in kept)


def test_every_argument_becomes_an_option(tmp_path: Path, rebuild: Any) -> None:
    """Of the constructors; the mapping network's too, and arguments that change no result are passed over."""
    mapping = {"num_layers": 2, "lr_multiplier": 0.02, "w_avg_beta": 0.99}
    values = {"num_critical": 3, "first_cutoff": 1.5, "first_stopband": 4.5, "last_stopband_rel": 1.25}
    values |= {"margin_size": 8, "output_scale": 0.5, "filter_size": 4, "lrelu_upsampling": 4, "conv_clamp": None}
    changed = {"mapping_kwargs": mapping, "magnitude_ema_beta": 0.9, "num_fp16_res": 4, **values}
    path, _ = written(tmp_path / "x.pkl", "T", rebuild, **changed)
    generator = convert.convert(path).node.dump()["generator"]
    synthesis = generator["synthesis"]
    ours = ("critical", "first_cutoff", "first_stopband", "last_stopband", "margin", "output_scale", "filter_size")
    assert [synthesis[name] for name in ours] == list(values.values())[:7]
    assert (synthesis["upsampling"], synthesis["magnitude_beta"], synthesis["kernel"]) == (4, 0.9, 3)
    assert (generator["w_mean_beta"], generator["mapping"]["lr_mul"]) == (0.99, 0.02)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"wings": 2}, "wings=2, which ganzoo cannot express"),
        ({"mapping_kwargs": {"embed_features": 3}}, "embed_features=3, which ganzoo cannot express"),
        ({"num_layers": 9}, "15 layers, which its arguments do not tell of"),
        ({"img_resolution": 48}, "cannot be built"),
        ({"conv_kernel": 1}, "synthesis.layers.0.weight"),
        ({"margin_size": "wide"}, "cannot be built"),
    ],
)
def test_what_cannot_be_expressed_is_refused(changed: dict[str, Any], words: str, tmp_path: Path, rebuild: Any) -> None:
    path, _ = written(tmp_path / "x.pkl", "T", rebuild, **changed)
    with pytest.raises(CheckpointError) as caught:
        convert.convert(path)
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1
