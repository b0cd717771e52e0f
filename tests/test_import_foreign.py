"""`gz import` of state dicts: recorded weights, saved as their projects save them, give the recorded images.

Sizes come from the tensors' shapes; what shapes cannot tell is given as an option, from what is recorded about the
reference.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import foreign
import ganzoo
from foreign import at, full
from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Stage
from ganzoo.model import checkpoint
from ganzoo.model.model import Model
from ganzoo_cli import main
from ganzoo_import import convert
from ganzoo_import.formats import genforce_pggan, huangzh13
from reference import Recorded, load

State = dict[str, Tensor]
BUFFERS = r".*(lod|kernel|w_avg|avg_latent|apply_noise\.noise)"  # tensors that are no parameters
PGGAN, STYLEGAN = (foreign.files(prefix) for prefix in ("06_gf_pggan_G", "05_gf_stylegan_G"))
AKANIMAX, BMSG, HUANGZH13 = (foreign.files(prefix) for prefix in ("06_aka_progan", "07_msggan", "05_hz"))


def recorded(name: str) -> Recorded:
    """Load a recorded file in the precision of an import."""
    return load(name, torch.float32)


def parameters(state: State) -> int:
    """Number of learned parameters in a state dict."""
    return sum(tensor.numel() for key, tensor in state.items() if not re.fullmatch(BUFFERS, key))


def run(tmp_path: Path, content: Any, capsys: Any, *args: str) -> tuple[Model, dict[str, Any]]:
    """Save, import by the command line, and load: (model, report)."""
    file, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(content, file)
    code = main(["import", str(file), "--out", str(out), "--json", *args])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["ours.safetensors", "ours.yaml", "theirs.pth"]
    return ganzoo.load(out, "cpu"), json.loads(said.out)


def check_report(report: dict[str, Any], G: State, D: State | None, *also: State) -> None:
    """Check that the report counts the source's parameters, and every tensor."""
    assert report["parameters of G"] == parameters(G)
    assert report["parameters of D"] == (None if D is None else parameters(D))
    assert report["tensors matched"] + report["tensors left out"] == sum(map(len, (G, D or {}, *also)))
    assert all(re.fullmatch(r"([\w]+\.)?" + BUFFERS, key) for key in report["unused"])
    assert all(sentence.endswith(".") for sentence in report["notes"])


def judge(path: Path, images: tuple[Tensor, ...], label: Tensor | None = None, stage: Stage | None = None) -> Tensor:
    """Compute scores by the discriminator in a snapshot."""
    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe.node import parse
    from ganzoo.recipe.source import Source
    from ganzoo.registry.lookup import registry

    head, tensors = checkpoint.read(path)
    D = build_experiment(parse(Source(head.recipe), registry())).D
    checkpoint.load_weights(D, tensors, "D", path)
    with torch.no_grad():
        scores: Tensor = D.eval()(images, label, stage)
    return scores


# --- genforce --------------------------------------------------------------------------------------------------------


def partner(name: str) -> str | None:
    """The recorded discriminator of a generator's size and labels, if there is one."""
    mine = load(name).meta["constructor_kwargs"]
    for other in foreign.files(re.sub(r"_G.*", "_D", name)):
        kwargs = load(other).meta["constructor_kwargs"]
        if all(kwargs.get(key) == mine.get(key) for key in ("resolution", "label_size", "fused_scale")):
            return other
    return None


