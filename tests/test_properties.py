"""What must hold whatever the weights are: closed forms, values of the papers' schedules, and invariances."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import ganzoo
from conftest import small, trainer
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Generator, Images, Shape, Stage
from ganzoo.model.restore import build_experiment
from ganzoo.nn.norm import minibatch_std
from ganzoo.runs import folder as folder_
from ganzoo.runs import run
from ganzoo.training import ema
from ganzoo_stylegan2.modulation import modulated_conv2d


def gan(name: str, *overrides: str):
    """Networks with random strengths and biases, so that nothing hides behind a zero, in evaluation mode."""
    torch.manual_seed(0)
    made = build_experiment(small(name, *overrides))
    with torch.no_grad():
        for p in [*made.G.parameters(), *made.D.parameters()]:
            p.add_(0.3 * torch.randn_like(p))
    made.G.eval().requires_grad_(False)
    made.D.eval().requires_grad_(False)
    return made


def latent(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(5))


def nearest(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


# --- growth (arXiv:1710.10196) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2])
def test_a_fading_generator_goes_from_the_smaller_to_the_larger(level):
    G = gan("progan-tiny").G
    at = {alpha: G(latent(), None, Stage(level, alpha))[-1] for alpha in (0.0, 0.3, 1.0)}
    smaller = nearest(G(latent(), None, Stage(level - 1))[-1])
    torch.testing.assert_close(at[0.0], smaller)
    torch.testing.assert_close(at[0.3], 0.7 * smaller + 0.3 * at[1.0])
    G.synthesis.to_rgb[str(level - 1)].conv.weight.zero_()
    assert torch.equal(G(latent(), None, Stage(level, 1.0))[-1], at[1.0])  # the coarser head is out of use


@pytest.mark.parametrize("level", [1, 2])
def test_a_fading_discriminator_goes_from_the_smaller_to_the_larger(level):
    D = gan("progan-tiny").D
    x = torch.randn(4, 3, 4 * 2**level, 4 * 2**level, generator=torch.Generator().manual_seed(1))
    halved = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(D((x,), None, Stage(level, 0.0)), D((halved,), None, Stage(level - 1)))
    full = D((x,), None, Stage(level, 1.0))
    D.trunk.from_rgb[str(level - 1)].conv.weight.zero_()
    assert torch.equal(D((x,), None, Stage(level, 1.0)), full)


def schedule(*overrides: str):
    shape = Images(size=1024).shape()
    return recipe.load("progan-1024", overrides)["growth"].bind()(shape), shape


LODS = {  # first side: (kimg, lod, side)
    4: ((0, 8, 4), (1200, 7, 8), (1950, 6.75, 16), (2400, 6, 16), (9300, 0.5, 1024), (9600, 0, 1024), (12000, 0, 1024)),
    8: ((0, 7, 8), (600, 7, 8), (900, 6.5, 16), (8400, 0, 1024), (25000, 0, 1024)),
}


@pytest.mark.parametrize("start", LODS)
def test_growth_is_that_of_the_released_code(start):
    """lod = log2(1024) - log2(start) - floor(kimg / 1200) - max(kimg mod 1200 - 600, 0) / 600, not below 0."""
    growth, shape = schedule(f"growth.start={start}")
    for kimg, lod, side in LODS[start]:
        stage = growth.stage(kimg * 1000)
        assert shape.sizes[stage.level] == (side, side)
        assert (8 - stage.level) + (1 - stage.alpha) == pytest.approx(lod)


def test_batches_and_rates_by_size():
    growth, _ = schedule()
    node = recipe.load("progan-1024")
    batch, lr = node.value("training").batch, node.value("training").lr
    assert [growth.batch(Stage(i), batch) for i in range(9)] == [128, 128, 128, 64, 32, 16, 8, 4, 4]
    assert [growth.lr(Stage(i), lr) for i in range(9)] == [0.001] * 8 + [0.0015]
    assert growth.batch(growth.stage(1_900_000), batch) == 128  # the size that fades in counts


def test_moments_are_forgotten_at_both_ends_of_a_fade_only():
    growth, _ = schedule()
    times = range(0, 12_000_000, 10_000)
    resets = [b / 1000 for a, b in pairwise(times) if growth.resets_optimizer(growth.stage(a), growth.stage(b))]
    assert resets == [t for i in range(8) for t in (1200 * i + 610, 1200 * i + 1200)]


def test_the_trainer_forgets_moments_and_keeps_the_average():
    made = trainer("progan-tiny")
    real, none = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, 0)
    made.step(real, none, none)
    average = [p.clone() for p in made.G_ema.parameters()]
    made.enter(Stage(0))
    assert made.optimizers["g"].state
    made.enter(Stage(1, 0.1))
    assert not made.optimizers["g"].state
    assert not made.optimizers["d"].state
    assert all(torch.equal(a, b) for a, b in zip(average, made.G_ema.parameters()))


# --- lazy penalties and the moving average ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "lr", "beta2"),
    [(4, 0.0016, 0.9919920), (8, 0.00177778, 0.9911062), (16, 0.00188235, 0.9905855), (1, 0.002, 0.99)],
)
def test_lazy_adam(every, lr, beta2):
    """c = k / (k + 1): lr c, beta^c (arXiv:1912.04958, appendix B); a penalty at each iteration changes nothing."""
    penalties = f"regularizers=[{{use: r1, every: {every}}}, {{use: path_length, every: {every}}}]"
    made = trainer("stylegan2-tiny", penalties, "training.lr=0.002")
    made.begin()
    for optimizer in made.optimizers.values():
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(lr, rel=1e-5)
        assert group["betas"] == (0.0, pytest.approx(beta2, abs=1e-7))


def test_lazy_penalties_are_steps_of_their_own():
    made = trainer("stylegan2-tiny", "regularizers=[{use: r1, every: 3}, {use: path_length, every: 2}]")
    real, none = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, 0)
    for _ in range(6):
        made.step(real, none, none)
    steps = {who: {int(s["step"]) for s in o.state.values()} for who, o in made.optimizers.items()}
    assert max(steps["g"]) == 6 + 3  # path length at iterations 0, 2, 4
    assert max(steps["d"]) == 6 + 2  # R1 at 0, 3


@pytest.mark.parametrize(("batch", "kimg", "beta"), [(32, 10, 0.9977844), (16, 10, 0.9988916), (64, 500, 0.9999113)])
def test_decay_of_the_moving_average(batch, kimg, beta):
    assert ema.beta(batch, kimg, 10**9) == pytest.approx(beta, abs=5e-8)
    assert ema.beta(batch, kimg, 0, rampup=0.05) == 0  # a copy at first
    assert ema.beta(batch, kimg, 20_000, rampup=0.05) == pytest.approx(0.5 ** (batch / 1000))
    assert ema.beta(batch, kimg, 10**9, rampup=0.05) == ema.beta(batch, kimg, 10**9)


# --- styles ----------------------------------------------------------------------------------------------------------


def test_truncation():
    G = gan("stylegan2-tiny").G
    G.w_mean.copy_(torch.randn(8))
    ws = G.styles(latent())
    assert torch.equal(G.truncate(ws, 1.0), ws)
    with G.noise("none"):
        mean = G.synthesize(G.w_mean.expand(1, G.num_ws, 8))[-1]
        assert torch.equal(G.truncate(ws, 0.0), G.w_mean.expand_as(ws))
        torch.testing.assert_close(G.synthesize(G.truncate(ws, 0.0))[-1], mean.expand(3, -1, -1, -1))
    half = G.truncate(ws, 0.5, cutoff=2)
    torch.testing.assert_close(half[:, :2], (ws[:, :2] + G.w_mean) / 2)
    assert torch.equal(half[:, 2:], ws[:, 2:])
    assert torch.equal(G.truncate(ws, 0.5, cutoff=0), ws)


def crossovers(G: Generator, draws: int, stage: Stage) -> list[int]:
    """Where the second style begins; num_ws where there is none."""
    found = []
    for _ in range(draws):
        ws = G.styles(latent(), None, stage)
        other = (ws != ws[:, :1]).any(dim=2)
        assert (other == other[:1]).all()  # one crossover for the batch
        assert (other[0].sort().values == other[0]).all()  # first one style, then another
        found.append(int((~other[0]).sum()))
    return found


def test_style_mixing():
    for probability, mixed in ((0.0, 0), (1.0, 100)):
        G = gan("stylegan2-tiny", f"generator.mixing={probability}").G.train()
        found = crossovers(G, 100, G.finest)
        assert sum(c < G.num_ws for c in found) == mixed
    assert set(found) == set(range(1, G.num_ws))
    assert set(crossovers(G.eval(), 10, G.finest)) == {G.num_ws}  # never when sampling


def test_styles_are_mixed_among_layers_in_use():
    G = gan("progan-tiny", "generator.mixing=1.0").G.train()
    active = G.synthesis.active_ws(Stage(1))
    assert active == G.num_ws - 2  # the two layers of 16x16 sleep
    assert set(crossovers(G, 100, Stage(1))) == set(range(1, active))


# --- synthesis -------------------------------------------------------------------------------------------------------


def test_a_skip_generator_with_silent_fine_heads_gives_the_upsampled_coarse_image():
    G = gan("stylegan2-tiny").G
    for level in ("1", "2"):
        G.synthesis.to_rgb[level].weight.zero_()
        G.synthesis.to_rgb[level].bias.zero_()
    with G.noise("none"):
        image, coarse = G(latent())[-1], G(latent(), None, Stage(0))[-1]
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(taps, taps) / 16).expand(3, 1, 4, 4)  # sums to 4: zeros are inserted in both directions
    for _ in range(2):
        coarse = F.conv_transpose2d(coarse, kernel, stride=2, padding=1, groups=3)
    torch.testing.assert_close(image, coarse, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("up", [None, (1.0, 3.0, 3.0, 1.0)])
def test_demodulated_features_have_unit_variance(up):
    """Whatever the weights and styles are, for independent inputs of unit variance (arXiv:1912.04958, section 2.2)."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 64, 48, 48, generator=draw)
    weight = torch.randn(16, 64, 3, 3, generator=draw) * torch.rand(16, 1, 1, 1, generator=draw) * 5
    styles = torch.randn(4, 64, generator=draw) * 3
    if up is None:
        y = modulated_conv2d(x, weight, styles)[:, :, 2:-2, 2:-2]  # the border sees zeros
        torch.testing.assert_close(y.var(dim=(2, 3)), torch.ones(4, 16), atol=0.15, rtol=0)
        torch.testing.assert_close(y.var(), torch.ones(()), atol=0.02, rtol=0)
    one, scaled = (modulated_conv2d(x, weight, s, up=up) for s in (styles, 7 * styles))
    torch.testing.assert_close(one, scaled, atol=1e-4, rtol=1e-4)  # the length of a style is taken out


