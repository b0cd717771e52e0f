"""Adversarial losses and penalties against their formulas, in float64.

Losses are compared with what the papers write, log sigmoid and all. Penalties are given discriminators whose gradient
is known in closed form: D(x) = a·x has ∇D = a everywhere, D(x) = ½ Σ a x² has ∇D = a x.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ganzoo_objectives
from ganzoo.interfaces import GanBatch, Generator, Stage
from ganzoo.registry.lookup import registry
from ganzoo.types import Label, Latent, Logits, Pyramid, Styles
from reference import EXACT, assert_close

STAGE = Stage(1)
N, SHAPES = 6, ((3, 4, 4), (3, 8, 8))  # a batch of pyramids of two images

Formula = Callable[[Tensor, Tensor], Tensor]


def log_sigmoid(x: Tensor) -> Tensor:
    return (1 / (1 + (-x).exp())).log()


def log_not_sigmoid(x: Tensor) -> Tensor:
    return (1 - 1 / (1 + (-x).exp())).log()


def positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


# (name, options): D's and G's formula for r = D(real), f = D(fake)
LOSSES: dict[tuple[str, tuple[tuple[str, Any], ...]], tuple[Formula, Formula]] = {
    ("logistic", ()): (lambda r, f: -log_sigmoid(r) - log_not_sigmoid(f), lambda r, f: -log_sigmoid(f)),
    ("saturating", ()): (lambda r, f: -log_sigmoid(r) - log_not_sigmoid(f), lambda r, f: log_not_sigmoid(f)),
    ("hinge", ()): (lambda r, f: positive(1 - r) + positive(1 + f), lambda r, f: -f),
    ("wasserstein", ()): (lambda r, f: f - r + 0.001 * r * r, lambda r, f: -f),
    ("wasserstein", (("drift", 0.25),)): (lambda r, f: f - r + 0.25 * r * r, lambda r, f: -f),
    ("lsgan", ()): (lambda r, f: (r - 1) ** 2 + f**2, lambda r, f: (f - 1) ** 2),
    ("lsgan", (("targets", "progan"),)): (lambda r, f: r**2 + 0.1 * (f - 1) ** 2, lambda r, f: f**2),
    ("relativistic_average", ()): (
        lambda r, f: positive(1 - (r - f.sum() / N)) + positive(1 + (f - r.sum() / N)),
        lambda r, f: positive(1 + (r - f.sum() / N)) + positive(1 - (f - r.sum() / N)),
    ),
    ("relativistic_paired", ()): (lambda r, f: -log_sigmoid(r - f), lambda r, f: -log_sigmoid(f - r)),
}


def make(kind: str, name: str, **options: Any) -> Any:
    return registry().get(kind, name)(**options)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_objective_is_compared_here() -> None:
    names = {(cls.kind, cls.name) for cls in ganzoo_objectives.ganzoo_components()}
    assert names == {("loss", name) for name, _ in LOSSES} | {("regularizer", name) for name in PENALTIES}


@pytest.mark.parametrize(("name", "options"), list(LOSSES))
def test_loss(name: str, options: tuple[tuple[str, Any], ...]) -> None:
    """Losses per sample, [N], and their gradients at both logits."""
    loss, formulas = make("loss", name, **dict(options)), LOSSES[name, options]
    real, fake = (2 * draw(N, 1, seed=s).requires_grad_() for s in (1, 2))
    for what, ours, formula in (("d", loss.d(real, fake), formulas[0]), ("g", loss.g(fake, real), formulas[1])):
        theirs = formula(real, fake).flatten()
        assert ours.shape == (N,)
        assert_close(ours, theirs.detach(), EXACT, f"{name}.{what}")
        gradients = [torch.autograd.grad(y.sum(), (real, fake), materialize_grads=True) for y in (ours, theirs)]
        for a, b in zip(*gradients):
            assert_close(a, b, EXACT, f"gradient of {name}.{what}")
    if not loss.relativistic:  # the trainer then passes zeros for the logits of reals
        assert torch.equal(loss.g(fake, torch.zeros_like(real)), loss.g(fake, real))


@pytest.mark.parametrize("name", sorted({name for name, _ in LOSSES}))
def test_loss_of_extreme_logits_is_finite(name: str) -> None:
    loss = make("loss", name)
    for scale in (1e3, -1e3):
        logits = torch.full((2, 1), scale).requires_grad_()
        total = (loss.d(logits, -logits) + loss.g(-logits, logits)).sum()
        assert total.isfinite()
        assert torch.autograd.grad(total, logits)[0].isfinite().all()


# --- gradient penalties ----------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """D(x) = a·x over all images of the pyramid: |∇D| = |a| whatever x is."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.ParameterList(draw(*shape, seed=i) / 3 for i, shape in enumerate(SHAPES))

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        assert stage == STAGE
        return sum((x * a).sum(dim=[1, 2, 3]) for x, a in zip(images, self.a))[:, None]  # type: ignore[index]


