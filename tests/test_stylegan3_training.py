"""StyleGAN3 in training: phases, the blur of configuration R, half precision, the recipes' numbers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from conftest import small, trainer
from ganzoo import recipe
from ganzoo.gan.rules import cautions
from ganzoo_augment.ada import ADA
from ganzoo_stylegan3.blur import Blur, blurred

NARROW = ["generator.channel_base=64", "generator.channel_max=4", "metrics=[]"]


def test_a_step_moves_each_statistic_once() -> None:
    """Mean squares and mean style follow the images of D's loss; G learns, and its average copies buffers."""
    made = trainer("stylegan3-r-tiny", *NARROW)
    synthesis, before = made.G.synthesis, copy.deepcopy(made.G)
    powers: list[list[float]] = []
    hook = synthesis.layers[3].register_forward_hook(
        lambda layer, inputs, output: powers.append(
            [float(inputs[0].detach().square().mean()), float(layer.magnitude_ema)]
        )
    )
    real = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made.step(real, torch.zeros(4, 0), torch.zeros(4, 0))
    hook.remove()
    beta = synthesis.layers[3].magnitude_beta
    assert [ema for _, ema in powers] == pytest.approx([1.0, powers[1][0] * (1 - beta) + beta])
    assert not torch.equal(made.G.w_mean, before.w_mean)
    assert torch.equal(made.G_ema.synthesis.layers[3].magnitude_ema, synthesis.layers[3].magnitude_ema)
    after = dict(made.G.named_parameters())
    assert [name for name, p in before.named_parameters() if torch.equal(p, after[name])] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_about_the_same(dtype: torch.dtype) -> None:
    """float16 in the layers at rates above 1/16 of the image's: here in all of them."""
    made = trainer("stylegan3-t-tiny", *NARROW)
    z = torch.randn(2, 8)
    with torch.no_grad():
        expected = made.G(z)[-1]
        made.G.set_dtype(dtype)
        image = made.G(z)[-1]
    assert image.dtype == torch.float32 and not torch.equal(image, expected)
    assert (image - expected).norm() < 0.05 * expected.norm()


# --- the blur --------------------------------------------------------------------------------------------------------


def test_blur_by_its_definition() -> None:
    """Taps 2^(-(i / sigma)²) up to 3 sigma, of sum 1, both ways, with zeros around; below 1/3 nothing."""
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    taps = torch.tensor([2.0 ** -((i / 1.5) ** 2) for i in range(-4, 5)], dtype=torch.float64)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    assert torch.allclose(blurred(x, 1.5), F.conv2d(x, kernel.expand(3, 1, 9, 9), padding=4, groups=3))
    assert blurred(x, 0.33) is x
    assert torch.allclose(blurred(torch.ones(1, 1, 64, 64), 3.0)[..., 16:-16, 16:-16], torch.ones(1))


def test_blur_fades_and_then_augments() -> None:
    """By the images shown; a pyramid's smaller images by as large a share; what is behind it adapts and is saved."""
    node = recipe.load("stylegan3-r-1024")
    blur = node["augment"].bind()()
    assert isinstance(blur, Blur) and isinstance(blur.then, ADA)
    for images, sigma in ((0, 10.0), (100_000, 5.0), (200_000, 0.0), (10**7, 0.0)):
        blur.begin(images)
        assert blur.values() == {"sigma": sigma, "p": 0.0}
    x = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(blur(x), x))
    blur.begin(180_000)
    assert torch.equal(blur(x)[0], blurred(x[0], 0.5)) and torch.equal(blur(x)[1], blurred(x[1], 1.0))
    for _ in range(4):
        blur.observe(torch.ones(8, 1))
        blur.adapt(32)
    assert blur.values()["p"] == pytest.approx(128 / 500_000)
    assert {"sigma_now", "then.p"} <= blur.state_dict().keys()


@pytest.mark.parametrize(("augment", "adapts"), [("{use: blur}", False), ("{use: blur, then: ada}", True)])
def test_what_adapts_behind_a_blur_is_cautioned_of(augment: str, adapts: bool) -> None:
    node = small("stylegan3-t-tiny", "loss=relativistic_paired", f"augment={augment}")
    assert any("follows the sign of D's logits" in str(caution) for caution in cautions(node)) == adapts


# --- recipes ---------------------------------------------------------------------------------------------------------

GAMMA = {128: 0.5, 256: 2, 512: 8, 1024: 32}


@pytest.mark.parametrize("size", GAMMA)
@pytest.mark.parametrize("config", ["t", "r"])
def test_recipes(config: str, size: int) -> None:
    """The released configurations, at a batch of 32."""
    node = recipe.load(f"stylegan3-{config}-{size}")
    training, G = node.value("training"), node["generator"]
    regularizers = node.children["regularizers"]
    assert isinstance(regularizers, list) and [r.cls.name for r in regularizers] == ["r1"]
    assert (regularizers[0].value("gamma"), regularizers[0].value("every")) == (GAMMA[size], 16)
    assert (training.batch, training.lr, training.d_lr, training.betas) == (32, 0.0025, 0.002, (0, 0.99))
    assert (training.ema_kimg, training.ema_rampup, training.order) == (10, 0.05, "gd")
    assert (G.value("mixing"), G.value("w_mean_beta"), G.value("w_mean_phases")) == (0, 0.998, "d")
    assert node["generator.mapping"].value("depth") == 2
    synthesis = node["generator.synthesis"]
    assert (synthesis.value("kernel"), synthesis.value("radial")) == ((3, False) if config == "t" else (1, True))
    assert synthesis.value("magnitude_beta") == pytest.approx(0.5 ** (32 / 20_000), abs=1e-8)
    widths = (32768, 512) if config == "t" else (65536, 1024)
    assert (G.value("channel_base"), G.value("channel_max")) == widths
    assert node["discriminator"].value("channel_base") == 32768
    assert node["augment"].cls.name == ("ada" if config == "t" else "blur")
    assert math.isclose(node["discriminator.head.statistic"].value("group"), 4)
