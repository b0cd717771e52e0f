"""What the recipe of a GAN holds. Its signature is the schema of a recipe, and binding it builds the experiment."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import nn

from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.gan.generator import ComposedGenerator
from ganzoo.gan.rules import RULES
from ganzoo.gan.trainer import AdversarialExperiment, Trainer, Training
from ganzoo.interfaces import (
    Augment,
    Dataset,
    Discriminator,
    Generator,
    Growth,
    Images,
    Logger,
    Loss,
    Metric,
    Regularizer,
)
from ganzoo.interfaces.experiment import CheckedRecipe, Fault
from ganzoo.registry.component import Make


class Gan(AdversarialExperiment, name="gan"):
    """A generator, a discriminator, what they are trained for, on which images and how.

    Args:
        title: one line about the architecture
        paper: where it is described
        image: size and channels
        labels: number of classes, or length of a label vector; 0 for none
        generator: latents to images
        discriminator: images to logits
        loss: the adversarial loss
        regularizers: penalties on either network
        growth: schedule of resolutions; null trains all of them from the start
        augment: what the discriminator sees in place of the images; null for the images themselves
        dataset: the real images; `--data` chooses it on the command line
        metrics: measured at each snapshot
        loggers: where a run tells how it goes, beside its own files
        training: how to train
    """

    example: ClassVar[Mapping[str, Any]] = {"image": Images(size=16)}

    def __init__(
        self,
        *,
        title: str = "",
        paper: str = "",
        image: Images,
        labels: Annotated[int, Ge(0)] = 0,
        generator: Make[Generator] = ComposedGenerator,
        discriminator: Make[Discriminator] = ComposedDiscriminator,
        loss: Make[Loss],
        regularizers: list[Make[Regularizer]] = [],  # noqa: B006 (never changed)
        growth: Make[Growth] | None = None,
        augment: Make[Augment] | None = None,
        dataset: Make[Dataset] | None = None,
        metrics: list[Make[Metric]] = [],  # noqa: B006
        loggers: list[Make[Logger]] = [],  # noqa: B006
        training: Training = Training(),  # noqa: B008 (frozen)
    ) -> None:
        self.title, self.labels, self.training = title, labels, training
        self.shape = image.shape()
        self.G = generator(self.shape, labels)
        self.D = discriminator(self.shape, labels)
        self.loss = loss()
        self.regularizers = [make() for make in regularizers]
        self.growth = growth(self.shape) if growth else None
        self.augment = augment() if augment else None
        self._dataset, self._metrics, self._loggers = dataset, metrics, loggers

    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        return {"G": self.G, "D": self.D}

    def learner(self, device: torch.device) -> Trainer:
        """Adversarial training."""
        return Trainer(self, device)

    def dataset(self) -> Dataset | None:
        """Open the real images, if the recipe names them. Raises DataError."""
        return self._dataset(self.shape.size, self.shape.channels, self.labels) if self._dataset else None

    def metrics(self, seed: int) -> list[Metric]:
        """Fresh metrics, to be filled once."""
        made = [make(self.shape, seed) for make in self._metrics]
        for metric, make in zip(made, self._metrics):
            metric.options = dict(make.keywords)  # type: ignore[attr-defined]
        return made

    def loggers(self) -> list[Logger]:
        """Fresh loggers. Raises PluginError where a package is missing."""
        return [make() for make in self._loggers]

    @classmethod
    def faults(cls, node: CheckedRecipe) -> Iterator[Fault]:
        """Mixes that cannot work: those of any experiment, and those of GANs (`ganzoo.gan.rules`)."""
        yield from super().faults(node)
        for rule in RULES:
            yield from rule(node)

    @property
    def ranking(self) -> type[Metric] | None:
        """The metric that says which snapshot is best: the first one."""
        return self._metrics[0].func if self._metrics else None  # type: ignore[attr-defined]
