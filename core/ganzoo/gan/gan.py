"""The recipe of a GAN. The signature of `Gan` is the schema of a recipe, and binding it builds the experiment."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import nn

from ganzoo.errors import RecipeError
from ganzoo.gan.adversarial import AdversarialExperiment, Training
from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.gan.generator import ComposedGenerator
from ganzoo.gan.rules import RULES
from ganzoo.gan.trainer import Trainer
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
from ganzoo.interfaces.experiment import CheckedRecipe
from ganzoo.registry.component import Make


class Gan(AdversarialExperiment, name="gan"):
    """A generator, a discriminator, their losses and penalties, the images they learn from, and the schedule.

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
        augment: changes the images that the discriminator sees; null for the images themselves
        dataset: the real images; `--data` chooses it on the command line
        metrics: measured at each snapshot
        loggers: take a run's numbers and pictures, beside its own files
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
        self.title = title
        self.labels = labels
        self.training = training
        self.shape = image.shape()
        self.G = generator(self.shape, labels)
        self.D = discriminator(self.shape, labels)
        self.loss = loss()
        self.regularizers = [make() for make in regularizers]
        self.growth = growth(self.shape) if growth else None
        self.augment = augment() if augment else None
        self._dataset = dataset
        self._metrics = metrics
        self._loggers = loggers

    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        return {"G": self.G, "D": self.D}

    def learner(self, device: torch.device) -> Trainer:
        """An adversarial training of it, from the beginning."""
        return Trainer(self, device)

    def dataset(self) -> Dataset | None:
        """Open the real images, if the recipe names them. Raises DataError."""
        return self._dataset(self.shape.size, self.shape.channels, self.labels) if self._dataset else None

    def metrics(self, seed: int) -> list[Metric]:
        """Build fresh metrics, each to be filled once."""
        return [make(self.shape, seed) for make in self._metrics]

    def loggers(self) -> list[Logger]:
        """Build fresh loggers. Raises PluginError where a package is missing."""
        return [make() for make in self._loggers]

    @classmethod
    def faults(cls, node: CheckedRecipe) -> Iterator[RecipeError]:
        """Yield mixes that cannot work: those of any experiment, and those of GANs (`ganzoo.gan.rules`)."""
        yield from super().faults(node)
        for rule in RULES:
            yield from rule(node)

    @property
    def ranking(self) -> type[Metric] | None:
        """The metric that ranks snapshots: the first one."""
        return self._metrics[0].func if self._metrics else None  # type: ignore[attr-defined]
