"""Projection: its formulas against independent ones, and what the search promises."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

import ganzoo
from ganzoo import project
from ganzoo import project_report as report
from ganzoo.errors import CheckpointError, RecipeError, UsageError
from ganzoo.interfaces import Perceptual, Projector
from ganzoo.interfaces.embedding import NOISE
from ganzoo.project import Projection
from ganzoo.registry import registry
from ganzoo_projection import stylegan2
from ganzoo_projection.perceptual import LPIPSDistance, Pixel, RandomFeatures, VGGFeatures
from snapshots import family

MODELS = {
    "stylegan2": ["stylegan2-tiny"],
    "stylegan": ["stylegan-tiny"],
    "growing": [
        "progan-tiny",
        "generator.synthesis.block.layer=modconv",
        "generator.mapping=mlp",
        "growth.train_kimg=1",
        "growth.fade_kimg=1",
    ],
    "progan": ["progan-tiny"],
    "msggan": ["msggan-tiny"],
    "conditional": ["stylegan2-tiny", "labels"],
    "gray": ["stylegan2-tiny", "image.channels=1"],
    "two channels": ["stylegan2-tiny", "image.channels=2", "image.size=[32,16]"],
    "rgba": ["stylegan2-tiny", "image.channels=4", "image.size=[16,8]"],
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("models"), MODELS)


@pytest.fixture(scope="module")
def precise(snapshots):
    """A model in float64, where sums in another order do not show."""
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    model.G.double()
    return model


def pixels(*sizes: int, seed: int = 0) -> Tensor:
    return torch.rand(sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def made(model, name: str, **options) -> Projector:
    return project.factory(name, {"perceptual": "pixel", **options})(model.G.shape.channels)


def through(search: Projection, steps: int = 10_000) -> Projection:
    while not search.done and steps:
        search.advance()
        steps -= 1
    return search


# --- schedules -------------------------------------------------------------------------------------------------------


LR = {0: 0, 1: 0.002, 25: 0.05, 50: 0.1, 400: 0.1, 750: 0.1, 800: 0.0904508, 875: 0.05, 900: 0.0345492, 950: 0.0095492}


@pytest.mark.parametrize("step, lr", [*LR.items(), (999, 3.95e-6)])
def test_stylegan2s_learning_rate(precise, step, lr):
    assert made(precise, "stylegan2").lr(step) == pytest.approx(lr, rel=1e-3 if step == 999 else 1e-5)


@pytest.mark.parametrize(
    "step, factor", [(0, 0.05), (50, 0.0435556), (375, 0.0125), (500, 0.0055556), (750, 0), (999, 0)]
)
def test_stylegan2s_noise_on_w(precise, step, factor):
    """As the projector adds it: the noise's deviation, in spreads."""
    assert stylegan2.noise_factor(step / 1000, 0.05, 0.75) == pytest.approx(factor, rel=1e-5)
    view, projector = project.view(precise), made(precise, "stylegan2")
    latent = torch.zeros(1, 1, 8, dtype=torch.float64)
    seeds = [replace(view, seed=i) for i in range(30)]
    added = torch.cat([projector.tried(one, latent, step) for one in seeds])
    assert float(added.std()) == pytest.approx(factor * view.spread, rel=0.2)


def test_image2stylegans_constants(precise):
    projector = project.factory("image2stylegan", {"perceptual": "pixel"})(3)
    assert (projector.lr(0), projector.lr(4999), projector.steps, projector.space) == (0.01, 0.01, 5000, "w+")
    adam = Projection(project.view(precise), projector, pixels(1, 3, 16, 16)).adam
    assert (adam.defaults["betas"], adam.defaults["eps"]) == ((0.9, 0.999), 1e-8)


# --- noise maps ------------------------------------------------------------------------------------------------------


def slow_correlation(noise: np.ndarray) -> float:
    total = 0.0
    while True:
        h, w = noise.shape
        across = sum(noise[y, x] * noise[y, (x - 1) % w] for y in range(h) for x in range(w)) / (h * w)
        down = sum(noise[y, x] * noise[(y - 1) % h, x] for y in range(h) for x in range(w)) / (h * w)
        total += across**2 + down**2
        if min(h, w) <= 8:
            return total
        noise = (noise[::2, ::2] + noise[1::2, ::2] + noise[::2, 1::2] + noise[1::2, 1::2]) / 4


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (32, 32), (32, 16)])
def test_noise_regularizer(size):
    noise = np.random.default_rng(0).normal(size=(3, *size))
    found = stylegan2.correlation(torch.from_numpy(noise)[:, None])
    assert found.tolist() == pytest.approx([slow_correlation(one) for one in noise], rel=1e-10)


