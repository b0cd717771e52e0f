"""StyleGAN2's networks, losses and penalties against outputs recorded from NVlabs/stylegan2-ada-pytorch.

Each network is built from a recipe, given the reference's (random) weights by the importer, and run on the same inputs:
in float64 to 1e-9 of the largest value, in float32 to what rounding allows.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import foreign
from foreign import outputs_of
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import GanBatch, Generator, Noise, Stage
from ganzoo_import.formats import ada
from reference import FORWARD, GRADIENT, Recorded, experiment, load

GENERATORS = pytest.mark.parametrize("name", foreign.files("01_ada_G"))
DISCRIMINATORS = pytest.mark.parametrize("name", foreign.files("01_ada_D"))
PAIRS = pytest.mark.parametrize("name", foreign.files("02_ada_losses"))
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SMALL_D = {"channel_base": 32, "trunk": {"use": "plain", "down": "filtered"}, "head": "dense"}


def generator(name: str, dtype: torch.dtype) -> tuple[Generator, Recorded]:
    """Build the generator with a file's weights."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    tree, image = ada.generator_recipe(meta), {"channels": meta["img_channels"]}
    G = experiment(meta["img_resolution"], tree, SMALL_D, dtype, image=image, labels=meta["c_dim"]).G
    G.load_state_dict(ada.generator(recorded.state(), meta))
    return G, recorded


@PRECISIONS
@GENERATORS
def test_generator(name: str, dtype: torch.dtype) -> None:
    """Styles; images with stored, absent and given noise, truncated, mixed; features and RGB of each resolution."""
    G, recorded = generator(name, dtype)
    label = recorded["c"] if "in/c" in recorded.tensors else None
    blocks = {f"x_b{4 << level}": block for level, block in enumerate(G.synthesis.blocks)}
    with torch.no_grad():
        ws = G.styles(recorded["z"], label)
        recorded.check("ws", ws)
        assert ws.shape[1] == G.num_ws == recorded.meta["num_ws"]
        with G.noise("const"):
            with outputs_of(blocks) as features:
                recorded.check("const_psi1/img", G.synthesize(ws)[-1])
            named = [key for key in features if f"const_psi1/{key}" in recorded]
            assert len(named) == sum(key.startswith("out/const_psi1/x_b") for key in recorded.tensors)
            for key in named:
                recorded.check(f"const_psi1/{key}", features[key])
            for level in range(len(blocks)):
                if f"const_psi1/img_b{4 << level}" in recorded:  # running RGB images, where the topology has them
                    recorded.check(f"const_psi1/img_b{4 << level}", G.synthesize(ws, Stage(level))[-1])
            for key, cutoff in (("psi0.6", None), ("psi0.6_cut", recorded.meta["truncation_cutoff"])):
                near = G.truncate(ws, 0.6, cutoff)
                recorded.check(f"ws_{key}", near)
                recorded.check(f"const_{key}/img", G.synthesize(near)[-1])
            cut, other = recorded.meta["mix_cutoff"], G.styles(recorded["z2"], label)
            recorded.check("mix/img", G.synthesize(torch.cat([ws[:, :cut], other[:, cut:]], dim=1))[-1])
        with G.noise("none"):
            recorded.check("none_psi1/img", G.synthesize(ws)[-1])
        maps = iter(sorted(key.removeprefix("in/") for key in recorded.tensors if key.startswith("in/noise/")))
        with G.drawing(lambda noise, x: recorded[next(maps)]):
            recorded.check("random_given/img", G.synthesize(ws)[-1])
        assert next(maps, None) is None


@PRECISIONS
@GENERATORS
def test_mean_style_follows_training(name: str, dtype: torch.dtype) -> None:
    """The moving average of style codes after one call in training mode."""
    G, recorded = generator(name, dtype)
    G.train().styles(recorded["z"], recorded["c"] if "in/c" in recorded.tensors else None)
    recorded.check("w_avg_after_train_call", G.w_mean)