class Quadratic(Linear):
    """D(x) = ½ Σ a x²: ∇D = a x. A label scales the logit."""

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        assert stage == STAGE
        logits = sum((x.square() * a / 2).sum(dim=[1, 2, 3]) for x, a in zip(images, self.a))[:, None]  # type: ignore[index]
        return logits if label is None else logits * label.sum(dim=1, keepdim=True)


def batch(D: nn.Module, **values: Any) -> GanBatch:
    """Make a batch with given images and without a generator."""
    real, fake = (tuple(draw(N, *shape, seed=10 * i + j) for j, shape in enumerate(SHAPES)) for i in (1, 2))
    fields = {"G": None, "D": D, "z": draw(N, 5), "label": None, "real": real, "real_label": None}
    batch = GanBatch(**{**fields, "stage": STAGE, **values})
    if batch.G is None:
        batch.fake = fake
    return batch


# positions between real and fake, in place of random ones
U = torch.linspace(0.05, 0.95, N, dtype=torch.float64)[:, None, None, None]


def norm(a: Any, images: Pyramid) -> Tensor:
    """Norm |a x| of each sample, over all scales."""
    return sum((x * m).square().sum(dim=[1, 2, 3]) for x, m in zip(images, a)).sqrt()  # type: ignore[union-attr]


def ones(images: Pyramid) -> Pyramid:
    return tuple(torch.ones_like(x) for x in images)


def mixed(t: GanBatch) -> Pyramid:
    return tuple((1 - U) * r + U * f for r, f in zip(t.real, t.fake))


# name: (options, where the gradient is taken, the penalty as a function of its norm)
PENALTIES: dict[str, tuple[dict[str, float], Callable[[GanBatch], Pyramid], Callable[[Tensor], Tensor]]] = {
    "r1": ({"gamma": 7.0}, lambda t: t.real, lambda n: 7.0 / 2 * n**2),
    "r2": ({"gamma": 7.0}, lambda t: t.fake, lambda n: 7.0 / 2 * n**2),
    "wgan_gp": ({"weight": 3.0, "target": 2.5}, mixed, lambda n: 3.0 / 2.5**2 * (n - 2.5) ** 2),
    "gp_zero_centered": ({"gamma": 7.0}, mixed, lambda n: 7.0 * n**2),
    "one_centered_real": ({"gamma": 7.0}, lambda t: t.real, lambda n: 7.0 / 2 * (n - 1) ** 2),
}


@pytest.fixture(autouse=True)
def positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand_like", lambda like: U.expand(like.shape))


@pytest.mark.parametrize("kind", [Linear, Quadratic])
@pytest.mark.parametrize("name", list(PENALTIES))
def test_penalty(name: str, kind: type[Linear]) -> None:
    """Values per sample, and gradients at D's weights, which need second derivatives."""
    options, where, formula = PENALTIES[name]
    D = kind()
    t = batch(D)
    penalty = make("regularizer", name, **options).penalty(t)
    theirs = formula(norm(D.a, ones(t.real) if kind is Linear else where(t)))
    assert penalty.shape == (N,)
    assert_close(penalty, theirs.detach(), EXACT, name)
    for a, b in zip(*(torch.autograd.grad(y.mean(), list(D.parameters())) for y in (penalty, theirs))):
        assert_close(a, b, EXACT, f"gradient of {name}")


def test_r1_of_a_linear_discriminator_in_closed_form() -> None:
    """gamma/2 |a|², with the gradient gamma a."""
    D = Linear()
    penalty = make("regularizer", "r1", gamma=10.0).penalty(batch(D))
    squared = sum(a.detach().square().sum() for a in D.a)
    assert_close(penalty, torch.full((N,), float(5 * squared), dtype=torch.float64), EXACT, "r1")
    for gradient, a in zip(torch.autograd.grad(penalty.mean(), list(D.parameters())), D.a):
        assert_close(gradient, 10 * a.detach(), EXACT, "gradient")


