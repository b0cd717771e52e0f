"""ProGAN's networks, layers and losses against outputs recorded from genforce/genforce and akanimax/pro_gan_pytorch.

genforce counts levels of detail from the finest: lod L + f with 0 <= f < 1 is our Stage(finest - L, alpha = 1 - f). It
works on full-size images, enlarged by nearest neighbours and reduced by 2x2 means; ours have the size of their level.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import foreign
from foreign import at, full, seen
from ganzoo.interfaces import Discriminator, GanBatch, Stage
from ganzoo.nn.equal import Conv2d, Linear
from ganzoo.nn.norm import minibatch_std, pixel_norm
from ganzoo_import.formats import akanimax, genforce, genforce_pggan
from ganzoo_import.formats.akanimax import AkanimaxProGAN
from ganzoo_import.formats.genforce_pggan import GenforcePGGAN
from reference import GRADIENT, Recorded, experiment, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
DISCRIMINATORS = pytest.mark.parametrize("name", foreign.files("06_gf_pggan_D"))
AKANIMAX = pytest.mark.parametrize("name", foreign.files("06_aka_progan"))


# --- genforce --------------------------------------------------------------------------------------------------------


@PRECISIONS
@pytest.mark.parametrize("name", foreign.files("06_gf_pggan_G"))
def test_generator(name: str, dtype: torch.dtype) -> None:
    """Images at every level and during a fade."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    labels, tanh = meta.get("label_size", 0), meta.get("final_tanh", False)
    importer = GenforcePGGAN(fused=meta.get("fused_scale", "auto"), labels=labels, tanh=tanh)
    G = foreign.generator(importer, recorded.state(), dtype)
    z, label = recorded["z"], recorded["label"] if labels else None
    once = pixel_norm(z)
    recorded.check("z_normalized", once if label is None else torch.cat([once, label], dim=1))
    for lod in recorded.meta["lods"]:
        stage = at(lod, G)
        with torch.no_grad():
            (image,) = G(z, label, stage)
        assert image.shape[2:] == G.shape.sizes[stage.level]
        recorded.check(f"lod{lod}/image", full(image, G))


@pytest.mark.parametrize("name", foreign.files("06_gf_pggan_G"))
def test_shapes_show_what_is_fused(name: str) -> None:
    """Shapes reveal fused layers where the number of channels changes."""
    recorded = load(name)
    fused, size = (recorded.meta["constructor_kwargs"].get(key) for key in ("fused_scale", "resolution"))
    inferred = genforce_pggan.fused_of(recorded.state())
    channels = genforce.generator_channels(recorded.state())
    if channels[0] != channels[-1] and size < 128:  # below, "auto" and False are the same
        assert inferred == (fused is True or "auto")


def discriminator(name: str, dtype: torch.dtype) -> tuple[Discriminator, Recorded]:
    """Build the discriminator with a file's weights."""
    recorded = load(name, dtype)
    meta, state = recorded.meta["constructor_kwargs"], recorded.state()
    importer = GenforcePGGAN(group=meta.get("minibatch_std_group_size", 16))
    tree = genforce_pggan.discriminator_recipe(state, meta.get("fused_scale", "auto"), importer.group)
    return foreign.discriminator(tree, importer.to_discriminator(state), dtype, meta.get("label_size", 0)), recorded


def scores(D: Discriminator, image: Tensor, stage: Stage | None = None) -> Tensor:
    """The logit, with the scores of the classes appended if there are any."""
    score = D((image,), None, stage)
    return torch.cat([score, D.classify((image,), stage)], dim=1) if D.labels else score


@PRECISIONS
@DISCRIMINATORS
def test_discriminator(name: str, dtype: torch.dtype) -> None:
    """Scores and class scores at every level, during a fade, and at all batch sizes."""
    D, recorded = discriminator(name, dtype)
    with torch.no_grad():
        for lod in recorded.meta["lods"]:
            stage = at(lod, D)
            recorded.check(f"lod{lod}/score", scores(D, seen(recorded["image"], stage, D), stage))
        for n in (4, 2):
            recorded.check(f"batch{n}/score", scores(D, recorded["image"][:n]))


@PRECISIONS
@DISCRIMINATORS
def test_discriminator_input_gradient(name: str, dtype: torch.dtype) -> None:
    D, recorded = discriminator(name, dtype)
    image = recorded["image"].requires_grad_()
    (gradient,) = torch.autograd.grad(D((image,)).sum(), image)
    recorded.check("image_grad", gradient[:2], GRADIENT)
    recorded.check("grad_norm", gradient.square().sum(dim=[1, 2, 3]).sqrt(), GRADIENT)


# --- akanimax --------------------------------------------------------------------------------------------------------


@PRECISIONS
@AKANIMAX
def test_akanimax(name: str, dtype: torch.dtype) -> None:
    """Images and scores at each depth and during fades; scores may depend on a label."""
    recorded = load(name, dtype)
    kwargs, state, importer = recorded.meta["constructor_kwargs"], recorded.state("D/"), AkanimaxProGAN()
    G = foreign.generator(importer, recorded.state("G/"), dtype)
    classes = kwargs["num_classes"] or 0
    tree = akanimax.discriminator_recipe(state)
    D = foreign.discriminator(tree, importer.to_discriminator(state), dtype, classes)
    label = foreign.one_hot(recorded["labels"], classes, dtype) if classes else None
    pairs = recorded.meta["depth_alpha_pairs"]
    for depth, alpha in pairs:
        stage, image = Stage(depth - 2, alpha), recorded[f"img_depth{depth}"].requires_grad_()
        with torch.no_grad():
            recorded.check(f"d{depth}_a{alpha}/image", G(recorded["z"], None, stage)[-1])
        score = D((image,), label, stage)
        recorded.check(f"d{depth}_a{alpha}/score", score.flatten())
    (gradient,) = torch.autograd.grad(score.sum(), image)  # of the last pair
    recorded.check("image_grad_last_pair", gradient[:2], GRADIENT)
    recorded.check("grad_norm_last_pair", gradient.square().sum(dim=[1, 2, 3]).sqrt(), GRADIENT)
    assert len(pairs) == sum(key.startswith("out/") and key.endswith("/score") for key in recorded.tensors)


