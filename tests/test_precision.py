"""Half precision against float64, images computed at once, and what a training says that it needs."""

import copy
import json
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import foreign
from conftest import small, trainer
from foreign import outputs_of
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Stage
from ganzoo.model.restore import build_experiment
from ganzoo.nn.act import bias_act
from ganzoo.nn.precision import level_dtype
from ganzoo.nn.resample import fir
from ganzoo.runs import estimate, run
from ganzoo.runs.folder import RunOptions
from ganzoo.training import device
from ganzoo.training.device import choose_device, describe_precision, dtype
from ganzoo_import.formats import ada
from ganzoo_stylegan2.modulation import modulated_conv2d
from reference import experiment as networks
from reference import load
from resampling import conv2d_resample

CPU = torch.device("cpu")
HALF = 2.0**-11  # float16 rounds to this part of a number
WIDER = ["image.size=128", "generator.channel_base=1024", "discriminator.channel_base=1024"]
NAMES = ["stylegan2-tiny", "stylegan2-residual-residual-1024", "progan-tiny", "stylegan-tiny", "msggan-tiny"]
REAL = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
NONE = torch.zeros(4, 0)


# --- where float16 is used -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finest", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_float16_serves_the_four_finest_sizes(finest):
    """The rule of arXiv:2006.06676's released networks, in sizes: from max(2^(log2(finest) + 1 - 4), 8) on."""
    sizes = [4 << level for level in range(int(math.log2(finest)) - 1)]
    from_size = max(2 ** (int(math.log2(finest)) + 1 - 4), 8)
    for level, size in enumerate(sizes):
        expected = torch.float16 if size >= from_size else torch.float32
        assert level_dtype(torch.float16, level, len(sizes)) == expected
        assert level_dtype(torch.bfloat16, level, len(sizes)) == torch.bfloat16
        assert level_dtype(None, level, len(sizes)) is None