@PRECISIONS
@DISCRIMINATORS
def test_discriminator(name: str, dtype: torch.dtype) -> None:
    """Logits at three batch sizes; features of each block, downsampled images, minibatch deviation, mapped labels."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    tree, image = ada.discriminator_recipe(meta), {"channels": meta["img_channels"]}
    D = experiment(meta["img_resolution"], foreign.SMALL_G, tree, dtype, labels=meta["c_dim"], image=image).D
    D.load_state_dict(ada.discriminator(recorded.state(), meta))
    image, checked = recorded["img"], 0
    label = recorded["c"] if meta["c_dim"] else None
    blocks = {f"x_b{8 << level}": block for level, block in enumerate(D.trunk.blocks)}
    inputs = {f"img_after_b{8 << int(level)}": m for level, m in D.trunk.from_rgb.items() if int(level) < len(blocks)}
    named = {"mbstd": D.head.statistic, **({"cmap": D.head.mapping} if meta["c_dim"] else {})}
    with torch.no_grad(), outputs_of({**blocks, **named}) as features, outputs_of(inputs, "input") as images:
        recorded.check("logits", D((image,), label))
        for key, x in {**features, **images}.items():
            if key in recorded:
                recorded.check(key, x if key == "cmap" else x[:2])
                checked += 1
        recorded.check("mbstd_channels", features["mbstd"][:, -D.head.statistic.features :])
        for n in (4, 2):
            recorded.check(f"logits_batch{n}", D((image[:n],), None if label is None else label[:n]))
    assert checked == sum(key.startswith(("out/x_b", "out/img_after", "out/cmap")) for key in recorded.tensors)


def test_limits_of_a_skip_discriminator() -> None:
    """Features of the coarsest image are never clamped."""
    meta = {"img_resolution": 16, "c_dim": 0, "img_channels": 3, "architecture": "skip", "conv_clamp": 0.5}
    tree = ada.discriminator_recipe({**meta, "channel_base": 64})
    D = experiment(16, foreign.SMALL_G, tree, torch.float32).D
    assert {level: m.conv.clamp for level, m in D.trunk.from_rgb.items()} == {"0": None, "1": 0.5, "2": 0.5}
    assert D.head.conv.clamp == 0.5


# --- losses and penalties --------------------------------------------------------------------------------------------


def pair(name: str, dtype: torch.dtype) -> tuple[Gan, Recorded, GanBatch]:
    """Build the networks, loss and penalties of a file, in training mode, and its batch."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    options = meta["loss"]
    r1 = {"use": "r1", "gamma": options["r1_gamma"], "every": recorded.meta["gains"]["Dreg"]}
    path_length = {
        "use": "path_length",
        "weight": options["pl_weight"],
        "decay": options["pl_decay"],
        "shrink": options["pl_batch_shrink"],
        "every": recorded.meta["gains"]["Greg"],
    }
    trees = ada.generator_recipe(meta["G"]), ada.discriminator_recipe(meta["D"])
    image, labels = {"channels": meta["G"]["img_channels"]}, meta["G"]["c_dim"]
    penalties = {"regularizers": [r1, path_length]}
    gan = experiment(meta["G"]["img_resolution"], *trees, dtype, image=image, labels=labels, **penalties)
    gan.G.train().load_state_dict(ada.generator(recorded.state("G/"), meta["G"]))
    gan.D.train().load_state_dict(ada.discriminator(recorded.state("D/"), meta["D"]))
    stage = Stage(len(gan.shape.sizes) - 1)
    label, real_label = (recorded[key] if labels else None for key in ("c", "real_c"))
    return gan, recorded, GanBatch(gan.G, gan.D, stage, recorded["z"], label, (recorded["real"],), real_label)


def check_gradients(loss: Tensor, recorded: Recorded, phase: str, network: nn.Module, convert: Any) -> None:
    """Check the gradients of gain · mean(loss) at every recorded weight, and the norm over all parameters."""
    (recorded.meta["gains"][phase] * loss.mean()).backward()
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in network.named_parameters()}
    theirs = [key.split("/grad/")[1] for key in recorded.tensors if key.startswith(f"out/{phase}/grad/")]
    assert len(theirs) >= 12
    for name in theirs:
        reference, _ = recorded.output(f"{phase}/grad/{name}")
        (ours,) = convert({name: reference}, {})
        recorded.check(f"{phase}/grad/{name}", gradients[ours].reshape(reference.shape), GRADIENT)
    norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
    recorded.check(f"{phase}/grad_norm_all_params", norm, GRADIENT)


@PRECISIONS
@PAIRS
def test_generator_loss(name: str, dtype: torch.dtype) -> None:
    gan, recorded, batch = pair(name, dtype)
    with gan.G.noise("const"):
        fake = gan.G(batch.z, batch.label)
    if dtype == torch.float32:  # recorded in this precision only
        recorded.check("fake_img", fake[-1])
    logits = gan.D(fake, batch.label)
    recorded.check("Gmain/scores_fake", logits)
    loss = gan.loss.g(logits, torch.zeros_like(logits))
    recorded.check("Gmain/G_loss", loss[:, None])
    check_gradients(loss, recorded, "Gmain", gan.G, ada.generator)


