"""Augmentation in training: adaptation of its strength, penalties through it, resuming; DiffAugment; recipes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conftest import small, trainer
from ganzoo.errors import RecipeError
from ganzoo.interfaces import GanBatch, SampleRng, Stage
from ganzoo.model import checkpoint
from ganzoo.recipe.loading import load
from ganzoo.registry import plugin as plugins
from ganzoo.runs import folder as folder_
from ganzoo.runs import run
from ganzoo_augment.ada import ADA, adapted
from ganzoo_augment.diffaugment import DiffAugment, coloured
from ganzoo_augment.transforms import PIPELINES
from ganzoo_objectives.penalties import R1

# --- the controller --------------------------------------------------------------------------------------------------


def test_the_controller_step_by_step():
    """Batch 10, every 2nd iteration, 1 kimg from 0 to 1: p moves by 10 * 2 / 1000 = 0.02 at a target of 0.6."""
    ada = ADA(every=2, speed_kimg=1.0)
    seen = [  # logits on reals of an iteration, in one or two observations; p after it
        ([[1.0, 2.0, 3.0, 4.0]], 0.0),
        ([[1.0], [0.5, 0.1, -0.2]], 0.02),  # signs 1 1 1 1 and 1, 1 1 -1: r = 6 / 8 = 0.75
        ([[5.0, 5.0]], 0.02),
        ([[9.0, 9.0]], 0.04),  # r = 1
        ([[1e6, -1.0, -1.0]], 0.04),
        ([[1.0]], 0.02),  # signs, not values: r = 0
        ([[-1.0]], 0.02),
        ([[-1.0]], 0.0),
        ([[-1.0]], 0.0),
        ([[-1.0]], 0.0),  # never below 0
        ([[1.0] * 4 + [-1.0]], 0.0),
        ([[1.0] * 4 + [-1.0]], 0.0),  # r = 0.6 is the target: p stays
    ]
    for i, (logits, p) in enumerate(seen):
        for part in logits:
            ada.observe(torch.tensor(part)[:, None])
        ada.adapt(10)
        assert ada.values()["p"] == pytest.approx(p, abs=1e-6), i


def test_the_papers_pace():
    """p goes from 0 to 1 in 500 kimg at any batch size, and beyond 1 after that."""
    for batch in (32, 128):
        ada = ADA()
        for _ in range(51_200 // batch):
            ada.observe(torch.ones(2, 1))
            ada.adapt(batch)
        assert ada.values()["p"] == pytest.approx(0.1024, rel=1e-4)
    ada = ADA(p=1.0)
    for _ in range(4):
        ada.observe(torch.ones(2, 1))
        ada.adapt(64)
    assert ada.values()["p"] == pytest.approx(1 + 4 * 64 / 500_000)


def test_several_batch_sizes_within_an_interval():
    p, one = torch.tensor(0.5), torch.tensor(1.0)
    assert float(adapted(p, one, one, torch.tensor(70.0), 0.6, 1.0)) == pytest.approx(0.57)
    assert float(adapted(p, one * 0, one * 0, torch.tensor(70.0), 0.6, 1.0)) == 0.5  # nothing was observed


def test_averaged_over_processes_it_is_that_of_all_logits():
    """The mean of two processes' buffers, with different logits, gives the p of one process with all logits."""
    logits = torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.0], [-1.0], [1.0], [1.0]])
    for target, up in ((0.74, True), (0.76, False)):
        adas = [ADA(every=1, speed_kimg=1.0, p=0.5, target=target) for _ in range(2)]
        for ada, part in zip(adas, (logits[:6], logits[6:])):
            ada.observe(part)
        buffers = [dict(ada.named_buffers()) for ada in adas]
        for name in buffers[0]:
            mean = (buffers[0][name] + buffers[1][name]) / 2
            for own in buffers:
                own[name].copy_(mean)
        for ada in adas:
            ada.adapt(8)
        values = [ada.values()["p"] for ada in adas]
        assert values[0] == values[1] == pytest.approx(0.508 if up else 0.492)


def test_a_diverged_logit_does_not_spoil_p():
    ada = ADA(every=1, speed_kimg=1.0)
    ada.observe(torch.tensor([[float("nan")], [1.0], [float("inf")], [1.0], [1.0]]))
    ada.adapt(10)
    assert ada.values()["p"] == pytest.approx(0.01)


def test_fixed_p_stays():
    ada = ADA(target=None, p=0.3)
    before = {name: b.clone() for name, b in ada.named_buffers()}
    for _ in range(10):
        ada.adapt(1000)
    assert all(torch.equal(b, before[name]) for name, b in ada.named_buffers())
    with pytest.raises(RecipeError, match="set p too"):
        ADA(target=None)