def test_minibatch_std_is_a_statistic_of_its_group():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(8, 6, 5, 7, generator=draw)
    last = minibatch_std(x, 4)[:, -1]
    assert (last == last[:, :1, :1]).all()  # one number a sample
    value = last[:, 0, 0]
    assert torch.equal(value[:2].repeat(4), value)  # groups are strided: n, n + 2, n + 4, n + 6
    moved = minibatch_std(x + torch.randn(1, 6, 5, 7, generator=draw), 4)[:, -1, 0, 0]
    torch.testing.assert_close(moved, value)  # a common offset does not count
    torch.testing.assert_close(minibatch_std(-3 * x, 4)[:, -1, 0, 0], 3 * value)
    torch.testing.assert_close(minibatch_std(x[[2, 3, 0, 1, 6, 7, 4, 5]], 4)[:, -1, 0, 0], value)  # order within groups
    same = minibatch_std(x[:1].expand(4, -1, -1, -1), 4)[:, -1]
    torch.testing.assert_close(same, torch.full_like(same, math.sqrt(1e-8)))


# --- noise -----------------------------------------------------------------------------------------------------------


def test_noise_modes():
    G = gan("stylegan2-tiny").G
    z = latent(4)

    def draw(mode: str, rows: slice = slice(None), seeds: list[int] | None = None) -> torch.Tensor:
        with G.noise(mode, seeds):  # type: ignore[arg-type]
            return G(z[rows])[-1]

    assert torch.equal(draw("const"), draw("const"))
    torch.testing.assert_close(draw("const")[2:], draw("const", slice(2, 4)))
    assert not torch.equal(draw("random"), draw("random"))
    torch.testing.assert_close(draw("random", seeds=[1, 2, 3, 4])[1:3], draw("random", slice(1, 3), [2, 3]))
    assert not torch.allclose(draw("random", seeds=[1, 2, 3, 4]), draw("random", seeds=[5, 6, 7, 8]))
    without = draw("none")
    assert not torch.allclose(without, draw("const"))
    for name, p in G.named_parameters():
        if name.endswith("strength"):
            p.zero_()
    for mode in ("const", "random", "none"):
        assert torch.equal(draw(mode), without)


