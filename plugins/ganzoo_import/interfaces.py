"""TODO docstring."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.registry.component import Component


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

    trial: ClassVar[str] = "ganzoo_import.trials:check_importer"

    # further names that pickles of this format call, "module qualname"; they arrive as inert `ganzoo.unpickle.Object`s
    globals: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def recognises(self, found: Any) -> bool:
        """Whether these data are of its format. Looks, and never raises."""

    @abstractmethod
    def convert(self, found: Any) -> Converted:
        """Recipe and weights. Raises CheckpointError for what cannot be expressed here."""