def test_with_p_0_nothing_is_touched_or_drawn():
    x = (torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8))
    state = torch.get_rng_state()
    assert ADA(pipeline="bgcfnc")(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_the_state_is_all_there_is():
    ada, other = ADA(pipeline="bgcfnc", p=0.5), ADA(pipeline="bgcfnc", p=0.5)
    for i in range(7):
        ada.observe(torch.ones(3 + i, 1))
        ada.adapt(10_000)
    other.load_state_dict(ada.state_dict())
    x = (torch.randn(4, 3, 8, 8),)
    outputs = []
    for module in (ada, other):
        torch.manual_seed(0)
        outputs.append(module(x)[0])
        module.observe(-torch.ones(2, 1))
        module.adapt(10_000)
    assert torch.equal(*outputs)
    assert ada.values() == other.values() != {"p": 0.5}


# --- training --------------------------------------------------------------------------------------------------------

STRONG = ["augment=ada", "augment.pipeline=bgcfnc", "augment.p=0.8"]


def test_r1_is_differentiated_through_the_augmentation():
    """The gradient of the penalty at a parameter of D equals a difference quotient, in float64."""
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 5), nn.Softplus(), nn.Linear(5, 1)).double()
    ada, real = ADA(pipeline="bgcfnc", p=1.0), torch.rand(3, 3, 6, 6).double()

    def penalty() -> Tensor:
        torch.manual_seed(1)
        batch: Any = GanBatch(None, lambda x, label, stage: judge(ada(x)[0]), Stage(0), real, None, (real,), None)  # type: ignore[arg-type]
        return R1(gamma=2.0).penalty(batch).sum()

    weight = judge[1].weight
    (grad,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        plain = []
        for sign in (1, -1):
            weight += sign * 1e-5 * direction
            with torch.enable_grad():
                plain.append(float(penalty().detach()))
            weight -= sign * 1e-5 * direction
    assert float((grad * direction).sum()) == pytest.approx((plain[0] - plain[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("stylegan2-tiny", STRONG),
        ("stylegan2-tiny", [*STRONG, "image.channels=4", "training.precision=bf16"]),
        ("stylegan2-tiny", [*STRONG, "image.size=[16,32]", "image.channels=1"]),
        ("msggan-tiny", STRONG),
        ("msggan-tiny", ["augment=diffaugment"]),
        ("stylegan2-tiny", ["augment=diffaugment"]),
        ("progan-tiny", [*STRONG, "growth.train_kimg=0.004", "growth.fade_kimg=0.004"]),
    ],
)
def test_steps_of_training(name, overrides):
    """Penalties work with every kind of model, and p follows D's logits on reals."""
    run = trainer(name, *overrides)
    channels, (height, width) = run.experiment.shape.channels, run.experiment.shape.size
    if run.augment and "p" in run.augment.values():
        run.augment.speed_kimg = 1.0
    real = torch.randint(0, 256, (4, channels, height, width), dtype=torch.uint8)
    label = torch.zeros(4, 0)
    for _ in range(4):
        run.step(real, label, label)
    report = run.report()
    assert all(np.isfinite(value) for value in report.values())
    for net in run.nets.values():
        assert all(torch.isfinite(p).all() for p in net.parameters())
    if "augment/p" in report:
        assert abs(report["augment/p"] - 0.8) == pytest.approx(0.016, abs=1e-6)


def test_half_and_half_equals_whole(tmp_path):
    """A resumed run ends with the same tensors, strength and counters included."""

    def train(folder: Path, kimg: float, resume: str | None = None) -> dict[str, Tensor]:
        overrides = ["augment=ada", "augment.p=0.5", "augment.speed_kimg=0.2", f"training.kimg={kimg}"]
        node = small("stylegan2-tiny", *overrides)
        out = run.train(node, folder_.RunOptions(outdir=folder, resume=resume, workers=1, device="cpu"))
        return checkpoint.read(sorted(out.glob("state-*"))[-1])[1]

    whole = train(tmp_path / "whole", 0.036)
    train(tmp_path / "half", 0.024)  # 6 iterations: between two moves of p
    resumed = train(tmp_path / "half", 0.036, "latest")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    augment = {name: float(t) for name, t in whole.items() if name.startswith("augment")}
    assert augment and any(name.endswith("p") and value != 0.5 for name, value in augment.items())


# --- DiffAugment ------------------------------------------------------------------------------------------------------


class Fixed(SampleRng):
    """Random numbers that are given."""

    def __init__(self, *numbers: list[Any]) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def uniform(self, like: Tensor) -> Tensor:
        return torch.tensor(self.numbers.pop(0), dtype=like.dtype).reshape(like.shape)


def diffaugmented(policy: Any, images: tuple[Tensor, ...], *numbers: list[Any]) -> tuple[Tensor, ...]:
    module = DiffAugment(policy=(policy,))
    module.rng = Fixed(*numbers)
    return module(images)


def test_colour_of_diffaugment():
    x, u = torch.rand(2, 3, 5, 4).double(), [[0.1, 0.2, 0.3], [0.9, 0.8, 1.0]]
    (y,) = diffaugmented("color", (x,), u)
    for image, out, (b, s, c) in zip(x.numpy(), y.numpy(), u):
        want = image + (b - 0.5)
        want = (want - want.mean(axis=0)) * (2 * s) + want.mean(axis=0)
        want = (want - want.mean()) * (c + 0.5) + want.mean()
        assert np.allclose(out, want)
    gray = torch.rand(1, 3, 4, 4)
    assert torch.allclose(coloured(gray, *(torch.tensor(v) for v in (0.0, 1.0, 1.0))), gray, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 8), (20, 33)])
