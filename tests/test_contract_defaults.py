"""What the base classes bring: a component that defines what it must, and nothing else."""

import copy
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Shape, Stage
from ganzoo.registry import registry
from ganzoo.testing.conformance import faults_of

SHAPE = Shape(((4, 4), (8, 8), (16, 16)), 3)


class Whole(zoo.Generator, name="whole"):
    """`forward` alone; it is built as users of torch build modules."""

    def __init__(self, shape, labels, /):
        super().__init__()
        self.z_dim = 5
        self.dense = nn.Linear(5 + labels, shape.channels * shape.size[0] * shape.size[1])

    def forward(self, z, label=None, stage=None):
        assert stage is None or stage.level == 2
        x = self.dense(z if label is None else torch.cat([z, label], dim=1))
        return (x.unflatten(1, (self.shape.channels, *self.shape.size)).tanh(),)


@pytest.mark.parametrize("labels", [0, 3])
def test_a_generator_needs_forward_alone(labels):
    G, z = Whole(SHAPE, labels), torch.randn(4, 5)
    label = torch.eye(3)[[0, 1, 2, 0]] if labels else None
    assert (G.shape, G.labels, G.z_dim, G.num_ws, G.finest) == (SHAPE, labels, 5, 1, Stage(2))
    assert "w_mean" in G.state_dict()
    assert not G.w_mean.any()
    image = G(z, label)[-1]
    ws = G.styles(z, label)
    assert ws.shape == (4, 1, len(G.w_mean))
    assert torch.equal(G.synthesize(ws)[-1], image)
    assert torch.equal(G.synthesize(G.truncate(ws, 0.5))[-1], image)
    assert torch.equal(G.map(z, label)[:, :5], z)
    assert not (G.has_styles or G.has_mapping or G.grows)
    G.set_dtype(torch.bfloat16)
    with G.noise("const"):
        assert torch.equal(copy.deepcopy(G)(z, label)[-1], image)


def test_sizes_may_be_passed_on_or_left_out():
    class Passing(Whole):
        def __init__(self, shape, labels, /):
            zoo.Generator.__init__(self, shape, labels)

    assert Passing(SHAPE, 3).shape == SHAPE
    assert Passing(SHAPE, 3).z_dim == 512
    assert len(Passing(SHAPE, 3).w_mean) == 515
    with pytest.raises(NotImplementedError, match="defines neither forward"):
        zoo.Generator(SHAPE, 0)(torch.randn(2, 512))


def test_a_discriminator_needs_forward_alone():
    class Judge(zoo.Discriminator):
        def __init__(self, shape, labels, /):
            super().__init__()
            self.conv = nn.Conv2d(shape.channels, 1, 4, stride=4)

        def forward(self, images, label=None, stage=None):
            return self.conv(images[-1]).flatten(1)

    D, x = Judge(SHAPE, 0), torch.randn(2, 3, 16, 16)
    D.set_dtype(torch.bfloat16)
    assert (D.accepts, D.grows, D.finest) == ("image", False, Stage(2))
    assert torch.equal(torch.cat(D.judge_each([((x,), None), ((x,), None)])), D((torch.cat([x, x]),)))


def test_a_dataset_needs_its_length_and_images():
    class Flat(zoo.Dataset, name="flat"):
        def __len__(self):
            return 3

        def image(self, index):
            return np.full((self.channels, *self.size), index, np.uint8)

    data = Flat((2, 4), 3, 2)
    assert (data.size, data.channels, data.labels, data.title) == ((2, 4), 3, 2, "flat")
    assert Flat.claims("flat")
    assert data.label(0).tolist() == [0, 0]
    assert data.check() == []
    text = hashlib.sha256(repr(((2, 4), 3, 2, 3)).encode())
    for i in range(3):
        text.update(bytes([i]) * 24 + bytes(8))
    assert data.fingerprint() == text.hexdigest()
    data.image = lambda index: np.full((3, 2, 4), 1, np.uint8)
    assert data.fingerprint() == text.hexdigest()  # images are read once


def test_growth_loggers_and_augmentations_need_one_method():
    class Steps(zoo.Growth):
        def stage(self, images):
            return Stage(min(images // 10, len(self.shape.sizes) - 1))

    class Lines(zoo.Logger):
        def log(self, row):
            self.row = row

    class Dark(zoo.Augment):
        def forward(self, images):
            return tuple(x * 0.9 for x in images)

    growth, logger, augment = Steps(SHAPE), Lines(), Dark()
    assert [growth.stage(n).level for n in (0, 10, 99)] == [0, 1, 2]
    assert (growth.batch(Stage(0), 8), growth.lr(Stage(0), 0.1)) == (8, 0.1)
    assert not growth.resets_optimizer(Stage(0), Stage(1))
    logger.start(Path(), {}, None)
    logger.picture("fakes", Path("x.png"))
    logger.close()
    augment.observe(torch.ones(2, 1))
    augment.adapt(8)
    assert augment.values() == {}


class Brightness(zoo.Metric, name="brightness"):
    """Difference of the mean gray levels of both sets.

    Args:
        num: images of each set
    """

    primary = "brightness"

    def __init__(self, shape, seed, /, *, num: int = 50) -> None:
        super().__init__(shape, seed, num=num, num_real=num)

    def compute(self):
        means = [float(self.collected(which).double().mean()) for which in ("real", "fake")]
        return {"brightness": abs(means[0] - means[1])}


def test_a_metric_needs_compute_alone(tmp_path):
    assert list(faults_of(Brightness, registry(), tmp_path)) == []
    metric, real, fake = Brightness(SHAPE, 0, num=4), torch.full((4, 3, 2, 2), 9), torch.full((4, 3, 2, 2), 5)
    metric.update(real, "real")
    metric.update(fake[:1], "fake")
    other = Brightness(SHAPE, 0, num=4)
    other.update(fake[1:], "fake")
    metric.merge("fake", other.state("fake"))
    metric.merge("real", other.state("real"))
    assert torch.equal(metric.collected("fake"), fake)
    assert metric.compute() == {"brightness": 4.0}