def test_noise_is_as_before_after_the_block():
    G = gan("stylegan2-tiny").G
    with G.noise("none"), G.noise("const"):
        pass
    assert not torch.equal(G(latent())[-1], G(latent())[-1])


# --- batches, shapes, channels ---------------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_the_whole_batch():
    """Without a statistic of the batch, parts of 1 and of 2 give the whole batch's step."""
    results = []
    real = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    for part in ("null", "2", "1"):
        made = trainer(
            "stylegan2-tiny",
            "generator.synthesis.block.layer.noise=null",
            "generator.mixing=0",
            "discriminator.head.statistic=null",
            "regularizers=[{use: r1, every: 2}]",
            f"training.batch_gpu={part}",
            "training.eps=1e-3",
        )
        made.G_ema.double()
        for net in (made.G, made.D):
            net.double().set_dtype(torch.float64)
        made.step(real, torch.zeros(4, 0), torch.zeros(4, 0))
        results.append([p.detach() for net in (made.G, made.D) for p in net.parameters()])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            torch.testing.assert_close(a, b, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (16, [(4, 4), (8, 8), (16, 16)]),
        (96, [(6, 6), (12, 12), (24, 24), (48, 48), (96, 96)]),
        ((48, 32), [(6, 4), (12, 8), (24, 16), (48, 32)]),
        ((40, 56), [(5, 7), (10, 14), (20, 28), (40, 56)]),
    ],
)
def test_sizes_are_a_base_times_a_power_of_two(size, sizes):
    assert Images(size=size).shape() == Shape(tuple(sizes), 3)


