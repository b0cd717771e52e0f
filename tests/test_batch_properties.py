"""Discriminators judge reals and fakes in one batch as they do apart."""

from functools import partial

import pytest
import torch
from torch import Tensor

from conftest import small
from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Stage
from ganzoo.model.restore import build_experiment
from ganzoo.testing.modules import check_module
from ganzoo_progan.discriminator import PlainDown, PlainTrunk
from ganzoo_progan.generator import BatchNorm, LayerNorm
from ganzoo_progan.heads import DenseHead
from plain import stirred
from precise import SIZE, assert_close
from precise import _seeded as _seeded
from precise import double as double


def two_batches(made: Gan, n: int = 4) -> list[tuple[tuple[Tensor, ...], None]]:
    """Images and labels, of different sizes of batch."""
    sizes = made.shape.sizes
    return [(tuple(torch.randn(k, 3, *size) for size in sizes), None) for k in (n, 2 * n)]


@pytest.mark.parametrize("name", ["progan-tiny", "stylegan-tiny", "stylegan2-tiny", "msggan-tiny"])
def test_batches_judged_together_are_judged_apart(name, double):
    """The minibatch statistic too: reals do not enter that of the fakes."""
    made = build_experiment(small(name))
    D, last = stirred(made.D), len(made.shape.sizes) - 1
    assert D.samplewise
    batches, stage = two_batches(made), Stage(last, 0.5 if made.growth else 1.0)
    for found, (images, label) in zip(D.judge_each(batches, stage), batches, strict=True):
        assert_close(found, D(images, label, stage))


@pytest.mark.parametrize("norm", ["batch_norm", "layer_norm"])
def test_a_trunk_that_looks_at_its_batch_judges_one_after_the_other(norm, double):
    made = build_experiment(small("progan-tiny", f"discriminator.trunk.down.norm={norm}"))
    D, batches = made.D.train(), two_batches(made)
    assert D.samplewise == (norm == "layer_norm")
    found = D.judge_each(batches)
    for logits, (images, label) in zip(found, batches, strict=True):
        assert_close(logits, D(images, label))


def test_who_changes_a_samplewise_part_says_it_anew(double):
    """What a subclass computes, nobody has said to be samplewise; nor what a discriminator's own `forward` does."""
    made = build_experiment(small("progan-tiny"))

    class Changed(PlainDown):
        def forward(self, x):
            return super().forward(x) * x.mean()

    def build(cls, down):
        trunk = partial(PlainTrunk, down=down)
        return cls(made.shape, 0, trunk=trunk, head=DenseHead, channel_base=256, channel_max=16)

    assert build(ComposedDiscriminator, PlainDown).samplewise
    assert not build(ComposedDiscriminator, Changed).samplewise

    class Doubled(ComposedDiscriminator):
        def forward(self, images, label=None, stage=None):
            return 2 * super().forward(images, label, stage)

    D, batches = build(Doubled, PlainDown), two_batches(made)
    for found, (images, label) in zip(D.judge_each(batches), batches, strict=True):
        assert_close(found, D(images, label))


def test_a_samplewise_part_is_inherited_with_its_forward():
    class Wider(PlainDown):
        def __init__(self, in_channels, out_channels, size, /):
            super().__init__(in_channels, out_channels, size, gain="activation")

    class Changed(Wider):
        def forward(self, x):
            return super().forward(x)

    class Restated(Changed):
        samplewise = True

        def forward(self, x):
            return super().forward(x)

    class Below(Changed):
        pass

    assert [cls.samplewise for cls in (Wider, Changed, Restated, Below)] == [True, False, True, False]


def test_an_image_trunk_takes_pyramids_of_any_height(double):
    """Of a generator that gives all sizes, and of reals, of which there is one."""
    made = build_experiment(small("stylegan2-tiny"))
    (images, _), (others, _) = two_batches(made)
    pair = [(images, None), (others[-1:], None)]
    assert made.D.samplewise
    for found, (images, label) in zip(made.D.judge_each(pair), pair, strict=True):
        assert_close(found, made.D(images, label))


@pytest.mark.parametrize("head", ["{use: projection, mapping: mlp}", "selection"])
def test_labels_stay_with_their_images(head, double):
    made = build_experiment(small("stylegan2-tiny", "labels=3", "dataset=null", f"discriminator.head={head}"))
    pairs = [(images, torch.eye(3)[torch.arange(len(images[0])) % 3]) for images, _ in two_batches(made)]
    D = stirred(made.D)
    logits = D.judge_each(pairs)
    apart = [D(images, label) for images, label in pairs]
    assert_close(logits, apart)
    weights = list(D.parameters())
    ours, theirs = (torch.autograd.grad(a.sum() - b.square().sum(), weights) for a, b in (logits, apart))
    assert_close(ours, theirs)


def test_a_false_claim_is_found():
    class Claims(BatchNorm):
        samplewise = True

    found = list(check_module(partial(Claims), Claims, SIZE))
    assert found == ["is said to be samplewise, but a sample's result depends on the others in its batch"]
    assert list(check_module(partial(BatchNorm), BatchNorm, SIZE)) == []


def test_an_inherited_claim_is_checked():
    class Inherits(LayerNorm):
        def __init__(self, channels, /):
            super().__init__(channels)
            self.norm = torch.nn.BatchNorm2d(channels)

    (found,) = check_module(partial(Inherits), Inherits, SIZE)
    assert found == "is said to be samplewise, but a sample's result depends on the others in its batch"
