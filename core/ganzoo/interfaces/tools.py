"""What measures a GAN: metrics, and the feature extractors that they share. What reads weights of other projects."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ganzoo.component import Component, Make
from ganzoo.errors import CheckpointError
from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.layers import Shape, Stage

Which = Literal["real", "fake"]


Progress = Callable[[str, int, int], None]  # what is being worked on, done, total


class Features(nn.Module, Component, kind="features"):
    """(channels, /)  images [N, C, H, W] with values 0 to 255, uint8 or float -> {tap: [N, D]}.

    A fixed network through which metrics look. It does its own resizing.
    """

    taps: ClassVar[tuple[str, ...]]  # names of its outputs
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights
    fingerprint: str  # sha256 of its weights: in every metric's provenance

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images, float32."""
        raise NotImplementedError

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring its weights into the cache directory, on a user's word, and say where they are.

        Raises CheckpointError that says what to put where: for weights that cannot be fetched, or always if `offline`.
        """
        raise CheckpointError(f"the extractor '{cls.name}' needs no file of weights.")


class Metric(Component, ABC, kind="metric"):
    """(shape, seed, /)  Accumulates real and fake images, then computes. The algebra is a pure function beside it.

    Args:
        num: number of generated images
    """

    lower_is_better: ClassVar[bool] = True
    paired: ClassVar[bool] = False  # whether both sets must be of one size
    cacheable: ClassVar[bool] = True  # whether state("real") is small enough to be kept for the next measurement
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # published name -> options that make it so
    primary: str  # which of the computed values ranks checkpoints

    options: Mapping[str, Any] = {}  # what the recipe says, for the record
    features: Make[Features] | None = None  # the network it looks through; None for the images themselves
    tap: str = ""  # which of the network's outputs

    def __init__(self, shape: Shape, seed: int, /, *, num: int, num_real: int | None = 0) -> None:
        """`num_real` is None for all real images there are; 0, if none are needed."""
        self.shape, self.seed, self.num, self.num_real = shape, seed, num, num_real

    def wanted(self, which: Which) -> int | None:
        """How many images of a set it takes in; None for all."""
        return self.num if which == "fake" else self.num_real

    @abstractmethod
    def update(self, batch: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W], or features [N, D]. Their order, not how they are batched, may matter."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The values by name."""

    @abstractmethod
    def state(self, which: Which) -> dict[str, Tensor]:
        """What was accumulated of a set: all that `merge` needs to go on from it."""

    @abstractmethod
    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add what another one accumulated of the images that follow."""


class Probe(Metric):
    """A metric that asks the generator itself, in place of looking at images. Then `update` is never called."""

    rank: int = 0  # this process's share of the samples: rank :: world
    world: int = 1
    eye: Features | None = None  # the network it looks through, built; set before probe()

    @abstractmethod
    def probe(
        self, G: Generator, stage: Stage, device: torch.device, labels: Callable[[int, int], Tensor], progress: Progress
    ) -> None:
        """Draw from the generator, in evaluation mode; `labels(count, salt)` draws labels [N, K] of the data set."""

    def update(self, batch: Tensor, which: Which) -> None:
        """Nothing: it looks at no images of others."""


@dataclass(frozen=True)
class Converted:
    """What an importer makes of a foreign file. No tensor of the file may be in neither `used` nor `unused`."""

    # checked and filled like any; without growth, or a snapshot of 0 images would be one of the coarsest size
    recipe: dict[str, Any]
    # state dicts of our networks: "G_ema" at least, "G" and "D" where the file holds them
    nets: dict[str, dict[str, Tensor]]
    # reals seen, where the file says so
    images: int = 0
    # names of the file's tensors that went into `nets`, and of those left out on purpose
    used: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    # one sentence each: what was assumed, what differs from the reference
    notes: tuple[str, ...] = ()


class Importer(Component, ABC, kind="importer"):
    """() foreign data -> Converted: weights of another project as ours.

    It is given plain data (dictionaries, lists, numbers, text, tensors) and never the file, so it cannot execute what
    a file says. Data that do not suit it raise CheckpointError, without the path.
    """

    # further names that pickles of this format call, "module qualname"; they arrive as inert `ganzoo.unpickle.Object`s
    globals: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def recognises(self, found: Any) -> bool:
        """Whether these data are of its format. Looks, and never raises."""

    @abstractmethod
    def convert(self, found: Any) -> Converted:
        """Recipe and weights. Raises CheckpointError for what cannot be expressed here."""