@PRECISIONS
@PAIRS
@pytest.mark.parametrize("phase", ["Dmain", "Dboth"])
def test_discriminator_loss(phase: str, name: str, dtype: torch.dtype) -> None:
    """The logistic loss, without and with R1 in the same step."""
    gan, recorded, batch = pair(name, dtype)
    with gan.G.noise("const"):
        real, fake = gan.D(batch.real, batch.real_label), gan.D(batch.fake, batch.label)
    recorded.check(f"{phase}/scores_real", real)
    recorded.check(f"{phase}/scores_fake", fake)
    loss, r1 = gan.loss.d(real, fake), gan.regularizers[0]
    recorded.check(f"{phase}/D_loss", loss[:, None])
    if phase == "Dboth":
        penalty = r1.penalty(batch)
        recorded.check("Dboth/D_reg", penalty, GRADIENT)
        recorded.check("Dboth/r1_penalty", penalty / (r1.gamma / 2), GRADIENT)
        loss = loss + penalty
    check_gradients(loss, recorded, phase, gan.D, ada.discriminator)


@PRECISIONS
@PAIRS
def test_r1(name: str, dtype: torch.dtype) -> None:
    """gamma/2 |∇D(real)|² of each sample, and its gradients at the weights of the lazy phase."""
    gan, recorded, batch = pair(name, dtype)
    image = batch.real[0].clone().requires_grad_()
    scores = gan.D((image,), batch.real_label)
    recorded.check("Dreg/scores_real", scores)
    (gradient,) = torch.autograd.grad(scores.sum(), image)
    recorded.check("r1_image_grad", gradient, GRADIENT)
    r1 = gan.regularizers[0]
    assert r1.every == recorded.meta["gains"]["Dreg"]
    penalty = r1.penalty(batch)
    recorded.check("Dreg/D_reg", penalty, GRADIENT)
    recorded.check("Dreg/r1_penalty", penalty / (r1.gamma / 2), GRADIENT)
    check_gradients(penalty, recorded, "Dreg", gan.D, ada.discriminator)


@PRECISIONS
@PAIRS
def test_path_length(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Penalty, moving mean, and gradients through the updated mean, on the first half of the latents."""
    gan, recorded, batch = pair(name, dtype)
    path_length = gan.regularizers[1]
    path_length.mean.fill_(recorded.meta["pl_mean_before"])
    monkeypatch.setattr(torch, "randn_like", lambda x: recorded["pl_noise"])
    with gan.G.noise("const"):
        penalty = path_length.penalty(batch)
    recorded.check("Greg/G_reg", penalty, GRADIENT)
    recorded.check("Greg/pl_penalty", penalty / path_length.weight, GRADIENT)
    recorded.check("Greg/pl_mean_after", path_length.mean, FORWARD)
    check_gradients(penalty, recorded, "Greg", gan.G, ada.generator)


@PRECISIONS
@PAIRS
def test_path_length_gradient_at_the_styles(name: str, dtype: torch.dtype) -> None:
    """∇_w Σ image · y and its length, of which the penalty is a function."""
    gan, recorded, batch = pair(name, dtype)
    noise = recorded["pl_noise"]
    with gan.G.noise("const"):
        label = None if batch.label is None else batch.label[: len(noise)]
        ws = gan.G.styles(batch.z[: len(noise)], label)
        image = gan.G.synthesize(ws)[-1]
    (gradient,) = torch.autograd.grad((image * noise).sum() / (image.shape[2] * image.shape[3]) ** 0.5, ws)
    recorded.check("pl_ws_grad", gradient, GRADIENT)
    recorded.check("pl_lengths", gradient.square().sum(dim=2).mean(dim=1).sqrt(), GRADIENT)


def test_drawn_noise_has_the_recorded_shape() -> None:
    """Random noise is one map per sample, the same for all channels, as in the reference."""
    G, recorded = generator("01_ada_G_skip_uncond", torch.float32)
    shapes: list[tuple[int, ...]] = []

    def draw(noise: Noise, x: Tensor) -> Tensor | None:
        fresh = type(noise).draw(noise, x)
        assert fresh is not None
        shapes.append(tuple(fresh.shape))
        return fresh

    with torch.no_grad(), G.drawing(draw):
        G(recorded["z"])
    assert shapes == [tuple(t.shape) for k, t in sorted(recorded.tensors.items()) if k.startswith("in/noise/")]
