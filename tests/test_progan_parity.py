"""Our ProGAN networks, layers and losses against outputs recorded from genforce/genforce and akanimax/pro_gan_pytorch.

genforce counts levels of detail from the finest: lod L + f with 0 <= f < 1 is our Stage(finest - L, alpha = 1 - f). It
works on full-size images, enlarged by nearest neighbours and reduced by 2x2 means; ours have the size of their level.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import foreign
from ganzoo.interfaces import Discriminator, Stage, Turn
from ganzoo.nn.equal import ActLinear, Conv2d, Linear
from ganzoo.nn.norm import minibatch_std, pixel_norm
from reference import GRADIENT, Recorded, experiment, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SMALL_G = foreign.genforce_pggan_generator_recipe({"z_space_dim": 4, "fmaps_base": 16, "fmaps_max": 4})
SMALL_D = foreign.genforce_pggan_discriminator_recipe({"fmaps_base": 16, "fmaps_max": 4})


def stage_of(lod: float, finest: int) -> Stage:
    """genforce's level of detail as our stage."""
    return Stage(finest - math.floor(lod), 1 - (lod - math.floor(lod)))


@PRECISIONS
@pytest.mark.parametrize("name", ["06_gf_pggan_G", "06_gf_pggan_G_fused", "06_gf_pggan_G_label_tanh"])
def test_generator(name: str, dtype: torch.dtype) -> None:
    """Images at every level and amid a fade. The latent comes in normalised, as genforce normalises it twice."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    labels, size = meta.get("label_size", 0), meta["resolution"]
    G = experiment(size, foreign.genforce_pggan_generator_recipe(meta), SMALL_D, dtype, labels=labels).G
    weights = foreign.genforce_pggan_generator(recorded.state(), meta)
    G.load_state_dict({**weights, "w_mean": G.w_mean})  # this reference keeps no mean style
    z, label = pixel_norm(recorded["z"]), recorded["label"] if labels else None
    recorded.check("z_normalized", z if label is None else torch.cat([z, label], dim=1))
    finest = len(G.shape.sizes) - 1
    for lod in recorded.meta["lods"]:
        stage = stage_of(lod, finest)
        with torch.no_grad():
            (image,) = G(z, label, stage)
        assert image.shape[2:] == G.shape.sizes[stage.level]
        image = F.interpolate(image, size=(size, size), mode="nearest")
        recorded.check(f"lod{lod}/image", image.tanh() if meta.get("final_tanh") else image)


def discriminator(name: str, dtype: torch.dtype) -> tuple[Discriminator, Recorded]:
    """Our discriminator with a file's weights."""
    recorded = load(name, dtype)
    meta = recorded.meta["constructor_kwargs"]
    D = experiment(meta["resolution"], SMALL_G, foreign.genforce_pggan_discriminator_recipe(meta), dtype).D
    D.load_state_dict(foreign.genforce_pggan_discriminator(recorded.state(), meta))
    return D, recorded


@PRECISIONS
@pytest.mark.parametrize("name", ["06_gf_pggan_D", "06_gf_pggan_D_label"])
def test_discriminator(name: str, dtype: torch.dtype) -> None:
    """Scores at every level, amid a fade, and at all batch sizes. Class logits, which ours has not, are left out."""
    D, recorded = discriminator(name, dtype)
    image, finest = recorded["image"], len(D.shape.sizes) - 1

    def check(what: str, score: Tensor) -> None:
        scores = {k: v[:, :1] for k, v in recorded.tensors.items() if k.endswith("/score")}
        Recorded(scores, recorded.meta, dtype).check(what, score)

    with torch.no_grad():
        for lod in recorded.meta["lods"]:
            stage = stage_of(lod, finest)
            check(f"lod{lod}/score", D((F.avg_pool2d(image, 2 ** (finest - stage.level)),), None, stage))
        for n in (4, 2):
            check(f"batch{n}/score", D((image[:n],)))


@PRECISIONS
@pytest.mark.parametrize("name", ["06_gf_pggan_D", "06_gf_pggan_D_label"])
def test_discriminator_input_gradient(name: str, dtype: torch.dtype) -> None:
    D, recorded = discriminator(name, dtype)
    image = recorded["image"].requires_grad_()
    (gradient,) = torch.autograd.grad(D((image,)).sum(), image)
    recorded.check("image_grad", gradient[:2], GRADIENT)
    recorded.check("grad_norm", gradient.square().sum(dim=[1, 2, 3]).sqrt(), GRADIENT)