def test_noise_regularizer_of_a_chessboard():
    """Each neighbour is the opposite: 1 along both axes; means of 2x2 are 0, and add nothing."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    assert stylegan2.correlation(board[None, None]).tolist() == [2.0]


def test_noise_stays_normal(precise):
    search = through(Projection(project.view(precise), made(precise, "stylegan2", steps=5), pixels(2, 3, 16, 16)))
    maps = [t for name, t in search.variables.items() if name.startswith(NOISE)]
    assert len(maps) == 5  # 4x4 has one, 8x8 and 16x16 two
    for t in maps:
        assert t.mean(dim=(1, 2, 3)).abs().max() < 1e-12
        assert t.square().mean(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])


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


def apart(net: Perceptual, a: Tensor, b: Tensor) -> list[float]:
    with torch.no_grad():
        return net.double().apart(a, net(b)).tolist()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixel_is_the_mean_square(channels):
    a, b = pixels(2, channels, 8, 12), pixels(2, channels, 8, 12, seed=1)
    wanted = [float(np.mean((x - y) ** 2)) for x, y in zip(a.numpy(), b.numpy())]
    assert apart(Pixel(channels), a, b) == pytest.approx(wanted, rel=1e-12)


def test_conv_random_is_the_sum_of_three_mean_squares():
    from ganzoo.nn.fixed import RandomConvs

    a, b = pixels(2, 5, 12, 8), pixels(2, 5, 12, 8, seed=1)
    maps = [RandomConvs(5).maps(x) for x in (a, b)]
    wanted = sum((x - y).square().mean(dim=(1, 2, 3)) for x, y in zip(*maps)).tolist()
    assert apart(RandomFeatures(5), a, b) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("point, indices", [("pre", (0, 2, 12, 19)), ("post", (1, 3, 13, 20))])
@pytest.mark.parametrize("norm", [True, False])
def test_image2stylegans_layers(vgg_file, point, indices, norm):
    net = VGGFeatures(3, layer_point=point, imagenet_norm=norm, side=16, lambdas=(1, 2, 3, 4), weights=vgg_file)
    a, b = pixels(2, 3, 16, 16), pixels(2, 3, 16, 16, seed=1)
    names = dict(zip(indices, "abcd"))
    x, y = (layers_of(normalised(i) if norm else (i + 1) / 2, names) for i in (a, b))
    wanted = sum(weight * (x[n] - y[n]).square().mean(dim=(1, 2, 3)) for weight, n in zip((1, 2, 3, 4), "abcd"))
    assert apart(net, a, b) == pytest.approx(wanted.tolist(), rel=1e-5)


def test_lpips(vgg_file):
    """The equation of arXiv:1801.03924, written out."""
    net = LPIPSDistance(3, weights=vgg_file)
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


@pytest.mark.parametrize("make", [VGGFeatures, LPIPSDistance])
def test_networks_that_see_colours(make, vgg_file):
    """Gray is repeated, alpha compared beside, two channels refused; any size and proportion works."""
    gray, other = pixels(1, 1, 40, 20), pixels(1, 1, 40, 20, seed=1)
    small = {"weights": vgg_file, "side": 32}
    three = make(3, **small)
    assert apart(make(1, **small), gray, other) == apart(three, gray.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1))
    a, b = pixels(1, 4, 24, 24), pixels(1, 4, 24, 24, seed=1)
    wanted = apart(three, a[:, :3], b[:, :3])[0] + float((a[:, 3] - b[:, 3]).square().mean())
    assert apart(make(4, **small), a, b) == pytest.approx([wanted])
    with pytest.raises(RecipeError, match=r"2 channels\. Choose pixel or conv-random\."):
        make(2, **small)
    for size in ((4, 4), (5, 7), (64, 16)):
        assert apart(three, pixels(1, 3, *size), pixels(1, 3, *size, seed=1))[0] > 0


@pytest.mark.parametrize("make", [VGGFeatures, LPIPSDistance])
def test_weights_that_are_missing(make, monkeypatch, tmp_path):
    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vgg16.*weights") as err:
        make(3)
    assert str(tmp_path / "weights") in str(err.value)


@pytest.mark.parametrize("name", ["pixel", "conv-random"])
def test_perceptuals_are_differentiable_distances(name):
    net = registry().get("perceptual", name)(3)
    a = pixels(2, 3, 8, 8).float().requires_grad_()
    assert net.apart(a, net(a.detach())).tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(net.apart(a, net(pixels(2, 3, 8, 8, seed=1).float())).sum(), a)
    assert gradient.isfinite().all() and (gradient != 0).any()


# --- numbers of reports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels, size", [(3, (32, 32)), (1, (24, 40)), (4, (11, 16))])
def test_ssim_is_torchmetrics(channels, size):
    a, b = (np.random.default_rng(i).integers(0, 256, (channels, *size), np.uint8) for i in range(2))
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    theirs = [torch.from_numpy(x.astype(np.float64))[None] for x in (a, b)]
    _, whole = structural_similarity_index_measure(*theirs, data_range=255.0, return_full_image=True)
    inside = whole[..., 5:-5, 5:-5]  # there borders are reflected; the window of the paper stays inside
    assert report.ssim(a, b) == pytest.approx(float(inside.mean()), rel=1e-6)


def test_ssim_of_small_images():
    a = np.random.default_rng(0).integers(0, 256, (3, 4, 6), np.uint8)
    assert report.ssim(a, a) == pytest.approx(1)
    assert report.ssim(a, 255 - a) < 0.5


def test_psnr():
    a = np.zeros((3, 4, 4), np.uint8)
    b = a + np.uint8(5)
    assert report.psnr(report.mean_squared(a, b)) == pytest.approx(20 * math.log10(255 / 5))
    assert report.psnr(0) == 99


# --- the view --------------------------------------------------------------------------------------------------------


def test_mean_and_spread(precise):
    """Of the style codes of 10,000 latents of RandomState(123)."""
    w = precise.G.map(torch.from_numpy(np.random.RandomState(123).randn(10000, 8)).float().double()).numpy()
    view = project.view(precise)
    assert view.mean.tolist() == pytest.approx(w.mean(axis=0).tolist(), rel=1e-9)
    assert view.spread == pytest.approx(math.sqrt(((w - w.mean(axis=0)) ** 2).sum() / 10000), rel=1e-9)


def test_noise_inputs_of_a_growing_generator(snapshots):
    model = ganzoo.load(snapshots("growing"), "cpu")
    view = project.view(model)
    assert model.unfinished and view.shape.size == (8, 8)
    assert all("blocks.2" not in name for name in view.noises)


def test_a_conditional_model_needs_its_class(snapshots):
    model = ganzoo.load(snapshots("conditional"), "cpu")
    with pytest.raises(UsageError, match="3 classes"):
        project.view(model)
    means = [project.view(model, label).mean for label in (0, 1)]
    assert not torch.equal(*means)


# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("method", ["image2stylegan", "stylegan2"])
@pytest.mark.parametrize("space", ["w", "w+"])
def test_every_generator(snapshots, name, method, space):
    model = ganzoo.load(snapshots(name), "cpu")
    view = project.view(model, 1 if name == "conditional" else None)
    channels, size = model.G.shape.channels, view.shape.size
    search = Projection(view, made(model, method, space=space, steps=3), pixels(2, channels, *size).float())
    begun = {n: t.detach().clone() for n, t in search.variables.items()}
    through(search)
    ws, images = search.codes(), search.images()
    assert ws.shape == (2, model.G.num_ws, model.G.w_mean.shape[0])
    assert images.shape == (2, channels, *size)
    latent = search.variables["latent"]
    assert not torch.equal(latent, begun["latent"])
    if not view.mapped:
        assert latent.shape == (2, model.G.z_dim)
    else:
        same = bool((ws == ws[:, :1]).all())
        assert same == (space == "w")
    if method == "image2stylegan":  # the stored noise: what other commands make of the codes
        assert torch.equal(images, model.render(ws))
    assert search.losses.shape == (3, 2)


@pytest.mark.parametrize("init", ["mean", "uniform", "random"])
def test_starts(precise, init):
    view = project.view(precise, seed=5)
    latent = made(precise, "image2stylegan", init=init).start(view, 2)
    assert latent.shape == (2, view.G.num_ws, 8)
    assert torch.equal(latent[0], latent[1])
    if init == "mean":
        assert torch.equal(latent[0], view.mean.expand_as(latent[0]))
    if init == "random":  # the style code of `gz generate --seeds 5`
        z = torch.from_numpy(np.random.RandomState(5).randn(1, 8))
        assert torch.equal(latent[0], precise.G.styles(z)[0])
    if init == "uniform":
        assert latent.abs().max() <= 1 and latent[0].std() > 0.3


def test_the_loop_is_adam_on_the_summed_loss(precise):
    """Against the equations of Adam, written out, and autograd on the loss of the paper."""
    view, target = project.view(precise), pixels(1, 3, 16, 16)
    search = Projection(view, made(precise, "image2stylegan", lambda_percept=0.5, lambda_mse=2.0, steps=6), target)
    w = view.mean.expand(1, view.G.num_ws, -1).clone().requires_grad_()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t in range(1, 7):
        with view.G.noise("const"):
            loss = 2.5 * F.mse_loss(view.G.synthesize(w, precise.stage)[-1], target)
        assert search.advance().item() == pytest.approx(loss.item(), rel=1e-9)
        (g,) = torch.autograd.grad(loss, w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = 0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        w = (w - step).detach().requires_grad_()
    assert (search.variables["latent"] - w).abs().max() < 1e-9


@pytest.mark.parametrize("method", ["image2stylegan", "stylegan2"])
def test_the_result_does_not_depend_on_company(precise, method):
    view, targets = project.view(precise), pixels(3, 3, 16, 16)
    options = {"steps": 40, "perceptual": "conv-random", "patience": 6, "improvement": 0.05}

    def found(images: Tensor) -> tuple[Tensor, list[int]]:
        search = through(Projection(view, made(precise, method, **options).double(), images))
        return search.codes(), search.lengths

    together, lengths = found(targets)
    for i in range(3):
        alone, length = found(targets[i : i + 1])
        assert (together[i] - alone[0]).abs().max() < 1e-7
        assert length == lengths[i : i + 1]


def test_patience(precise):
    """A search ends k steps after its last improvement, and stays where it was."""
    view, targets = project.view(precise), pixels(2, 3, 16, 16)
    options = {"steps": 500, "patience": 5, "improvement": 0.3}
    search = Projection(view, made(precise, "image2stylegan", **options), targets)
    held: dict[int, Tensor] = {}
    while not search.done:
        search.advance()
        for i, ended in enumerate(search.ended.tolist()):
            if ended == search.step:
                held[i] = search.variables["latent"][i].detach().clone()
    losses = search.losses
    for i, length in enumerate(search.lengths):
        best, at, wanted = math.inf, 0, None
        for step in range(len(losses)):
            if losses[step, i] < best * 0.7:
                best, at = float(losses[step, i]), step
            if step - at >= 5:
                wanted = step + 1
                break
        assert length == wanted < 500
        assert torch.equal(search.variables["latent"][i], held[i])
    assert search.step == max(search.lengths)


@pytest.mark.parametrize("method", ["image2stylegan", "stylegan2"])
def test_what_is_resumed_is_the_same_to_the_bit(snapshots, method):
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    view, targets = project.view(model), pixels(3, 3, 16, 16).float()
    options = {"steps": 24, "patience": 4, "improvement": 0.02, "perceptual": "conv-random"}

    def fresh() -> Projection:
        return Projection(view, made(model, method, **options), targets, frames=6)

    whole = through(fresh())
    first = through(fresh(), 9)
    second = fresh()
    second.restore(first.state())
    through(second)
    states = whole.state(), second.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(whole.trail, second.trail)
    assert torch.equal(whole.images(), second.images())


def test_an_image_of_the_generators_own_is_found(snapshots):
    """From a known w: the loss falls far, further in W+ than the target's distance from the mean image."""
    model = ganzoo.load(snapshots("stylegan2"), "cpu")
    view, target = project.view(model), model.images([1, 2], psi=0.7)
    mean = model.render(view.mean.expand(1, model.G.num_ws, -1))
    before = (mean - target).square().mean(dim=(1, 2, 3))
    for space in ("w", "w+"):
        search = through(Projection(view, made(model, "image2stylegan", space=space, steps=80, lr=0.05), target))
        after = (search.images() - target).square().mean(dim=(1, 2, 3))
        assert (after < before / 30).all()