@pytest.mark.parametrize("wanted", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_types_of_all_levels(name, wanted):
    """128x128 has the levels 4, 8, 16, ... 128: in float16 only the last four; sums of images and D's head never."""
    made = build_experiment(small(name, *WIDER))
    stage = Stage(5, 0.5 if made.growth else 1.0)
    G, D = made.G, made.D
    G.set_dtype(wanted)
    D.set_dtype(wanted)
    expected = [torch.float32 if wanted == torch.float16 and level < 2 else wanted for level in range(6)]
    blocks = {str(level): block for level, block in enumerate(G.synthesis.blocks)}
    with torch.no_grad(), outputs_of(blocks) as made_of:
        images = G(torch.randn(2, G.z_dim), None, stage)
    assert [made_of[str(level)].dtype for level in range(6)] == expected
    assert {image.dtype for image in images} == {torch.float32}

    downs = {str(level): block for level, block in enumerate(D.trunk.blocks)}
    heads = {"conv": D.head.conv, "dense": D.head.dense}
    with torch.no_grad(), outputs_of(downs) as made_of, outputs_of(downs, "input") as seen:
        rest = {f"rgb{level}": m for level, m in D.trunk.from_rgb.items()}
        with outputs_of(rest) as rgb, outputs_of(heads) as judged:
            D(images, None, stage)
    assert [seen[str(level)].dtype for level in range(5)] == expected[1:]
    assert [made_of[str(level)].dtype for level in range(5)] == expected[1:]
    assert {key: x.dtype for key, x in rgb.items()} == {key: expected[int(key[3:])] for key in rgb}
    assert {x.dtype for x in judged.values()} == {torch.float32}


def test_auto_is_bfloat16_where_it_is_computed_in_and_never_float16(monkeypatch):
    for there, chosen, why in ((True, torch.bfloat16, "computes in it"), (False, torch.float32, "has no bfloat16")):
        monkeypatch.setattr(device, "has_bf16", lambda where, there=there: there)
        assert dtype("auto", CPU) == chosen
        assert why in describe_precision("auto", CPU)
    assert dtype("fp16", CPU) == torch.float16
    assert describe_precision("fp32", CPU) == "float32, as asked"


def test_float32_is_not_tf32():
    choose_device("cpu")
    assert not torch.backends.cuda.matmul.allow_tf32


# --- limits ----------------------------------------------------------------------------------------------------------


def test_activations_in_float16_are_limited():
    x = torch.tensor([-60000.0, -100.0, 1.0, 60000.0])
    torch.testing.assert_close(bias_act(x.half(), gain=2), torch.tensor([-256.0, -200.0, 2.0, 256.0]).half())
    torch.testing.assert_close(bias_act(x.half(), clamp=3), torch.tensor([-3.0, -3.0, 1.0, 3.0]).half())
    assert bias_act(x)[0] == -60000
    assert bias_act(x.bfloat16()).abs().max() > 59000


@pytest.mark.parametrize("name", foreign.files("01_ada_G_clamp"))
def test_a_limit_that_bites_in_float16(name):
    """The recorded generator whose activations are held to ±0.5; its images from float16 within its rounding."""
    recorded = load(name, torch.float32)
    meta = recorded.meta["constructor_kwargs"]
    tree = ada.generator_recipe(meta)
    G = networks(meta["img_resolution"], tree, foreign.SMALL_D, torch.float32, labels=meta["c_dim"]).G
    G.load_state_dict(ada.generator(recorded.state(), meta))
    G.set_dtype(torch.float16)
    clamp = meta["synthesis_kwargs"]["conv_clamp"]
    layers = {f"{i}.{k}": m for i, block in enumerate(G.synthesis.blocks) for k, m in enumerate(block.layers)}
    label = recorded["c"] if "in/c" in recorded.tensors else None
    with torch.no_grad(), G.noise("const"), outputs_of(layers) as features:
        image = G.synthesize(G.styles(recorded["z"], label))[-1]
    reference, _ = recorded.output("const_psi1/img")
    assert (image - reference).abs().max() < 8 * HALF * reference.abs().max()
    assert max(float(x.abs().max()) for x in features.values()) == clamp
    assert features["2.1"].dtype == torch.float16
    assert features["0.0"].dtype == torch.float32


# --- modulation ------------------------------------------------------------------------------------------------------


def plainly(x, weight, styles, demodulate, up):
    """Equations 1 and 3 as they stand, a sample at a time."""
    found = []
    for one, s in zip(x, styles):
        w = weight * s[None, :, None, None]
        w = w * (w.square().sum([1, 2, 3], keepdim=True) + 1e-8).rsqrt() if demodulate else w
        if up:
            found.append(conv2d_resample(one[None], w, fir((1, 3, 3, 1), x), up=2, padding=1, flip_weight=False))
        else:
            found.append(F.conv2d(one[None], w, padding=1))
    return torch.cat(found)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("size_of_weights, size_of_styles", [(1, 1), (1e4, 1e4), (1e-4, 1e-3), (1e6, 1e-6), (1, 1e8)])
def test_modulation_in_float16_holds_any_size(size_of_weights, size_of_styles, up):
    """Inputs at the limit of 256, weights and styles of any size: the values and gradients of float64."""
    g = torch.Generator().manual_seed(1)
    x = (torch.randn(3, 32, 8, 8, generator=g) * 200).clamp(-256, 256).half()
    weight = torch.randn(16, 32, 3, 3, generator=g) * size_of_weights * torch.logspace(-1, 1, 16)[:, None, None, None]
    styles = (torch.randn(3, 32, generator=g) + 1) * size_of_styles
    results = []
    for exact in (True, False):
        inputs = [t.double() if exact else t for t in (x, weight, styles)]
        inputs = [t.clone().requires_grad_() for t in inputs]
        if exact:
            y = plainly(*inputs, True, up)
        else:
            y = modulated_conv2d(*inputs, up=(1, 3, 3, 1) if up else None)
            assert y.dtype == torch.float16
        probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)) / 64
        grads = torch.autograd.grad((y * probe.to(y.dtype)).sum(dtype=torch.float64), inputs)
        results.append([t.detach().double() for t in (y, *grads)])
    for what, reference, ours in zip(("y", "dx", "dw", "ds"), *results):
        assert ours.isfinite().all(), what
        error = float((ours - reference).norm() / reference.norm())
        assert error < 16 * HALF, f"{what}: {error}"


