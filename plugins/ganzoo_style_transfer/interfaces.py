"""Style transfer: what of an extractor's layer is style, and methods that paint with it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ganzoo.registry.component import Component
from ganzoo.types import Image, Maps, PerSample, Size

StyleFeatures = tuple[Tensor, ...]  # what a statistic keeps of a style's maps


class StyleStatistic(Component, ABC, kind="style_statistic"):
    """() A statistic of feature maps that stands for style: a distance between maps that ignores where things are."""

    trial: ClassVar[str] = "ganzoo_style_transfer.trials:check_style_statistic"

    @abstractmethod
    def describe(self, style: Maps) -> StyleFeatures:
        """All that `distance` needs of a style's maps [1, C, H', W']. May draw from torch's global generator."""

    @abstractmethod
    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """How far maps [N, C, H, W] are from a style, [N], at least 0, and 0 for the style itself; differentiable.

        May draw positions from torch's global generator, which the caller seeds.
        """


@dataclass(frozen=True)
class StyleTask:
    """A content, and the styles in which it is painted.

    Args:
        content: [1, 3, H, W] in [-1, 1]
        styles: images [1, 3, H', W'] of any size, and the weight of each; weights are positive and sum to 1
        seed: of everything random
        opaque: which pixels of the content are seen, [H, W]; None for all
    """

    content: Image
    styles: tuple[tuple[Image, float], ...]
    seed: int = 0
    opaque: Tensor | None = None


class StyleTransferRun(ABC):
    """A picture in the making, step by step; the same steps give the same bits, whether or not it was set down."""

    done = 0  # steps so far
    total: int  # steps in all

    @property
    @abstractmethod
    def picture(self) -> Image:
        """The picture so far: [1, 3, H, W] in [-1, 1], the content's size."""

    @abstractmethod
    def advance(self) -> None:
        """Go on by one step or a few. Raises Diverged where a loss is not finite."""

    def losses(self) -> dict[str, float]:
        """Return the losses of the picture so far by name, their sum as `total`; empty where nothing is minimised."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """All that a new run of the same task needs to go on from here."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 (nothing to do where there is no state)
        """Go on from a state; `done` is set by the caller."""


class Transfer(Component, ABC, kind="transfer"):
    """() A content and styles -> a picture. Networks are built, and files of weights read, when one is begun."""

    trial: ClassVar[str] = "ganzoo_style_transfer.trials:check_transfer"

    @abstractmethod
    def begin(self, task: StyleTask, device: torch.device) -> StyleTransferRun:
        """Start a painting.

        Raises:
            CheckpointError: weights are missing or wrong; it says what to put where
            DataError: an image is too small
        """

    @abstractmethod
    def memory(self, size: Size) -> int:
        """About how many bytes a painting of (height, width) takes."""