@PRECISIONS
def test_layers(dtype: torch.dtype) -> None:
    """akanimax's equalized layers, pixel norm (of small inputs, for which eps matters) and minibatch deviation."""
    recorded = load("06_progan_layers", dtype)
    weights = recorded.state()
    conv = Conv2d(5, 4, 3, gain=math.sqrt(2)).to(dtype)
    conv.load_state_dict({"weight": weights["conv.weight"], "bias": weights["conv.bias"]})
    linear = Linear(7, 3, gain=math.sqrt(2)).to(dtype)
    linear.load_state_dict({"weight": weights["linear.weight"], "bias": weights["linear.bias"]})
    with torch.no_grad():
        recorded.check("conv", conv(recorded["conv"]))
        recorded.check("linear", linear(recorded["linear"]))
        recorded.check("pixelnorm", pixel_norm(recorded["pixelnorm"]))
        recorded.check("mbstd", minibatch_std(recorded["mbstd"], 4))
        recorded.check("mbstd_batch3", minibatch_std(recorded["mbstd"][:3], 4))


@PRECISIONS
def test_dense_stem(dtype: torch.dtype) -> None:
    """A transposed 4x4 convolution of one pixel equals the dense stem; akanimax's scale is 4 times the paper's."""
    from ganzoo_progan.generator import Dense

    recorded = load("06_progan_layers", dtype)
    weight, bias = recorded.state("deconv.")["weight"], recorded.state("deconv.")["bias"]  # [I, O, 4, 4], [O]
    stem = Dense(weight.shape[0], weight.shape[1], (4, 4), norm=None).to(dtype)
    stem.load_state_dict({"dense.weight": weight.flatten(1).T * 4, "bias": bias})
    with torch.no_grad():
        out = stem(recorded["deconv"].flatten(1))
    recorded.check("deconv", torch.where(out < 0, out / 0.2, out))


# --- losses ----------------------------------------------------------------------------------------------------------


def wgan(dtype: torch.dtype, **tree: Any) -> tuple[Any, Recorded, GanBatch]:
    """akanimax's discriminator during a fade, the loss and the penalty, and the recorded batch."""
    recorded = load("06_wgan_gp", dtype)
    kwargs, state = recorded.meta["constructor_kwargs"], recorded.state()
    gan = experiment(4 << kwargs["depth"] - 2, foreign.SMALL_G, akanimax.discriminator_recipe(state), dtype, **tree)
    gan.D.load_state_dict(AkanimaxProGAN().to_discriminator(state))
    stage = Stage(kwargs["depth"] - 2, recorded.meta["alpha"])
    z = torch.zeros(8, 4, dtype=dtype)
    batch = GanBatch(gan.G, gan.D, stage, z, None, (recorded["real"],), None)
    batch.fake = (recorded["fake"],)
    return gan, recorded, batch


@PRECISIONS
def test_wgan_gp(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wasserstein loss with drift, penalty between real and fake, gradients of their sum."""
    drift = load("06_wgan_gp").meta["constructor_kwargs"]["drift"]
    loss, penalty = {"use": "wasserstein", "drift": drift}, {"use": "wgan_gp", "weight": 10, "target": 1}
    gan, recorded, batch = wgan(dtype, loss=loss, regularizers=[penalty])
    real, fake = gan.D(batch.real, None, batch.stage), gan.D(batch.fake, None, batch.stage)
    recorded.check("score_real", real.flatten())
    recorded.check("score_fake", fake.flatten())
    # This reference's weight belongs to the real image; ours, as the paper's, to the step towards the fake one.
    monkeypatch.setattr(torch, "rand_like", lambda like: 1 - recorded["eps"])
    penalty = gan.regularizers[0].penalty(batch)
    recorded.check("gradient_penalty", penalty.mean(), GRADIENT)
    loss = gan.loss.d(real, fake).mean() + penalty.mean()
    recorded.check("d_loss", loss, GRADIENT)
    recorded.check("g_loss", gan.loss.g(fake, torch.zeros_like(fake)).mean())
    loss.backward()
    gradients = dict(gan.D.named_parameters())
    finest = len(gan.shape.sizes) - 1
    names = [key.removeprefix("out/grad/") for key in recorded.tensors if key.startswith("out/grad/")]
    assert len(names) == 4
    for name in names:
        weight = recorded.state()[name]
        (ours,) = akanimax.discriminator({name: weight}, finest)
        recorded.check(f"grad/{name}", gradients[ours].grad.reshape(weight.shape), GRADIENT)


@PRECISIONS
def test_logistic_loss(dtype: torch.dtype) -> None:
    """akanimax's standard GAN loss is the mean of D's two cross entropies, ganzoo's their sum."""
    gan, recorded, batch = wgan(dtype, loss="logistic")
    real, fake = gan.D(batch.real, None, batch.stage), gan.D(batch.fake, None, batch.stage)
    recorded.check("bce_d_loss", gan.loss.d(real, fake).mean() / 2)
    recorded.check("bce_g_loss", gan.loss.g(fake, real).mean())