@PRECISIONS
def test_layers(dtype: torch.dtype) -> None:
    """akanimax's equalized layers, pixel norm (small input, so that eps counts) and minibatch deviation."""
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
    """A transposed 4x4 convolution of one pixel is our dense stem; akanimax's scale is 4 times the paper's."""
    from ganzoo_progan.generator import Dense

    recorded = load("06_progan_layers", dtype)
    weight, bias = recorded.state("deconv.")["weight"], recorded.state("deconv.")["bias"]  # [I, O, 4, 4], [O]
    stem = Dense(weight.shape[0], weight.shape[1], (4, 4), norm=None).to(dtype)
    stem.load_state_dict({"dense.weight": weight.flatten(1).T * 4, "bias": bias})
    with torch.no_grad():
        out = stem(recorded["deconv"].flatten(1))
    recorded.check("deconv", torch.where(out < 0, out / 0.2, out))


# --- losses ----------------------------------------------------------------------------------------------------------


def wgan(dtype: torch.dtype, **tree: Any) -> tuple[Any, Recorded, Turn]:
    """akanimax's discriminator in the middle of a fade, our loss and penalty, the recorded batch."""
    recorded = load("06_wgan_gp", dtype)
    kwargs, width = recorded.meta["constructor_kwargs"], recorded.meta["nf_defaults"][-1]
    latent = kwargs["latent_size"]
    tree_d = foreign.genforce_pggan_discriminator_recipe({"fmaps_max": width, "minibatch_std_group_size": 4})
    gan = experiment(4 << kwargs["depth"] - 2, SMALL_G, tree_d, dtype, **tree)
    # Its last hidden layer is as wide as the latent, and ours as the 4x4 features.
    gan.D.head.dense, gan.D.head.out = ActLinear(width * 16, latent).to(dtype), Linear(latent, 1).to(dtype)
    gan.D.load_state_dict(foreign.akanimax_discriminator(recorded.state(), kwargs))
    stage = Stage(kwargs["depth"] - 2, recorded.meta["alpha"])
    z = torch.zeros(8, 4, dtype=dtype)
    return gan, recorded, Turn(gan.G, gan.D, stage, z, None, (recorded["real"],), None, made=(recorded["fake"],))


@PRECISIONS
def test_wgan_gp(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wasserstein loss with drift, penalty between real and fake, gradients of their sum."""
    drift = load("06_wgan_gp").meta["constructor_kwargs"]["drift"]
    loss, penalty = {"use": "wasserstein", "drift": drift}, {"use": "wgan_gp", "weight": 10, "target": 1}
    gan, recorded, turn = wgan(dtype, loss=loss, regularizers=[penalty])
    real, fake = gan.D(turn.real, None, turn.stage), gan.D(turn.fake, None, turn.stage)
    recorded.check("score_real", real.flatten())
    recorded.check("score_fake", fake.flatten())
    # This reference's weight belongs to the real image; ours, as the paper's, to the step towards the fake one.
    monkeypatch.setattr(torch, "rand", lambda *shape, **kwargs: 1 - recorded["eps"])
    penalty = gan.regularizers[0].penalty(turn)
    recorded.check("gradient_penalty", penalty.mean(), GRADIENT)
    loss = gan.loss.d(real, fake).mean() + penalty.mean()
    recorded.check("d_loss", loss, GRADIENT)
    recorded.check("g_loss", gan.loss.g(fake, torch.zeros_like(fake)).mean())
    loss.backward()
    gradients = dict(gan.D.named_parameters())
    kwargs = recorded.meta["constructor_kwargs"]
    names = [key.removeprefix("out/grad/") for key in recorded.tensors if key.startswith("out/grad/")]
    assert len(names) == 4
    for name in names:
        (ours,) = foreign.akanimax_discriminator({name: recorded.state()[name]}, kwargs)
        recorded.check(f"grad/{name}", gradients[ours].grad, GRADIENT)


@PRECISIONS
def test_logistic_loss(dtype: torch.dtype) -> None:
    """akanimax's standard GAN loss is the mean of D's two cross entropies, ours their sum."""
    gan, recorded, turn = wgan(dtype, loss="logistic")
    real, fake = gan.D(turn.real, None, turn.stage), gan.D(turn.fake, None, turn.stage)
    recorded.check("bce_d_loss", gan.loss.d(real, fake).mean() / 2)
    recorded.check("bce_g_loss", gan.loss.g(fake, real).mean())
