"""Projection: its schedules against independent formulas, and what the search promises."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ganzoo
from ganzoo.errors import UsageError
from ganzoo_projection import search as project
from ganzoo_projection.interfaces import NOISE, Projector
from ganzoo_projection.projectors import stylegan2
from ganzoo_projection.search import Projection
from random_pixels import pixels
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
    view, projector = project.freeze(precise), made(precise, "stylegan2")
    latent = torch.zeros(1, 1, 8, dtype=torch.float64)
    seeds = [replace(view, seed=i) for i in range(30)]
    added = torch.cat([projector.perturbed(one, latent, step) for one in seeds])
    assert float(added.std()) == pytest.approx(factor * view.spread, rel=0.2)


def test_image2stylegans_constants(precise):
    projector = project.factory("image2stylegan", {"perceptual": "pixel"})(3)
    assert (projector.lr(0), projector.lr(4999), projector.steps, projector.space) == (0.01, 0.01, 5000, "w+")
    adam = Projection(project.freeze(precise), projector, pixels(1, 3, 16, 16)).adam
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
    search = through(Projection(project.freeze(precise), made(precise, "stylegan2", steps=5), pixels(2, 3, 16, 16)))
    maps = [t for name, t in search.variables.items() if name.startswith(NOISE)]
    assert len(maps) == 5  # 4x4 has one, 8x8 and 16x16 two
    for t in maps:
        assert t.mean(dim=(1, 2, 3)).abs().max() < 1e-12
        assert t.square().mean(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])


# --- the view --------------------------------------------------------------------------------------------------------


def test_mean_and_spread(precise):
    """Mean and spread are those of the style codes of 10,000 latents of RandomState(123)."""
    w = precise.G.map(torch.from_numpy(np.random.RandomState(123).randn(10000, 8)).float().double()).numpy()
    view = project.freeze(precise)
    assert view.mean.tolist() == pytest.approx(w.mean(axis=0).tolist(), rel=1e-9)
    assert view.spread == pytest.approx(math.sqrt(((w - w.mean(axis=0)) ** 2).sum() / 10000), rel=1e-9)


def test_noise_inputs_of_a_growing_generator(snapshots):
    model = ganzoo.load(snapshots("growing"), "cpu")
    view = project.freeze(model)
    assert model.unfinished and view.shape.size == (8, 8)
    assert all("blocks.2" not in name for name in view.noises)


def test_a_conditional_model_needs_its_class(snapshots):
    model = ganzoo.load(snapshots("conditional"), "cpu")
    with pytest.raises(UsageError, match="3 classes"):
        project.freeze(model)
    means = [project.freeze(model, label).mean for label in (0, 1)]
    assert not torch.equal(*means)


# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("method", ["image2stylegan", "stylegan2"])
@pytest.mark.parametrize("space", ["w", "w+"])
def test_every_generator(snapshots, name, method, space):
    model = ganzoo.load(snapshots(name), "cpu")
    view = project.freeze(model, 1 if name == "conditional" else None)
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
    view = project.freeze(precise, seed=5)
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
    view, target = project.freeze(precise), pixels(1, 3, 16, 16)
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
    view, targets = project.freeze(precise), pixels(3, 3, 16, 16)
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
    view, targets = project.freeze(precise), pixels(2, 3, 16, 16)
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
    view, targets = project.freeze(model), pixels(3, 3, 16, 16).float()
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
    view, target = project.freeze(model), model.images([1, 2], psi=0.7)
    mean = model.render(view.mean.expand(1, model.G.num_ws, -1))
    before = (mean - target).square().mean(dim=(1, 2, 3))
    for space in ("w", "w+"):
        search = through(Projection(view, made(model, "image2stylegan", space=space, steps=80, lr=0.05), target))
        after = (search.images() - target).square().mean(dim=(1, 2, 3))
        assert (after < before / 30).all()