@pytest.mark.parametrize("size", ["33", "[32, 33]", "4", "1", "130", "[7, 7]"])
def test_odd_sizes_are_refused_in_a_sentence(size):
    with pytest.raises(RecipeError, match=r"^--set image.size=.*: image\.size: \[\d+, \d+\] can be halved only .*\.$"):
        small("stylegan2-tiny", f"image.size={size}")


@pytest.mark.parametrize("name", ["stylegan2-tiny", "progan-tiny"])
@pytest.mark.parametrize("size", [(48, 32), (96, 96)])
def test_other_shapes_train(name, size):
    made = trainer(name, f"image.size={list(size)}", "training.batch=2")
    made.images = 10**9  # where it grows: fully grown
    made.step(torch.zeros(2, 3, *size, dtype=torch.uint8), torch.zeros(2, 0), torch.zeros(2, 0))
    assert all(math.isfinite(v) for v in made.report().values())
    assert made.G_ema(latent(2))[-1].shape == (2, 3, *size)


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_any_number_of_channels_trains_and_samples(channels, tmp_path):
    node = small("stylegan2-tiny", f"image.channels={channels}", "training.kimg=0.004")
    folder = run.train(node, folder_.RunOptions(outdir=tmp_path, workers=1, device="cpu"))
    model = ganzoo.load(next(folder.glob("snapshot-*")), "cpu")
    images = model.images([0, 1])
    assert images.shape == (2, channels, 16, 16)
    assert images.isfinite().all()
    mode, width = {1: ("L", 16), 4: ("RGBA", 16), 5: ("L", 5 * 16)}[channels]
    assert [(p.mode, p.size) for p in model.sample([0, 1])] == [(mode, (width, 16))] * 2

    for noise in ("const", "random", "none"):  # a seed's image does not depend on its company
        together = model.images([7, 3, 5], noise=noise)
        assert torch.equal(model.images([3], noise=noise), together[1:2])
        assert torch.equal(model.images([5, 3, 7], noise=noise), together[[2, 1, 0]])
