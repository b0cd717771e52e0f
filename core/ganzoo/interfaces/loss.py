"""Adversarial losses."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from ganzoo.registry.component import Component
from ganzoo.types import Logits, PerSample


def per_sample(values: Tensor) -> PerSample:
    """Mean of each sample's values: [N, P] -> [N]. With one value a sample, as most discriminators give, that value."""
    return values.flatten(1).mean(dim=1)


class Loss(nn.Module, Component, ABC, kind="loss"):
    """An adversarial loss, from logits alone.

    Built with (). Logits [N, P], one for each of P patches or a single one -> PerSample [N]; `per_sample` takes the
    mean over patches.
    """

    critic: ClassVar[bool] = False  # D is no sigmoid classifier: its gradient may be held to a norm other than 0
    signed: ClassVar[bool] = True  # the sign of D's logit says real or fake; False where a constant may be added to all
    relativistic: ClassVar[bool] = False  # the generator's loss depends on the logits of reals too
    paired: ClassVar[bool] = False  # it compares a fake with the real of its row, whose label the fake then has

    def begin(self, images: int) -> None:
        """Prepare for an iteration, with the real images shown before it; called once."""

    @abstractmethod
    def d(self, real: Logits, fake: Logits) -> PerSample:
        """Return what the discriminator minimises."""

    @abstractmethod
    def g(self, fake: Logits, real: Logits) -> PerSample:
        """Return what the generator minimises. Unless the loss is relativistic, `real` holds zeros."""
