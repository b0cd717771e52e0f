"""TODO docstring."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from ganzoo.registry.component import Component
from ganzoo.types import Logits, PerSample


class Loss(nn.Module, Component, ABC, kind="loss"):
    """Adversarial loss per sample, from logits [N, 1] alone."""

    critic: ClassVar[bool] = False  # D is no sigmoid classifier: its gradient may be held to a norm other than 0
    relativistic: ClassVar[bool] = False  # G's loss looks at the logits of reals too

    @abstractmethod
    def d(self, real: Logits, fake: Logits) -> PerSample:
        """What the discriminator minimises."""

    @abstractmethod
    def g(self, fake: Logits, real: Logits) -> PerSample:
        """What the generator minimises. Unless the loss is relativistic, `real` is not computed and holds zeros."""