@pytest.mark.parametrize("name", [*PGGAN, *STYLEGAN])
def test_genforce(name: str, tmp_path: Path, capsys: Any) -> None:
    """A checkpoint of training holds the generator, its moving average, the discriminator and an optimizer."""
    G, other = recorded(name), partner(name)
    kwargs, state = G.meta["constructor_kwargs"], G.state()
    D = recorded(other) if other else None
    content = {"generator": {k: v + 1 for k, v in state.items()}, "generator_smooth": state}
    content |= {"discriminator": D.state()} if D else {}
    options = {"fused": kwargs.get("fused_scale", "auto")}
    if D:
        options["group"] = D.meta["constructor_kwargs"].get("minibatch_std_group_size", 4 if "style" in name else 16)
    options |= {"tanh": kwargs["final_tanh"]} if "final_tanh" in kwargs else {}
    options |= {"labels": kwargs["label_size"]} if kwargs.get("label_size") and not D and name in PGGAN else {}
    sets = [part for key, value in options.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    model, report = run(tmp_path, content, capsys, *sets)
    check_report(report, state, D.state() if D else None, state)
    assert report["format"] == ("genforce-pggan" if name in PGGAN else "genforce-stylegan")
    assert report["networks"] == ("D, G, G_ema" if D else "G, G_ema")
    label = G["label"] if "in/label" in G.tensors else None
    with torch.no_grad(), model.G.noise("const"):
        for lod in G.meta["lods"]:
            G.check(f"lod{lod}/image", full(model.G(G["z"], label, at(lod, model.G))[-1], model.G))
    if D:
        real = D["label"] if "in/label" in D.tensors else None
        scores = judge(tmp_path / "ours.safetensors", (D["image"],), real)
        reference, _ = D.output("lod0/score")
        assert torch.allclose(scores, reference[:, :1], rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", [PGGAN[0], STYLEGAN[0]])
def test_layouts_of_a_file(name: str, tmp_path: Path, capsys: Any) -> None:
    """Bare, nested, and with the prefix of DataParallel, a file gives the same networks."""
    state = recorded(name).state()
    parallel = {f"module.{key}": tensor for key, tensor in state.items()}
    models = {"models": {"generator_smooth": state}, "optimizers": {"generator": {"state": torch.zeros(2)}}}
    wrapped = {"generator": {"state_dict": parallel, "conf": {"depth": 1}}}
    images = []
    for i, content in enumerate((state, parallel, models, wrapped)):
        folder = tmp_path / str(i)
        folder.mkdir()
        model, report = run(folder, content, capsys)
        assert report["parameters of G"] == parameters(state) and report["parameters of D"] is None
        images.append(model.images([3]))
        assert any("no discriminator" in sentence for sentence in report["notes"])
    assert all(torch.equal(images[0], image) for image in images)


def test_growth_is_told(tmp_path: Path, capsys: Any) -> None:
    state = {**recorded(PGGAN[0]).state(), "lod": torch.tensor(1.5)}
    _, report = run(tmp_path, state, capsys)
    assert any("amid its growth, 1.5 levels" in sentence for sentence in report["notes"])


# --- others ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AKANIMAX)
def test_akanimax(name: str, tmp_path: Path, capsys: Any) -> None:
    file = recorded(name)
    G, D, kwargs = file.state("G/"), file.state("D/"), file.meta["constructor_kwargs"]
    model, report = run(tmp_path, {"generator": G, "discriminator": D}, capsys)
    assert report["format"] == "akanimax-progan"
    for depth, alpha in file.meta["depth_alpha_pairs"]:
        stage = Stage(depth - 2, alpha)
        with torch.no_grad():
            file.check(f"d{depth}_a{alpha}/image", model.G(file["z"], None, stage)[-1])
        if not kwargs["num_classes"]:
            scores = judge(tmp_path / "ours.safetensors", (file[f"img_depth{depth}"],), None, stage)
            file.check(f"d{depth}_a{alpha}/score", scores.flatten())
    if kwargs["num_classes"]:
        assert report["networks"] == "G_ema" and report["tensors left out"] == len(D)
        assert any("discriminator is left out" in sentence for sentence in report["notes"])
    else:
        check_report(report, G, D)


@pytest.mark.parametrize("name", BMSG)
def test_bmsg(name: str, tmp_path: Path, capsys: Any) -> None:
    file = recorded(name)
    G, D = file.state("G/"), file.state("D/")
    model, report = run(tmp_path, {"G": G, "D": D}, capsys, "--set", "normalize=false")
    assert report["format"] == "bmsg"
    check_report(report, G, D)
    with torch.no_grad():
        images = model.G(file["z"])
    for i, image in enumerate(images):
        file.check(f"image{i}", image)
    real = tuple(file[f"real{i}"] for i in range(len(images)))
    file.check("score_real", judge(tmp_path / "ours.safetensors", real).flatten())


def test_bmsg_normalises_latents_as_its_training_did(tmp_path: Path, capsys: Any) -> None:
    file = recorded(BMSG[0])
    model, report = run(tmp_path, {"G": file.state("G/"), "D": file.state("D/")}, capsys)
    z = file["z"]
    sphere = z / z.norm(dim=1, keepdim=True) * math.sqrt(z.shape[1])
    with torch.no_grad():
        alone = model.G.synthesize(sphere[:, None].expand(-1, model.G.num_ws, -1))
        assert torch.allclose(model.G(z)[-1], alone[-1], atol=1e-5)
    assert any("norm √z_dim" in sentence for sentence in report["notes"])


@pytest.mark.parametrize("name", HUANGZH13)
def test_huangzh13(name: str, tmp_path: Path, capsys: Any) -> None:
    file = recorded(name)
    G, D = file.state("G/"), file.state("D/")
    model, report = run(tmp_path, {"gen": G, "dis": D}, capsys)
    assert report["format"] == "huangzh13-stylegan"
    check_report(report, G, D)
    buffers = dict(model.G.named_buffers())
    assert torch.equal(model.G.w_mean, G["truncation.avg_latent"])
    for key in [key for key in file.tensors if key.startswith("in/noise/")]:
        (ours,) = huangzh13.generator({f"{key.removeprefix('in/noise/')}.weight": torch.zeros(1)}, False)
        buffers[ours.replace("strength", "const")].copy_(file.tensors[key])
    with torch.no_grad(), model.G.noise("const"):
        for depth, alpha in file.meta["depth_alpha_pairs"]:
            stage, key = Stage(depth, alpha), f"d{depth}_a{alpha}"
            file.check(f"{key}/image", model.G(file["z"], None, stage)[-1])
            scores = judge(tmp_path / "ours.safetensors", (file[f"img_depth{depth}"],), None, stage)
            file.check(f"{key}/score", scores)


# --- what is refused -------------------------------------------------------------------------------------------------


def refused(tmp_path: Path, content: Any, name: str = "auto", **options: Any) -> str:
    """Return the error message of a refused file."""
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError) as caught:
        convert.save(convert.convert(tmp_path / "x.pth", name, options), tmp_path / "y.safetensors")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_networks_in_two_files(tmp_path: Path, capsys: Any) -> None:
    """Separate files of generator and discriminator give the same result as one file with both."""
    case = recorded(BMSG[0])
    for part in ("G", "D"):
        torch.save(case.state(f"{part}/"), tmp_path / f"{part}.pth")
    files = [str(tmp_path / "G.pth"), "--discriminator", str(tmp_path / "D.pth")]
    assert main(["import", *files, "--out", str(tmp_path / "ours.safetensors"), "--from", "bmsg", "--json"]) == 0
    check_report(json.loads(capsys.readouterr().out), case.state("G/"), case.state("D/"))
    _, both = checkpoint.read(tmp_path / "ours.safetensors")
    (tmp_path / "one").mkdir()
    run(tmp_path / "one", {"G": case.state("G/"), "D": case.state("D/")}, capsys)
    _, one = checkpoint.read(tmp_path / "one" / "ours.safetensors")
    assert both.keys() == one.keys()
    assert all(torch.equal(both[name], one[name]) for name in both)


@pytest.mark.parametrize("name", foreign.files("05_gf_stylegan_D", "06_gf_pggan_D"))
def test_a_discriminator_alone(name: str, tmp_path: Path) -> None:
    assert "a discriminator only" in refused(tmp_path, recorded(name).state())


def test_a_generator_of_two_projects(tmp_path: Path, capsys: Any) -> None:
    """The generators of akanimax's two projects have the same names and shapes."""
    state = recorded(BMSG[0]).state("G/")
    assert "akanimax-progan or bmsg: say which" in refused(tmp_path, state)
    (tmp_path / "x.pth").unlink()
    _, report = run(tmp_path, state, capsys, "--from", "bmsg")
    assert report["parameters of G"] == parameters(state)


def test_networks_that_do_not_fit_together(tmp_path: Path) -> None:
    labelled = next(name for name in foreign.files("06_gf_pggan_D") if "label" in name)
    both = {"generator": recorded(PGGAN[0]).state(), "discriminator": recorded(labelled).state()}
    assert "labels is 0" in refused(tmp_path, both, labels=0)
    mixed = {"generator": recorded(PGGAN[0]).state(), "discriminator": recorded(HUANGZH13[0]).state("D/")}
    assert "does not look like" in refused(tmp_path, mixed)
    larger = next(n for n in STYLEGAN if load(n).meta["constructor_kwargs"]["resolution"] == 32)
    smaller = next(n for n in foreign.files("05_gf_stylegan_D") if "fused" in n)
    both = {"generator": recorded(larger).state(), "discriminator": recorded(smaller).state()}
    assert refused(tmp_path, both)


def test_shapes_that_contradict_an_option(tmp_path: Path) -> None:
    fused = next(name for name in PGGAN if load(name).meta["constructor_kwargs"]["fused_scale"] is True)
    assert "do not agree with fused=False" in refused(tmp_path, recorded(fused).state(), fused=False)
    state = {**recorded(fused).state(), "layer4.weight": torch.zeros(5, 7, 3, 3)}
    assert "does not fit" in refused(tmp_path, state)


@pytest.mark.parametrize("name", [PGGAN[0], STYLEGAN[0], f"{AKANIMAX[0]}/G", f"{BMSG[0]}/G", f"{HUANGZH13[0]}/G"])
@pytest.mark.parametrize("fault", ["more", "fewer"])
def test_tensors_too_many_and_too_few(name: str, fault: str, tmp_path: Path) -> None:
    file, _, part = name.partition("/")
    state = dict(recorded(file).state(f"{part}/" if part else ""))
    if fault == "more":
        state["unheard.of"] = torch.zeros(2)
    else:
        state.pop(next(key for key in sorted(state, reverse=True) if key.endswith(".bias")))
    importer = "auto" if not part else {"06": "akanimax-progan", "07": "bmsg", "05": "huangzh13-stylegan"}[file[:2]]
    assert ("unheard.of" if fault == "more" else "lacks") in refused(tmp_path, state, importer)


def test_large_networks_are_fused_from_128_on() -> None:
    """Only there an upsampling layer's kernels are rotated, and only if shapes allow it."""
    channels = [4, 4, 4, 4, 4, 2]  # 4x4 to 128x128
    state: State = {"layer0.weight": torch.zeros(4, 8, 4, 4)}
    for i, c in enumerate(channels):
        state[f"output{i}.weight"] = torch.zeros(3, c, 1, 1)
        state[f"layer{2 * i + 1}.weight"] = torch.zeros(c, c, 3, 3)
        if i:
            state[f"layer{2 * i}.weight"] = torch.zeros(c, channels[i - 1], 3, 3)
    assert genforce_pggan.fused_of(state) is False
    state["layer10.weight"] = torch.arange(4 * 2 * 9).reshape(4, 2, 3, 3).float()
    assert genforce_pggan.fused_of(state) == "auto"
    ours = genforce_pggan.generator(state, "auto")["synthesis.blocks.5.layers.0.conv.weight"]
    assert torch.equal(ours, state["layer10.weight"].flip([2, 3]).transpose(0, 1))