@pytest.mark.parametrize("name", list(PENALTIES))
def test_penalty_is_the_papers_without_options(name: str) -> None:
    """Default strengths and intervals: R1 and variants at each 16th iteration, penalties between images at each."""
    penalty = make("regularizer", name)
    assert penalty.on == "d"
    assert penalty.every == (16 if name in ("r1", "r2", "one_centered_real") else 1)
    assert (penalty.weight if name == "wgan_gp" else penalty.gamma) == 10
    assert make("regularizer", name, every=3).every == 3


@pytest.mark.parametrize("name", list(PENALTIES))
def test_penalty_of_a_flat_discriminator_has_a_gradient(name: str) -> None:
    """At |∇D| = 0 the norm has no derivative, but the penalty's gradient must not be NaN."""
    D = Linear()
    for a in D.a:
        a.data.zero_()
    penalty = make("regularizer", name).penalty(batch(D))
    assert penalty.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(penalty.mean(), list(D.parameters())))


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_penalty_gives_each_image_its_own_label(name: str) -> None:
    """Reals have their labels, fakes those that they were generated for."""
    D, labels = Quadratic(), [draw(N, 2, seed=s).abs() for s in (5, 6)]
    t = batch(D, label=labels[0], real_label=labels[1])
    images, label = (t.real, labels[1]) if name == "r1" else (t.fake, labels[0])
    theirs = 5 * (norm(D.a, images) * label.sum(dim=1)) ** 2
    assert_close(make("regularizer", name).penalty(t), theirs.detach(), EXACT, name)


def test_penalties_leave_the_images_alone() -> None:
    t = batch(Linear())
    for name in PENALTIES:
        make("regularizer", name).penalty(t)
    assert not any(x.requires_grad for x in (*t.real, *t.fake))


# --- path length -----------------------------------------------------------------------------------------------------


class LinearGenerator(Generator, name="linear"):
    """image = Σ_l M_l w_l, so J^T y = M^T y; styles are the latent, repeated and scaled by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(draw(3, 5, 2 * 4 * 8, seed=3))  # [L, W, C H W]

    def styles(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Styles:
        return torch.stack([z, 2 * z, 3 * z], dim=1).requires_grad_()

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        return (torch.einsum("nlw,lwp->np", ws, self.m).unflatten(1, (2, 4, 8)),)

    def forward(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Pyramid:
        return self.synthesize(self.styles(z, label, stage), stage)


def test_path_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """weight (|M^T y| - a)²: mean over layers, sum over the code; `a` is updated first and part of the graph."""
    G, noise = LinearGenerator(), draw(N // 2, 2, 4, 8, seed=4)
    monkeypatch.setattr(torch, "randn_like", lambda x: noise)
    path_length = make("regularizer", "path_length", weight=3.0, decay=0.25).double()
    assert (path_length.on, path_length.every, path_length.shrink) == ("g", 4, 2)
    path_length.mean.fill_(1.5)
    penalty = path_length.penalty(batch(Linear(), G=G))
    gradient = torch.einsum("np,lwp->nlw", noise.flatten(1), G.m) / 32**0.5
    lengths = (gradient**2).sum(dim=2).mean(dim=1) ** 0.5
    a = 0.75 * 1.5 + 0.25 * lengths.mean()
    theirs = 3.0 * (lengths - a) ** 2
    assert_close(penalty, theirs.detach(), EXACT, "penalty")
    assert_close(path_length.mean, a.detach(), EXACT, "mean")
    assert not path_length.mean.requires_grad
    for x, y in zip(*(torch.autograd.grad(p.mean(), G.m) for p in (penalty, theirs))):
        assert_close(x, y, EXACT, "gradient")
    path_length.penalty(batch(Linear(), G=G))
    assert_close(path_length.mean, (0.75 * a + 0.25 * lengths.mean()).detach(), EXACT, "mean after a second batch")
    assert "mean" in path_length.state_dict()


def test_fakes_of_a_turn_are_made_once_without_a_graph() -> None:
    t = batch(Linear(), G=LinearGenerator())
    fake = t.fake
    assert not fake[0].requires_grad
    assert t.fake[0] is fake[0]
