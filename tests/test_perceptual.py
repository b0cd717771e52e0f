"""What compares images in a projection: perceptual distances, SSIM and PSNR against independent formulas."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.pixel import Pixel
from ganzoo.extractors.vgg import VGG16
from ganzoo.registry.lookup import registry
from ganzoo_projection.job import similarity
from ganzoo_projection.perceptual import IMAGE2STYLEGAN, LPIPS, Outputs, PerceptualDistance, perceptual_distance
from random_pixels import pixels

# --- what compares images --------------------------------------------------------------------------------------------


def random_vgg(seed: int = 0) -> dict[str, Tensor]:
    """VGG-16 up to conv4_2 with random weights, under torchvision's names."""
    draw, state, inputs = torch.Generator().manual_seed(seed), {}, 3
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for i, width in zip(indices, (64, 64, 128, 128, 256, 256, 256, *[512] * 6)):
        state[f"features.{i}.weight"] = torch.randn(width, inputs, 3, 3, generator=draw) * (2 / inputs / 9) ** 0.5
        state[f"features.{i}.bias"] = torch.randn(width, generator=draw) * 0.1
        inputs = width
    return state


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "random.safetensors"
    widths = (64, 128, 256, 512, 512)
    lin = {f"lin{i}": torch.rand(width, generator=torch.Generator().manual_seed(i)) for i, width in enumerate(widths)}
    save_file(random_vgg() | lin, path)
    return path


def layers_of(x: Tensor, wanted: dict[int, str]) -> dict[str, Tensor]:
    """What torchvision's `features` would give after these indices, in float64."""
    state, found = random_vgg(), {}
    pools = (4, 9, 16, 23, 30)
    for i in range(30):
        if i in pools:
            x = F.max_pool2d(x, 2)
        elif f"features.{i}.weight" in state:
            weight, bias = (state[f"features.{i}.{part}"].double() for part in ("weight", "bias"))
            x = F.conv2d(x, weight, bias, padding=1)
        else:
            x = x.clamp(min=0)
        if i in wanted:
            found[wanted[i]] = x
    return found


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(x: Tensor) -> Tensor:
    """Of [-1, 1], by ImageNet's published mean and deviation of [0, 1]."""
    return ((x + 1) / 2 - torch.tensor(MEAN)[:, None, None].double()) / torch.tensor(STD)[:, None, None].double()


def built(make: Any, channels: int, defaults: Outputs = LPIPS, **options: Any) -> PerceptualDistance:
    return perceptual_distance(make, channels, defaults, **options)


def apart(net: PerceptualDistance, a: Tensor, b: Tensor) -> list[float]:
    with torch.no_grad():
        return net.double().distance(a, net(b)).tolist()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixel_is_the_mean_square(channels):
    a, b = pixels(2, channels, 8, 12), pixels(2, channels, 8, 12, seed=1)
    wanted = [float(np.mean((x - y) ** 2)) for x, y in zip(a.numpy(), b.numpy())]
    assert apart(built(Pixel, channels), a, b) == pytest.approx(wanted, rel=1e-12)


def test_conv_random_is_the_sum_of_three_mean_squares():
    from ganzoo.nn.random_convs import RandomConvs

    a, b = pixels(2, 5, 12, 8), pixels(2, 5, 12, 8, seed=1)
    maps = [RandomConvs(5).maps(x) for x in (a, b)]
    wanted = sum((x - y).square().mean(dim=(1, 2, 3)) for x, y in zip(*maps)).tolist()
    assert apart(built(ConvRandom, 5), a, b) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("point, indices", [("pre", (0, 2, 12, 19)), ("post", (1, 3, 13, 20))])
@pytest.mark.parametrize("norm", [True, False])
def test_image2stylegans_layers(vgg_file, point, indices, norm):
    make = partial(VGG16, preprocessing="torchvision" if norm else "unit", weights=vgg_file)
    names = [name.replace("relu", "conv") if point == "pre" else name for name in IMAGE2STYLEGAN]
    net = built(make, 3, IMAGE2STYLEGAN, outputs=tuple(names), side=16, lambdas=(1, 2, 3, 4))
    a, b = pixels(2, 3, 16, 16), pixels(2, 3, 16, 16, seed=1)
    names = dict(zip(indices, "abcd"))
    x, y = (layers_of(normalised(i) if norm else (i + 1) / 2, names) for i in (a, b))
    wanted = sum(weight * (x[n] - y[n]).square().mean(dim=(1, 2, 3)) for weight, n in zip((1, 2, 3, 4), "abcd"))
    assert apart(net, a, b) == pytest.approx(wanted.tolist(), rel=1e-5)