def test_modulation_in_float16_without_demodulation():
    """Styles that float16 cannot hold; a result beyond it is infinite, which the limit of activations ends."""
    g = torch.Generator().manual_seed(1)
    x, weight = torch.randn(3, 32, 8, 8, generator=g).half(), torch.randn(4, 32, 3, 3, generator=g) * 1e-6
    styles = torch.randn(3, 32, generator=g) * 1e6
    y, reference = (
        modulated_conv2d(x, weight, styles, demodulate=False),
        plainly(x.float(), weight, styles, False, None),
    )
    assert (y - reference).abs().max() < 4 * HALF * reference.abs().max()
    assert bias_act(modulated_conv2d(x, weight * 1e6, styles, demodulate=False)).abs().max() == 256
    assert (modulated_conv2d(x, torch.zeros_like(weight), styles) == 0).all()
    assert (modulated_conv2d(x, weight, torch.zeros_like(styles)) == 0).all()


# --- networks --------------------------------------------------------------------------------------------------------


def values(made, wanted, scale=1.0):
    """A generator's image, and gradients of D's loss on it with respect to both, as float64."""
    exact = wanted == torch.float64
    nets = [copy.deepcopy(net).double() if exact else copy.deepcopy(net) for net in (made.G, made.D)]
    for net in nets:
        net.set_dtype(wanted)
    G, D = nets
    z = torch.randn(4, G.z_dim, generator=torch.Generator().manual_seed(5)).to(G.w_mean.dtype)
    with G.noise("const"):
        images = G(z)
        (F.softplus(-D(images)).mean() * scale).backward()
    grads = [torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None]) for net in nets]
    return [images[-1].detach().double(), *(grad / scale for grad in grads)]


@pytest.mark.parametrize("name", ["stylegan2-tiny", "msggan-tiny"])
def test_networks_in_float16(name):
    torch.manual_seed(0)
    made = build_experiment(small(name, "image.size=32", "generator.mixing=0"))
    exact, half = values(made, torch.float64), values(made, torch.float16, 256.0)
    # of untrained networks, whose images' error is 1 to 11 half steps, by seed
    for what, a, b, tolerance in zip(("image", "dG", "dD"), exact, half, (16 * HALF, 0.1, 0.1)):
        assert float((a - b).norm() / a.norm()) < tolerance, what


def test_a_generator_of_huge_weights_in_float16():
    """Demodulation takes their size away again: images are those of float64 with the same limits."""
    torch.manual_seed(0)
    G = build_experiment(small("stylegan2-tiny", "image.size=32", "generator.mixing=0")).G
    for block in G.synthesis.blocks:
        for layer in block.layers:
            layer.weight.data *= 1e4
            layer.affine.weight.data *= 300
            layer.affine.bias.data *= 300
    images = []
    for wanted in (torch.float64, torch.float16):
        net = copy.deepcopy(G).to(torch.float64 if wanted == torch.float64 else torch.float32)
        net.set_dtype(wanted)
        with torch.no_grad(), net.noise("const"):
            z = torch.randn(4, G.z_dim, generator=torch.Generator().manual_seed(5)).to(net.w_mean.dtype)
            images.append(net(z)[-1].double())
    assert images[1].isfinite().all()
    assert (images[0] - images[1]).abs().max() < 16 * HALF * images[0].abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_training_in_float16_takes_steps(name):
    made = trainer(name, "training.precision=fp16", "training.batch_gpu=null")
    if made.grows:
        made.stage_at = lambda images: Stage(2, 0.5)
    before = [p.clone() for p in made.D.parameters()]
    for _ in range(2):
        made.step(REAL, NONE, NONE)
    assert all(math.isfinite(value) for value in made.report().values())
    assert any(bool((a != b).any()) for a, b in zip(before, made.D.parameters()))


