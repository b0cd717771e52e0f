"""Numbers that change while training: their values, their limits, their effect, and resuming in the middle of one."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from commands import good as good
from commands import gz as gz
from conftest import trainer
from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.model import checkpoint
from ganzoo.registry.ramp import Ramp, at, ramps
from ganzoo.runs.folder import newest

REAL = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
NONE = torch.zeros(4, 0)
SMALL = ["image.size=16", "generator.channel_max=8", "discriminator.channel_max=8", "training.precision=fp32"]
PER_STEP = 4  # images
CURVES = {
    "linear": lambda t, a, b: a + t * (b - a),
    "cosine": lambda t, a, b: b + (a - b) * math.cos(math.pi * t / 2) ** 2,
    "exponential": lambda t, a, b: math.exp((1 - t) * math.log(a) + t * math.log(b)),
}


def ramp(start, to, kimg, **options):
    return Ramp.model_validate({"from": start, "to": to, "kimg": kimg, **options})


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("a", "b"), [(2e-4, 5e-5), (0.05, 0.9)])
def test_a_ramp_follows_its_curve_between_its_ends(curve, a, b):
    made = ramp(a, b, 20, after_kimg=4, curve=curve)
    for kimg in (0, 3.9, 4, 7, 12, 16, 19.9, 20, 1000):
        t = min(max((kimg - 4) / 16, 0), 1)
        assert made.at(kimg * 1000) == pytest.approx(CURVES[curve](t, a, b), rel=1e-12)
    assert at(0.3, 5) == 0.3


def test_r3gan_s_table():
    """Values at a quarter, half and three quarters of 20,000 kimg (arXiv:2501.05441's schedules)."""
    wanted = {(2e-4, 5e-5): (1.78033e-4, 1.25e-4, 7.19670e-5), (0.9, 0.99): (0.913180, 0.945, 0.976820)}
    wanted |= {(150, 15): (130.2297, 82.5, 34.7703), (0, 0.3): (0.043934, 0.15, 0.256066)}
    for ends, values in wanted.items():
        made = ramp(*ends, 20000, curve="cosine")
        assert [made.at(images) for images in (5e6, 10e6, 15e6)] == pytest.approx(values, rel=2e-5)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.lr=0", ["training.lr", "greater than 0"]),
        ("training.lr={from: -1, to: 1, kimg: 1}", ["training.lr.from", "greater than or equal to 0"]),
        ("training.betas=[0, {from: 0, to: 1, kimg: 1}]", ["training.betas.1.to", "less than 1"]),
        ("training.lr={from: 1, to: 1, kimg: 1, curv: linear}", ["'curv'", "'curve'", "a ramp"]),
        ("training.lr={from: 1, to: 1}", ["training.lr", "'kimg'"]),
        ("training.lr={from: 1, to: 1, kimg: 1, after_kimg: 1}", ["training.lr", "after_kimg"]),
        ("regularizers=[{use: r1, gamma: {from: 1, to: 0, kimg: 1, curve: exponential}}]", ["gamma", "above 0"]),
        ("augment={use: ada, p: {from: 0, to: 1, kimg: 1}}", ["target"]),
        ("training.kimg={from: 0, to: 1, kimg: 1}", ["training.kimg", "number"]),
    ],
)
def test_a_ramp_that_cannot_be(setting, words):
    with pytest.raises(RecipeError) as err:
        trainer("stylegan2-tiny", setting)
    assert all(word in str(err.value) for word in words)


RATES = [
    "training.lr={from: 0.002, to: 0.001, kimg: 0.008}",
    "training.d_lr={from: 0.004, to: 0.008, kimg: 0.016, curve: cosine}",
    "training.betas=[0, {from: 0.9, to: 0.99, kimg: 0.012}]",
    "training.ema_kimg={from: 0, to: 1, kimg: 0.008}",
    "training.ema_rampup=null",
]