def test_lpips(vgg_file):
    """The equation of arXiv:1801.03924, written out."""
    net = built(partial(VGG16, weights=vgg_file), 3)
    a, b = pixels(2, 3, 16, 16), pixels(2, 3, 16, 16, seed=1)
    taps = dict(zip((3, 8, 15, 22, 29), range(5)))
    shift, scale = (torch.tensor(v).double()[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    x, y = (layers_of((i - shift) / scale, taps) for i in (a, b))
    total = torch.zeros(2)
    for i, width in enumerate((64, 128, 256, 512, 512)):
        lin = torch.rand(width, generator=torch.Generator().manual_seed(i))
        unit = [t[i] / (t[i].square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for t in (x, y)]
        total = total + (lin[:, None, None] * (unit[0] - unit[1]).square()).sum(dim=1).mean(dim=(1, 2))
    assert apart(net, a, b) == pytest.approx(total.tolist(), rel=1e-5)


@pytest.mark.parametrize("defaults", [IMAGE2STYLEGAN, LPIPS])
def test_networks_that_see_colours(defaults, vgg_file):
    """Gray is repeated, alpha compared beside, two channels refused; any size and proportion works."""
    gray, other = pixels(1, 1, 40, 20), pixels(1, 1, 40, 20, seed=1)
    make = partial(built, partial(VGG16, weights=vgg_file), defaults=defaults, side=32)
    three = make(3)
    assert apart(make(1), gray, other) == apart(three, gray.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1))
    a, b = pixels(1, 4, 24, 24), pixels(1, 4, 24, 24, seed=1)
    wanted = apart(three, a[:, :3], b[:, :3])[0] + float((a[:, 3] - b[:, 3]).square().mean())
    assert apart(make(4), a, b) == pytest.approx([wanted])
    with pytest.raises(RecipeError, match=r"2 channels\. Choose pixel or conv-random\."):
        make(2)
    for size in ((4, 4), (5, 7), (64, 16)):
        assert apart(three, pixels(1, 3, *size), pixels(1, 3, *size, seed=1))[0] > 0


@pytest.mark.parametrize("defaults", [IMAGE2STYLEGAN, LPIPS])
def test_weights_that_are_missing(defaults, monkeypatch, tmp_path):
    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vgg16.*weights") as err:
        built(VGG16, 3, defaults)
    assert str(tmp_path / "weights") in str(err.value)


@pytest.mark.parametrize("name", ["pixel", "conv-random"])
def test_perceptuals_are_differentiable_distances(name):
    net = built(registry().get("extractor", name), 3)
    a = pixels(2, 3, 8, 8).float().requires_grad_()
    assert net.distance(a, net(a.detach())).tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(net.distance(a, net(pixels(2, 3, 8, 8, seed=1).float())).sum(), a)
    assert gradient.isfinite().all() and (gradient != 0).any()


# --- numbers of reports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels, size", [(3, (32, 32)), (1, (24, 40)), (4, (11, 16))])
def test_ssim_is_torchmetrics(channels, size):
    a, b = (np.random.default_rng(i).integers(0, 256, (channels, *size), np.uint8) for i in range(2))
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    theirs = [torch.from_numpy(x.astype(np.float64))[None] for x in (a, b)]
    _, whole = structural_similarity_index_measure(*theirs, data_range=255.0, return_full_image=True)
    inside = whole[..., 5:-5, 5:-5]  # there borders are reflected; the window of the paper stays inside
    assert similarity.ssim(a, b) == pytest.approx(float(inside.mean()), rel=1e-6)


def test_ssim_of_small_images():
    a = np.random.default_rng(0).integers(0, 256, (3, 4, 6), np.uint8)
    assert similarity.ssim(a, a) == pytest.approx(1)
    assert similarity.ssim(a, 255 - a) < 0.5


def test_psnr():
    a = np.zeros((3, 4, 4), np.uint8)
    b = a + np.uint8(5)
    assert similarity.psnr(similarity.mean_squared(a, b)) == pytest.approx(20 * math.log10(255 / 5))
    assert similarity.psnr(0) == 99
