"""The kind `importer`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ganzoo.registry.component import Component


@dataclass(frozen=True)
class Converted:
    """A converted foreign file; each of the file's tensors is listed in `used` or in `unused`.

    Args:
        recipe: a recipe, to be checked; without growth, since a snapshot of 0 images would have the coarsest size
        nets: {network: state dict}: "G_ema", and "G" and "D" if the file holds them
        images: real images shown in training; 0 if the file does not tell
        used: names of the file's tensors that are in `nets`
        unused: names of those left out on purpose
        notes: one sentence each about an assumption, or a difference from the paper
    """

    recipe: dict[str, Any]
    nets: dict[str, dict[str, Tensor]]
    images: int = 0
    used: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Importer(Component, ABC, kind="importer"):
    """Converts weights of another project: plain data -> Converted.

    Built with (). It gets dictionaries, lists, numbers, text and tensors, never the file, so that it cannot execute
    the file's code.
    """

    trial: ClassVar[str] = "ganzoo_import.trials:check_importer"

    # names that pickles of this format call, "module qualname"; they arrive as inert `ganzoo.foreign.pickles.Object`s
    globals: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def recognises(self, data: Any) -> bool:
        """Whether data are of this format; never raises."""

    @abstractmethod
    def convert(self, data: Any) -> Converted:
        """Convert recipe and weights. Raises CheckpointError, without the path, for what ganzoo cannot express."""
