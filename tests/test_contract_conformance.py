"""Conformance finds what breaks the contract of docs/plugins.md, and lets through what keeps it."""

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo import interfaces as zoo
from ganzoo.registry import Component, registry
from ganzoo.testing.conformance import faults_of


@pytest.fixture
def faults(tmp_path):
    """The faults of a class, without the sizes at which they were found."""

    def find(cls: type[Component]) -> set[str]:
        return {fault.partition(" (size")[0] for fault in faults_of(cls, registry(), tmp_path)}

    return find


class Plain(zoo.Layer, name="plain_conv"):
    """The layer that everyone writes: torch's own convolution and a dense layer of the style."""

    styled = True

    def __init__(self, in_channels, out_channels, w_dim, size, up, /):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.style = nn.Linear(w_dim, out_channels)

    def forward(self, x, w):
        x = F.interpolate(x, scale_factor=2) if self.up else x
        return self.conv(x) * self.style(w)[:, :, None, None]


class Normed(zoo.Down, name="normed"):
    """Spectral norm, whose vectors move in training, and group norm."""

    def __init__(self, in_channels, out_channels, size, /):
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1))
        self.norm = nn.GroupNorm(1, out_channels)

    def forward(self, x):
        return F.softplus(self.norm(self.conv(x)))


class Patches(zoo.Head, name="patches"):
    """A logit for each position."""

    def __init__(self, channels, size, labels, /):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x, label=None):
        return self.conv(x).flatten(1)


class Softened(zoo.ToRGB, name="softened"):
    """It gives float32 whatever it is given."""

    styled = False

    def __init__(self, channels, w_dim, image_channels, /):
        super().__init__()
        self.conv = nn.Conv2d(channels, image_channels, 1)

    def forward(self, x, w):
        return self.conv(x).float().tanh()


class Counting(zoo.Regularizer, name="counting"):
    """R1 over the moving mean of itself.

    Args:
        every: apply it at each k-th step
    """

    on = "d"

    def __init__(self, *, every: int = 1):
        super().__init__(every=every)
        self.register_buffer("mean", torch.zeros(()))

    def penalty(self, batch):
        norm = zoo.per_sample(batch.D(batch.real, batch.real_label, batch.stage)).square()
        return norm - self.moving_mean("mean", norm, 0.1, batch)


@pytest.mark.parametrize("cls", [Plain, Normed, Patches, Softened, Counting])
def test_what_torch_users_write_conforms(cls, faults):
    assert faults(cls) == set()


def changed(base: type, **members: Any) -> Any:
    """A subclass with a docstring and other members."""
    return type(base.__name__, (base,), {"__doc__": "Wrong.", **members}, name="wrong")


# --- precision -------------------------------------------------------------------------------------------------------


def test_a_false_claim_to_cast_weights_is_found(faults):
    (fault,) = faults(changed(Plain, casts_weights=True))
    assert fault.startswith("fails on bfloat16 maps (")
    assert "leave casts_weights False, so that it runs under torch.autocast" in fault


def test_a_part_that_casts_may_not_widen_its_maps(faults):
    def forward(self, x):
        return self.norm(F.conv2d(x.float(), self.conv.weight, stride=2, padding=1))

    assert faults(changed(Normed, casts_weights=True, forward=forward)) >= {
        "gives torch.float32 for bfloat16 maps, not bfloat16"
    }


def test_values_that_bfloat16_changes_are_found(faults):
    def forward(self, x, w):
        return Plain.forward(self, x, w) * (2 if x.dtype == torch.bfloat16 else 1)

    assert any("gives other values for bfloat16 maps" in fault for fault in faults(changed(Plain, forward=forward)))


# --- state and randomness --------------------------------------------------------------------------------------------


def counting(self, x, w):
    self.calls = getattr(self, "calls", 0) + 1
    return Plain.forward(self, x, w)


def averaging(self, x, w):
    self.average = 0.9 * getattr(self, "average", torch.zeros(())) + 0.1 * x.detach().float().mean()
    return Plain.forward(self, x, w) + self.average


def listing(self, x, w):
    self.__dict__.setdefault("seen", {}).setdefault("means", []).append(float(x.detach().float().mean()))
    return Plain.forward(self, x, w)


@pytest.mark.parametrize(("forward", "name"), [(counting, "calls"), (averaging, "average"), (listing, "seen")])
def test_state_outside_of_buffers_is_found(forward, name, faults):
    found = faults(changed(Plain, forward=forward))
    assert any(fault.startswith(f"keeps {name} outside of its saved state: register_buffer()") for fault in found)


def test_a_buffer_that_is_not_saved_is_found(faults):
    class Forgetful(Plain, name="forgetful"):
        """A buffer that no file holds."""

        def __init__(self, in_channels, out_channels, w_dim, size, up, /):
            super().__init__(in_channels, out_channels, w_dim, size, up)
            self.register_buffer("mean", torch.zeros(()), persistent=False)

        def forward(self, x, w):
            self.mean.add_(x.detach().float().mean())
            return super().forward(x, w) + self.mean

    found = faults(Forgetful)
    assert any("keeps mean outside of its saved state" in fault for fault in found)
    assert any("gives another output after saving and loading" in fault for fault in found)


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_randomness_that_torch_does_not_seed_is_found(draw, faults):
    def forward(self, x, w):
        return Plain.forward(self, x, w) + draw()

    found = faults(changed(Plain, forward=forward))
    assert found & {
        "draws numbers that torch's seed does not determine: draw them from torch",
        "gives another output after saving and loading: something is missing in its parameters and buffers",
    }