def test_rates_follow_their_ramps_and_optimizers_take_them():
    made = trainer("stylegan2-tiny", *SMALL, *RATES, "regularizers=[{use: r1, every: 4}]")
    c = 4 / 5  # of lazy penalties, on D alone
    for step in range(4):
        images = PER_STEP * step
        made.step(REAL[:PER_STEP], NONE[:PER_STEP], NONE[:PER_STEP])
        rates = {name: made.optimizers[name].param_groups[0] for name in ("g", "d")}
        t, beta = min(images / 8, 1), 0.9 + 0.09 * min(images / 12, 1)
        d_lr = 0.006 - 0.002 * math.cos(math.pi * min(images / 16, 1))
        assert rates["g"]["lr"] == pytest.approx(0.002 - 0.001 * t)
        assert rates["g"]["betas"] == (0, pytest.approx(beta))
        assert rates["d"]["lr"] == pytest.approx(d_lr * c)
        assert rates["d"]["betas"] == (0, pytest.approx(beta**c))
        if step == 0:  # a half-life of 0: the average is a copy
            assert all(torch.equal(p, q) for p, q in zip(made.G_ema.parameters(), made.G.parameters()))
    assert not all(torch.equal(p, q) for p, q in zip(made.G_ema.parameters(), made.G.parameters()))


@pytest.mark.parametrize(("start", "to", "rates"), [(0, 0.002, (0, 0.001, 0.002)), (0.002, 0, (0.002, 0.001, 0))])
def test_rates_may_begin_or_end_at_zero(start, to, rates):
    """The warm-up of ProGAN's Theano code, and the linear decay of the classics."""
    made = trainer("stylegan2-tiny", *SMALL, f"training.lr={{from: {start}, to: {to}, kimg: 0.008}}")
    for images, rate in zip((0, 4, 8), rates):
        made.images = images
        assert made.rates("g")[0] == pytest.approx(rate * made.lazy_factor("g"))
        assert made.rates("d")[0] == pytest.approx(rate * made.lazy_factor("d"))


def test_penalties_and_augmentation_see_the_images_shown():
    p = "augment={use: ada, target: null, p: {from: 0, to: 0.8, kimg: 0.016}}"
    gamma = "regularizers=[{use: r1, every: 1, gamma: {from: 8, to: 2, kimg: 0.008}}]"
    made = trainer("stylegan2-tiny", *SMALL, p, gamma)
    penalties = []
    for images in (0, 4, 8):
        made.images, made.augment = images, made.experiment.augment
        made.begin()
        assert float(made.augment.p) == pytest.approx(0.8 * images / 16)
        made.augment = None  # whose draws would change the penalty
        batch = made.batch_factory(REAL, NONE, NONE)(range(4), made.sample_rng(range(4), 4))
        penalties.append(float(made.regularizers[0].penalty(batch).detach().sum()))
    assert [value / penalties[0] for value in penalties] == pytest.approx([1, 5 / 8, 2 / 8])


def test_recipes_keep_ramps_as_they_were_written(tmp_path):
    filled = recipe.load("stylegan2-tiny", RATES).dump()
    written = tmp_path / "filled.yaml"
    written.write_text(recipe.to_yaml(filled), encoding="utf-8")
    assert recipe.load(str(written)).dump() == filled
    assert set(ramps(filled)) == {"training.lr", "training.d_lr", "training.betas.1", "training.ema_kimg"}
    assert filled["training"]["lr"]["from"] == 0.002


@pytest.mark.slow
def test_a_run_that_stops_within_a_ramp_goes_on_to_the_same_bits(tmp_path, good):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"{i}.png")
    sets = [
        *SMALL,
        "training.batch=4",
        *(s.replace("0.008", "0.03").replace("0.016", "0.03").replace("0.012", "0.03") for s in RATES),
        "augment={use: ada, target: null, p: {from: 0, to: 0.8, kimg: 0.03, curve: cosine}}",
        "regularizers=[{use: r1, every: 1, gamma: {from: 8, to: 2, kimg: 0.03, curve: exponential}}, {use: r2}]",
        "training.tick_kimg=0.004",
    ]
    flags = ["--data", str(images), "--metrics", "none", "--device", "cpu", *(x for s in sets for x in ("--set", s))]
    through, halves = tmp_path / "through", tmp_path / "halves"
    good("train", "stylegan2-tiny", *flags, "--kimg", "0.024", "--outdir", through)
    good("train", "stylegan2-tiny", *flags, "--kimg", "0.012", "--outdir", halves)
    good("train", "stylegan2-tiny", *flags, "--kimg", "0.024", "--outdir", halves, "--resume", "latest")
    one, other = (checkpoint.read(newest(next(d.iterdir()), "state")[0])[1] for d in (through, halves))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
