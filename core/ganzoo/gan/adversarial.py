"""The parts of a GAN that adversarial training is given, and the options of that training."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from ganzoo.gan.watchdog import Watchdog
from ganzoo.interfaces import (
    Augment,
    Discriminator,
    Experiment,
    Generator,
    Growth,
    Loss,
    Monitor,
    Regularizer,
    Schedule,
    Stage,
)
from ganzoo.registry.ramp import Scheduled
from ganzoo.types import Count, Positive, Weight


class Training(Schedule):
    """How to train a GAN.

    Args:
        d_lr: the discriminator's learning rate, where it differs
        order: which network moves first in an iteration: "gd" as in StyleGAN2, "dg" as in ProGAN
        fresh_reals: the generator's loss compares with other reals than the discriminator's, so that an iteration takes
            two batches of reals and counts one; only a relativistic loss has use for them
        g_every: the generator learns at every k-th iteration only: k discriminator steps to one (WGAN-GP)
        freeze_d: layers of the discriminator, counted from the image, that keep what they were given (Freeze-D)
        ema_kimg: half-life of the moving average of the generator's weights
        ema_beta: the moving average's decay at every iteration, in place of the half-life; null for the half-life
        ema_rampup: the half-life is at most this fraction of the images seen; null for none
    """

    d_lr: Scheduled[Positive] | None = None
    order: Literal["gd", "dg"] = "gd"
    fresh_reals: bool = False
    g_every: Count = 1
    freeze_d: Annotated[int, Ge(0)] = 0
    ema_kimg: Scheduled[Weight] = 10.0
    ema_beta: Annotated[float, Interval(ge=0, lt=1)] | None = None
    ema_rampup: Positive | None = None


class AdversarialExperiment(Experiment):
    """An experiment with the parts that a `Trainer` trains."""

    G: Generator
    D: Discriminator
    loss: Loss
    regularizers: Sequence[Regularizer]
    growth: Growth | None
    augment: Augment | None
    training: Training

    def stage_at(self, images: int) -> Stage:
        """Where growth stands after so many images."""
        return self.growth.stage(images) if self.growth else super().stage_at(images)

    def monitors(self) -> list[Monitor]:
        """The watchdog, which knows the faults of GANs."""
        return [Watchdog(self.loss, self.ranking)]