# --- gradients, lengths, shapes --------------------------------------------------------------------------------------


class Whole(zoo.Generator, name="whole"):
    """A generator of one dense layer."""

    def __init__(self, shape, labels, /):
        super().__init__()
        self.z_dim = 6
        self.dense = nn.Linear(6 + labels, shape.channels * shape.size[0] * shape.size[1])
        self.spare = nn.Parameter(torch.ones(()))

    def forward(self, z, label=None, stage=None):
        x = self.dense(z if label is None else torch.cat([z, label], dim=1)) * self.spare
        return (x.unflatten(1, (self.shape.channels, *self.shape.size)),)


def test_a_generator_of_forward_alone_conforms(faults):
    assert faults(Whole) == set()


def test_a_parameter_of_a_generator_that_nothing_uses_is_found(faults):
    def forward(self, z, label=None, stage=None):
        return tuple(x / self.spare.detach() for x in Whole.forward(self, z, label, stage))

    def without(self, z, label=None, stage=None):
        x = self.dense(z if label is None else torch.cat([z, label], dim=1))
        return (x.unflatten(1, (self.shape.channels, *self.shape.size)),)

    assert faults(changed(Whole, forward=forward)) == set()
    assert faults(changed(Whole, forward=without)) == {"no finite gradient reaches spare"}


def test_a_generator_that_gives_no_tuple_is_found(faults):
    def forward(self, z, label=None, stage=None):
        return Whole.forward(self, z, label, stage)[-1]

    (fault,) = faults(changed(Whole, forward=forward))
    assert fault.startswith("gives no tuple of images")


def test_a_generator_whose_codes_do_not_fit_its_mean_is_found(faults):
    def styles(self, z, label=None, stage=None):
        return z[:, None, :-1]

    assert any("styles() gives (4, 1, 5)" in fault for fault in faults(changed(Whole, styles=styles)))


def test_a_mapping_that_takes_one_length_only_is_found(faults):
    class Square(zoo.Mapping, name="square"):
        """A dense layer that forgets that latents have a length of their own."""

        def __init__(self, z_dim, w_dim, labels, /):
            super().__init__()
            self.dense = nn.Linear(w_dim + labels, w_dim)

        def forward(self, z, label=None):
            return self.dense(z if label is None else torch.cat([z, label], dim=1))

    assert any("shapes cannot be multiplied" in fault for fault in faults(Square))


def test_values_that_are_not_finite_are_found(faults):
    def forward(self, x, w):
        return Plain.forward(self, x, w) * float("nan")

    assert "gives values that are not finite" in faults(changed(Plain, forward=forward))


# --- losses, regularizers, growth, metrics ---------------------------------------------------------------------------


class Fine(zoo.Loss, name="fine"):
    """Hinge."""

    def d(self, real, fake):
        return zoo.per_sample(F.relu(1 - real) + F.relu(1 + fake))

    def g(self, fake, real):
        return -zoo.per_sample(fake)


def test_losses(faults):
    assert faults(Fine) == set()
    flat = changed(Fine, d=lambda self, real, fake: (fake - real).flatten())
    assert any("d() gives (12,) for logits [4, 3]" in fault for fault in faults(flat))
    peeking = changed(Fine, g=lambda self, fake, real: zoo.per_sample(real - fake))
    assert any("say relativistic = True" in fault for fault in faults(peeking))
    assert faults(changed(Fine, relativistic=True, g=peeking.g)) == set()
    bad = changed(Fine, d=lambda self, real, fake: zoo.per_sample(real - fake) * float("nan"))
    assert any("not finite values of shape" in fault for fault in faults(bad))

    def stateful(self, real, fake):
        self.last = float(real.detach().mean())
        return Fine.d(self, real, fake)

    assert any("keeps last outside of its saved state" in fault for fault in faults(changed(Fine, d=stateful)))


def test_a_regularizer_that_moves_its_mean_once_a_micro_batch_is_found(faults):
    def penalty(self, batch):
        norm = zoo.per_sample(batch.D(batch.real, batch.real_label, batch.stage)).square()
        self.mean.lerp_(norm.detach().mean(), 0.1)
        return norm - self.mean

    assert faults(changed(Counting, penalty=penalty)) == {
        "keeps another 'mean' where training computes 2 images at once: let moving_mean() move it, or change it once "
        "a step"
    }


def test_a_regularizer_with_state_outside_of_buffers_is_found(faults):
    def penalty(self, batch):
        self.times = getattr(self, "times", 0) + 1
        return Counting.penalty(self, batch)

    assert any("keeps times outside of its saved state" in f for f in faults(changed(Counting, penalty=penalty)))


class Steps(zoo.Growth, name="steps"):
    """A level each million images."""

    def stage(self, images):
        return zoo.Stage(min(images // 1_000_000, len(self.shape.sizes) - 1))


def test_growth(faults):
    assert faults(Steps) == set()
    for name, wrong, fault in (
        ("stage", lambda self, images: zoo.Stage(0, float("nan")), "a stage is out of range, or levels do not rise"),
        ("batch", lambda self, stage, batch: batch / 2, "batch() gives no number of images from 1 on"),
        ("lr", lambda self, stage, lr: lr * float("nan"), "lr() gives no learning rate above 0"),
    ):
        assert faults(changed(Steps, **{name: wrong})) == {fault}


def test_a_kind_without_a_check_is_refused(faults):
    class Odd(Component, kind="odd", name="odd"):
        """Of a kind whose base class names no check."""

    assert faults(Odd) == {
        "its kind 'odd' cannot be tried: let its base class name a check, as trial = 'module:function'"
    }