def test_the_scale_of_losses_is_divided_out():
    """A power of two, it leaves no trace where nothing is computed in float16."""
    results = []
    for precision in ("fp32", "fp16"):
        made = trainer("stylegan2-tiny", f"training.precision={precision}")
        for net in (made.G, made.D):
            net.set_dtype(torch.float32)
        made.micro_batch = 2
        for _ in range(2):
            made.step(REAL, NONE, NONE)
        results.append([p.detach() for net in (made.G, made.D) for p in net.parameters()])
    assert made.scale == 256
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


# --- images computed at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "part"), [(10.0, None), (3.0, 16), (1.0, 4), (0.1, 1)])
def test_parts_of_automatic_size_fit_into_memory(free, part, monkeypatch):
    """2 images take 0.5 GiB and 2 more 0.2: so n take 0.3 + 0.1 n, of which there may be 0.7 of what is free."""
    peaks = iter([1.0, 1.5, 1.7])
    monkeypatch.setattr(estimate, "peak_memory", lambda where: next(peaks))
    monkeypatch.setattr(estimate, "free_memory", lambda where: free)
    monkeypatch.setattr(estimate.TimedTrainer, "seconds", lambda self, size, taken: 0.0)
    node = recipe.load("stylegan2-tiny", ["training.batch=32", "training.batch_gpu=auto"])
    found, notice = estimate.largest_micro_batch(build_experiment(node), torch.device("cpu"))
    assert found == part
    assert f"{part or 32} of 32 images" in notice


def test_the_run_says_how_many_images_it_computes_at_once(tmp_path):
    node = small("stylegan2-tiny", "training.batch_gpu=auto", "training.kimg=0.016")
    folder = run.train(node, RunOptions(outdir=tmp_path, device="cpu", workers=0))
    assert (folder / "log.txt").read_text().count("batch_gpu auto: ") == 1


def test_measuring_for_parts_of_automatic_size_changes_nothing():
    results = []
    for part in ("null", "auto"):
        node = small("progan-tiny", f"training.batch_gpu={part}")
        torch.manual_seed(0)
        experiment = build_experiment(node)
        if part == "auto":
            assert estimate.largest_micro_batch(experiment, torch.device("cpu"))[0] is None
        made = experiment.learner(torch.device("cpu"))
        made.step(REAL, NONE, NONE)
        results.append([p.detach() for net in (made.G, made.D, made.G_ema) for p in net.parameters()])
    assert made.micro_batch is None
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_a_word_for_parts_that_is_none():
    with pytest.raises(RecipeError, match=r"training\.batch_gpu"):
        recipe.load("stylegan2-tiny", ["training.batch_gpu=many"])


# --- what a training needs -------------------------------------------------------------------------------------------


def test_a_dry_run_foretells_the_memory(tmp_path):
    """Of a fresh process each, as `gz train -n` and `gz train` are."""
    command = "from ganzoo_cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    options = ["msggan-tiny", "--data", "shapes", "--metrics", "none", "--kimg", "0.064"]
    options += ["--device", "cpu", "--set", "training.tick_kimg=0.064", "--snap", "0"]
    runs = [
        subprocess.run(
            [sys.executable, "-c", command, "train", *options, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        for more in (["-n"], ["--outdir", "runs"])
    ]
    said = next(line for line in runs[0].stdout.splitlines() if line.startswith("peak memory"))
    stats = next(tmp_path.glob("runs/*/stats.jsonl")).read_text().splitlines()
    assert float(said.split()[2]) == pytest.approx(json.loads(stats[-1])["memory_gib"], rel=0.15)