def test_translation_of_diffaugment(size):
    """Every shift equals slicing, with zeros at the rim."""
    h, w = size
    most = [int(w / 8 + 0.5), int(h / 8 + 0.5)]
    shifts = set()
    for u, v in itertools.product(np.linspace(0, 0.999, 6), repeat=2):
        x = torch.rand(1, 2, h, w)
        (y,) = diffaugmented("translation", (x,), [u, v])
        dx, dy = (int(z * (2 * m + 1)) - m for z, m in zip((u, v), most))
        padded = F.pad(x, [w, w, h, h])
        assert torch.equal(y, padded[..., h - dy : 2 * h - dy, w - dx : 2 * w - dx])
        shifts.add((dx, dy))
    assert {(-most[0], -most[1]), (most[0], most[1])} <= shifts


@pytest.mark.parametrize("size", [(8, 8), (9, 6), (10, 12)])
def test_cutout_of_diffaugment(size):
    """The box has half the sides around every centre, and is clipped at the image's border."""
    h, w = size
    sides = [int(n / 2 + 0.5) for n in (w, h)]
    for u, v in itertools.product(np.linspace(0, 0.999, 7), repeat=2):
        (y,) = diffaugmented("cutout", (torch.ones(1, 1, h, w),), [u, v])
        want = np.ones((h, w))
        left, top = (
            int(z * (n + 1 - s % 2)) - s // 2 for z, n, s in ((u, w, sides[0]), (v, h, sides[1]))
        )  # as many centres as there are pixels, and one more where the side is even
        want[max(top, 0) : top + sides[1], max(left, 0) : left + sides[0]] = 0
        assert np.array_equal(y[0, 0].numpy(), want)


def test_diffaugment_treats_scales_alike_and_leaves_alphas_colour():
    fine = F.interpolate(torch.rand(3, 4, 8, 8), scale_factor=4.0)
    pyramid = (F.avg_pool2d(fine, 2), fine)
    module = DiffAugment()
    module.rng = Fixed([0.3] * 9, [[0.5, 0.99], [0.1, 0.5], [0.4, 0.4]], [[0.2, 0.2], [0.5, 0.5], [0.9, 0.1]])
    coarse, out = module(pyramid)
    rms = (coarse - F.avg_pool2d(out, 2)).square().mean().sqrt()
    assert rms < 0.1 * out.std()
    (y,) = diffaugmented("color", (fine,), [0.3] * 9)
    assert torch.equal(y[:, 3:], fine[:, 3:]) and not torch.equal(y[:, :3], fine[:, :3])


def test_derivatives_of_diffaugment():
    module, x = DiffAugment(), torch.rand(1, 3, 4, 3, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return module((x,))[0].square()

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


# --- recipes ---------------------------------------------------------------------------------------------------------

CONFIGURATIONS = [
    path.stem
    for plugin in plugins.installed()
    if plugin.distribution == "ganzoo"
    for path in plugin.recipes()
    if path.stem.startswith("ada-")
]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_of_ada_augment(name):
    node = load(name)["augment"]
    assert node.cls is ADA
    values = {key: node.value(key) for key in ("pipeline", "multipliers", "p", "target", "speed_kimg", "every")}
    assert list(values.values()) == ["bgc", {}, 0, 0.6, 500, 4]
    assert set(ADA().multipliers) == set(PIPELINES["bgc"])


def test_there_are_configurations():
    assert len(CONFIGURATIONS) >= 11
