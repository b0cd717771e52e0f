"""What a component does, against something independent of it: torch's own layers, slow loops, explicit operations.

In float64 where arithmetic is compared, so that nothing hides in rounding.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import small, trainer
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Generator, Shape, Stage
from ganzoo.model.restore import build_experiment
from ganzoo.nn.equal import ActConv2d, ActLinear, Conv2d, Linear
from ganzoo_msggan.pyramids import LinearRGB, PyramidTrunk
from ganzoo_progan.discriminator import PlainDown
from ganzoo_progan.generator import BatchNorm, Identity, LayerNorm
from ganzoo_progan.heads import (
    ACGANHead,
    DenseHead,
    MinibatchDiscrimination,
    ProjectionHead,
    SelectionHead,
    cross_entropy,
)
from ganzoo_stylegan.layers import MLP, AdaIN, AdaINStem
from plain import halved, nearest, stirred
from precise import SIZE, assert_close
from precise import _seeded as _seeded
from precise import double as double

# --- norms and statistics --------------------------------------------------------------------------------------------


def test_batch_norm_is_torchs_own(double):
    ours, torchs = stirred(BatchNorm(5)), nn.BatchNorm2d(5)
    torchs.load_state_dict(ours.norm.state_dict())
    x = torch.randn(4, 5, *SIZE) * 3 + 1
    assert_close(ours(x), torchs(x))
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    normal = (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
    assert_close(ours(x), normal * ours.norm.weight[:, None, None] + ours.norm.bias[:, None, None])
    torchs(x)
    y = torch.randn(2, 5, *SIZE)
    assert_close(ours.eval()(y), torchs.eval()(y))  # the moving averages too
    assert_close(ours(y)[:1], ours(y[:1]))  # then samples do not mix
    assert ours.float()(y.bfloat16()).dtype == torch.bfloat16


def test_layer_norm_is_torchs_own(double):
    ours = stirred(LayerNorm(5))
    x = torch.randn(4, 5, *SIZE) * 3 + 1
    weight, bias = (p[:, None, None].expand(-1, *SIZE) for p in (ours.norm.weight, ours.norm.bias))
    assert_close(ours(x), F.layer_norm(x, x.shape[1:], weight, bias))


def test_minibatch_discrimination_is_a_sum_over_pairs(double):
    layer = MinibatchDiscrimination(3, (2, 4), kernels=7, dim=5)
    x = torch.randn(4, 3, 2, 4)
    y = layer(x)
    assert torch.equal(y[:, :3], x)
    m = (x.flatten(1) @ layer.project.weight.T / math.sqrt(24)).reshape(4, 7, 5)
    for i, b in itertools.product(range(4), range(7)):
        expected = sum(math.exp(-(m[i, b] - m[j, b]).abs().sum().item()) for j in range(4) if j != i)
        assert_close(y[i, 3 + b], torch.full((2, 4), expected))
    assert (layer(x[:1])[:, 3:] == 0).all()  # alone, nobody is close


# --- styles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["layer", "stem of a constant", "stem of a dense layer"])
def test_adain_sets_mean_and_deviation(what, double):
    w, size = torch.randn(3, 4), (16, 16)
    if what == "layer":
        made = stirred(AdaIN(5, 6, 4, size, False, noise=None, eps=1e-16))
        run: Callable[[Tensor], Tensor] = partial(made, torch.randn(3, 5, *size))
    else:
        kind = "constant" if what == "stem of a constant" else "dense"
        made = stirred(AdaINStem(4, 6, size, input=kind, noise=None, eps=1e-16))
        run = made
    scale, shift = (w @ made.epilogue.style.weight.T / 2 + made.epilogue.style.bias).chunk(2, dim=1)
    y = run(w)
    assert_close(y.mean(dim=(2, 3)), shift)
    assert_close(y.std(dim=(2, 3), unbiased=False), (1 + scale).abs())
    for p in made.epilogue.style.parameters():
        nn.init.zeros_(p)
    y = run(w)  # a style of zeros leaves the normalised maps
    assert_close(y.mean(dim=(2, 3)), torch.zeros(3, 6))
    assert_close(y.std(dim=(2, 3), unbiased=False), torch.ones(3, 6))


def test_no_mapping_passes_the_latent_on():
    z, label = torch.randn(3, 8), torch.eye(3)
    assert torch.equal(Identity(8, 8, 0)(z), z)
    assert torch.equal(Identity(8, 11, 3)(z, label), torch.cat([z, label], dim=1))


def network(name: str, *overrides: str) -> Gan:
    """Networks with random strengths and biases, in evaluation mode."""
    made = build_experiment(small(name, *overrides))
    for net in (made.G, made.D):
        stirred(net).eval().requires_grad_(False)
    return made


def test_truncation_to_nothing_gives_stylegans_mean_image():
    G = network("stylegan-tiny").G
    G.w_mean.copy_(torch.randn(8))
    with G.noise("const"):
        image = G.synthesize(G.truncate(G.styles(torch.randn(3, 8)), 0.0))[-1]
        mean = G.synthesize(G.w_mean.expand(1, G.num_ws, 8))[-1]
    assert_close(image, mean.expand(3, -1, -1, -1))


def test_mixing_that_begins_after_the_last_layer_is_none(monkeypatch):
    G = network("stylegan-tiny", "generator.mixing=1.0").G.train()
    z = torch.randn(3, 8)
    one = G.map(z)[:, None].expand(-1, G.num_ws, -1)
    for crossover in (1, G.num_ws - 1, G.num_ws):
        monkeypatch.setattr(torch, "randint", lambda *_, c=crossover: torch.tensor(c))
        ws = G.styles(z)
        assert_close(ws[:, :crossover], one[:, :crossover])
        assert torch.equal(ws, one) == (crossover == G.num_ws)


@pytest.mark.parametrize("level", [1, 2])
def test_stylegan_fades_between_two_sizes(level):
    made, z = network("stylegan-tiny"), torch.randn(3, 8)
    with made.G.noise("const"):
        at = {alpha: made.G(z, None, Stage(level, alpha))[-1] for alpha in (0.0, 0.3, 1.0)}
        smaller = nearest(made.G(z, None, Stage(level - 1))[-1])
    assert_close(at[0.0], smaller)
    assert_close(at[0.3], 0.7 * smaller + 0.3 * at[1.0])
    x = torch.randn(4, 3, 4 * 2**level, 4 * 2**level)
    assert_close(made.D((x,), None, Stage(level, 0.0)), made.D((halved(x),), None, Stage(level - 1)))
    full = made.D((x,), None, Stage(level, 1.0))
    made.D.trunk.from_rgb[str(level - 1)].conv.weight.zero_()
    assert torch.equal(made.D((x,), None, Stage(level, 1.0)), full)


# --- pyramids --------------------------------------------------------------------------------------------------------


LAST = """generator.synthesis.use=last generator.synthesis.stem.use=dense generator.synthesis.stem.norm=null
    generator.synthesis.stem.gain=4 generator.synthesis.block.use=plain generator.synthesis.block.layer.use=conv
    generator.synthesis.to_rgb.use=conv generator.synthesis.to_rgb.gain=1.4142135623730951
    discriminator.trunk.use=plain discriminator.trunk.down=plain"""


def test_a_pyramid_holds_every_size_and_ends_with_the_ordinary_image():
    G, plain = network("msggan-tiny").G, network("msggan-tiny", *LAST.split()).G
    z = torch.randn(3, 8)
    images = G(z)
    assert [x.shape[1:] for x in images] == [(3, 4, 4), (3, 8, 8), (3, 16, 16)]
    plain.load_state_dict({k: v for k, v in G.state_dict().items() if k in plain.state_dict()})
    assert torch.equal(plain(z)[-1], images[-1])


@pytest.mark.parametrize("combine", ["lin_cat", "simple", "cat_lin"])
def test_every_scale_reaches_the_trunk(combine, double):
    plan = [((4, 4), 6), ((8, 8), 5), ((16, 16), 4)]
    trunk = stirred(PyramidTrunk(plan, 3, down=PlainDown, from_rgb=LinearRGB, combine=combine))
    images = [torch.randn(2, 3, s, s, requires_grad=True) for s in (4, 8, 16)]
    run = lambda: trunk(tuple(images), Stage(2))  # noqa: E731
    assert run().shape == (2, trunk.out_channels, 4, 4)
    assert all(g.abs().amin() > 0 for g in torch.autograd.grad(run().square().sum(), images))
    for level in (2, 0, 1) if combine == "lin_cat" else (2,):  # where a scale enters by its own from_rgb alone
        trunk.from_rgb[str(level)].conv.weight.detach().zero_()
        gradient = torch.autograd.grad(run().square().sum(), images)
        assert (gradient[level] == 0).all()
    assert combine == "lin_cat" or torch.autograd.grad(run().square().sum(), images)[0].abs().amin() > 0


# --- heads -----------------------------------------------------------------------------------------------------------


def head(cls: type[DenseHead], labels: int = 4, **options: object) -> DenseHead:
    return stirred(cls(6, (4, 4), labels, statistic=None, **options))  # type: ignore[arg-type, return-value]


def test_a_selection_head_takes_the_labels_logit(double):
    made, x = head(SelectionHead), torch.randn(4, 6, 4, 4)
    assert_close(made(x, torch.eye(4)), made.scores(x).diagonal()[:, None])
    assert_close(made(x, torch.eye(4)[[3, 3, 0, 1]]).flatten(), made.scores(x)[range(4), [3, 3, 0, 1]])
    assert head(SelectionHead, labels=0)(x).shape == (4, 1)  # without labels a head like any other


def test_a_projection_head_is_linear_in_the_mapped_label(double):
    made, x = head(ProjectionHead, mapping=partial(MLP, depth=2), cmap_dim=9), torch.randn(4, 6, 4, 4)
    label = torch.eye(4)
    cmap = made.mapping(torch.zeros(4, 0), label)
    expected = torch.stack([a @ b for a, b in zip(made.scores(x), cmap)])[:, None] / 3
    assert_close(made(x, label), expected)
    a, b = torch.randn(2, 4, 9)
    made.mapping.forward = lambda z, label: label  # type: ignore[union-attr, method-assign]
    assert_close(made(x, 2 * a - 3 * b), 2 * made(x, a) - 3 * made(x, b))


def test_cross_entropy_by_hand(double):
    made, x = head(ACGANHead), torch.randn(3, 6, 4, 4)
    scores, label = made.classify(x), torch.eye(4)[[2, 0, 2]]
    by_hand = -(F.log_softmax(scores, dim=1) * label).sum(dim=1)
    assert_close(cross_entropy(scores, label), by_hand)
    assert_close(torch.cat([made(x), scores], dim=1), made.scores(x))
    assert torch.equal(made(x, label), made(x))


def test_training_teaches_the_classes():
    made = trainer(
        "progan-cifar-cond",
        "labels=3",
        "generator.w_dim=11",
        "growth=null",
        "loss=hinge",
        "regularizers=[{use: acgan_d, weight: 10}, {use: acgan_g, weight: 10}]",
        "training.lr=0.01",
    )
    label = torch.eye(3).repeat(3, 1)
    real = (label[:, :, None, None] * 200 + 20).byte().expand(-1, -1, 16, 16).contiguous()  # red, green, blue
    seen = []
    for _ in range(60):
        made.step(real, label, label)
        seen.append(made.report())
    for name in ("penalty/acgan_d", "penalty/acgan_g"):
        assert sum(s[name] for s in seen[-10:]) < 0.5 * sum(s[name] for s in seen[:10])


# --- the experiment --------------------------------------------------------------------------------------------------


def test_the_generator_moves_at_each_third_step_only():
    made = trainer("progan-tiny", "training.g_every=3")
    real, none = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, 0)
    moved = {"g": [], "d": []}
    for _ in range(7):
        before = {who: [p.clone() for p in net.parameters()] for who, net in made.nets.items()}
        made.step(real, none, none)
        for who, net in made.nets.items():
            moved[who].append(any(not torch.equal(a, b) for a, b in zip(before[who], net.parameters())))
    assert moved == {"g": [False, False, True] * 2 + [False], "d": [True] * 7}


EQUALIZED: dict[str, Callable[..., nn.Module]] = {
    "Linear": partial(Linear, 24, 5, gain=1.7),
    "ActLinear": partial(ActLinear, 24, 5),
    "Conv2d": partial(Conv2d, 24, 5, 3),
    "ActConv2d": partial(ActConv2d, 24, 5, 1),
}


@pytest.mark.parametrize("name", EQUALIZED)
def test_without_equalized_rates_the_function_is_the_same_and_learns_otherwise(name, double):
    x = torch.randn(2, 24) if "Linear" in name else torch.randn(2, 24, 4, 4)
    effective, results, movement = [], [], []
    for equalized in (True, False):
        torch.manual_seed(1)
        layer = EQUALIZED[name](equalized=equalized)
        effective.append(layer.weight.detach() * layer.scale)
        results.append(layer(x).detach())
        layer(x).sum().backward()
        torch.optim.Adam([layer.weight], lr=0.01, eps=1e-15).step()  # moves each weight by the rate, up or down
        movement.append((layer.weight.detach() * layer.scale - effective[-1]).abs())
        if equalized:
            scale = layer.scale
            assert scale < 1
    assert_close(effective[0], effective[1])
    assert_close(results[0], results[1])
    assert_close(movement[1], torch.full_like(movement[1], 0.01))
    assert_close(movement[0], torch.full_like(movement[0], 0.01 * scale))


def test_listed_channels_are_those_of_the_rule():
    shape = Shape(((4, 4), (8, 8), (16, 16)), 3)
    assert shape.plan(128, 20, [20, 16, 8]) == shape.plan(128, 20)
    rule = network("stylegan2-tiny")
    listed = network("stylegan2-tiny", "generator.channels=[8, 8, 8]", "discriminator.channels=[8, 8, 8]")
    for a, b in ((rule.G, listed.G), (rule.D, listed.D)):
        assert {k: v.shape for k, v in a.state_dict().items()} == {k: v.shape for k, v in b.state_dict().items()}
    sentence = r"channels: \[8, 8\] names 2 levels, and the images have 3 \(4x4, 8x8, 16x16\): list one number for each"
    for part in ("generator", "discriminator"):
        with pytest.raises(RecipeError, match=sentence):
            build_experiment(recipe.load("stylegan2-tiny", ["image.size=16", f"{part}.channels=[8, 8]"]))


def test_tanh_holds_images_within_bounds():
    made = [network("progan-tiny", f"generator.output={how}").G for how in ("linear", "tanh")]
    made[1].load_state_dict(made[0].state_dict())
    z = torch.randn(3, 8)

    def image(G: Generator) -> Tensor:
        G.synthesis.to_rgb["2"].conv.bias.fill_(4.0)
        return G(z)[-1]

    linear, tanh = map(image, made)
    assert linear.max() > 1
    assert tanh.abs().max() <= 1
    assert_close(tanh, linear.tanh())
