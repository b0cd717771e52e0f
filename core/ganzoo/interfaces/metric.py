"""The slot for a metric: of two sets of images, of their features, or of a generator itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganzoo.errors import ZooError
from ganzoo.interfaces.extractor import Extractor
from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.nn.arguments import require_batch
from ganzoo.registry import component
from ganzoo.registry.component import Component, Make
from ganzoo.types import Progress

Which = Literal["real", "fake"]


class Metric(Component, ABC, kind="metric"):
    """(shape, seed, /)  Accumulates real and fake images, then computes. The algebra is a pure function beside it.

    Each option is kept as an attribute of the same name, with the value that was given: records are made of them.

    Args:
        num: number of generated images
    """

    lower_is_better: ClassVar[bool] = True
    paired: ClassVar[bool] = False  # whether both sets must be of one size
    cacheable: ClassVar[bool] = True  # whether state("real") is small enough to be kept for the next measurement
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # published name -> options that make it so
    primary: str  # which of the computed values ranks checkpoints

    extractor: Make[Extractor] | None = None  # whose features are compared; None for the images themselves
    output: str = ""  # the extractor's output that is compared

    def __init__(self, shape: Shape, seed: int, /, *, num: int, num_real: int | None = 0) -> None:
        """`num_real` is None for all real images there are; 0, if none are needed."""
        self.shape, self.seed, self.num, self.num_real = shape, seed, num, num_real
        self._collected: dict[Which, list[Tensor]] = {"real": [], "fake": []}

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name, for records and for the key of kept statistics; `num` and `num_real` as they are now."""
        return {name: getattr(self, name) for name in component.options(type(self)).model_fields}

    def missing(self) -> ZooError | None:
        """Return the error of what it cannot measure without, beside its extractor's weights; None where all is there.

        Asked before a measurement, and before a training, so that other metrics are measured all the same.
        """
        return None

    def wanted(self, which: Which) -> int | None:
        """How many images of a set it takes in; None for all."""
        return self.num if which == "fake" else self.num_real

    def update(self, batch: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W], or features [N, D]. Their order, not how they are batched, may matter.

        By default all are kept, for `collected`.
        """
        require_batch(batch, f"the metric '{self.name}'")
        self._collected[which].append(batch.clone())

    def collected(self, which: Which) -> Tensor:
        """Return all images or features of a set that `update` kept, in order."""
        return torch.cat(self._collected[which]) if self._collected[which] else torch.empty(0)

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The values by name."""

    def state(self, which: Which) -> dict[str, Tensor]:
        """Return what was accumulated of a set: all that `merge` needs to go on from it."""
        return {"batches": self.collected(which)} if self._collected[which] else {}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add what another one accumulated of the images that follow."""
        if state:
            self._collected[which].append(state["batches"])


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class ProbeContext:
    """The generator and all else that a metric of the generator itself works with.

    Args:
        G: the generator, in evaluation mode
        stage: where its growth stands
        device: where it is
        labels: `labels(count, salt)` draws labels [count, K] of the data set
        extractor: built from the metric's own slot, on the device; None where it has none
        rank: number of this process, whose share of the samples is rank :: world
        world: number of processes
        progress: called with the metric's name, the number of samples done, and the number of all
    """

    G: Generator
    stage: Stage
    device: torch.device
    labels: Callable[[int, int], Tensor]
    extractor: Extractor | None = None
    rank: int = 0
    world: int = 1
    progress: Progress = _silent


class GeneratorMetric(Metric):
    """A metric that draws from the generator itself, and is given no images: `update` is never called."""

    @abstractmethod
    def probe(self, context: ProbeContext) -> None:
        """Draw this process's share of the samples from the generator, and accumulate what is measured of them."""

    def update(self, batch: Tensor, which: Which) -> None:
        """Do nothing: images of others are not compared."""
