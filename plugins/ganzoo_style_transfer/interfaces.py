"""Style transfer: networks that see an image in layers, what of a layer is style, and methods that paint."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganzoo.registry.component import Component
from ganzoo.types import Image, Maps, PerSample, Size

StyleFeatures = tuple[Tensor, ...]  # what a statistic keeps of a style's maps


class FeatureMaps(nn.Module, Component, ABC, kind="feature_maps"):
    """() RGB images [N, 3, H, W] in [-1, 1] -> {layer: Maps}: a fixed network through which style transfer looks.

    It is a chain of 3x3 convolutions and halvings, each followed by what the papers put behind it.
    """

    trial: ClassVar[str] = "ganzoo_style_transfer.trials:check_feature_maps"
    layers: ClassVar[tuple[str, ...]]  # names of all that it gives, shallow to deep
    content: ClassVar[str]  # the layer that holds a content, where nothing else is asked for
    style: ClassVar[tuple[str, ...]]  # the layers that hold a style
    plan: ClassVar[tuple[int, ...]]  # widths of its convolutions in order, 0 where the size is halved
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights
    fingerprint: str  # sha256 of its weights and of what else decides its outputs

    @abstractmethod
    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """The maps of the named layers.

        Raises:
            RecipeError: there is no such layer
            DataError: the images are too small for it
        """


class StyleStatistic(Component, ABC, kind="style_statistic"):
    """() What of a layer's feature maps is style: a distance between maps that does not look at where things are."""

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
    """What is to be painted.

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
        """What there is so far: [1, 3, H, W] in [-1, 1], the content's size."""

    @abstractmethod
    def advance(self) -> None:
        """Go on by one step or a few. Raises Diverged where a loss is not finite."""

    def losses(self) -> dict[str, float]:
        """What is minimised, by name, of the picture as it is; the sum is called `total`. Empty where nothing is."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """All that a new painting of the same commission needs to go on from here."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 (nothing to do where there is no state)
        """Go on from a state; `done` is set by the caller."""


class Transfer(Component, ABC, kind="transfer"):
    """() A content and styles -> a picture. Networks are built, and files of weights read, when one is begun."""

    trial: ClassVar[str] = "ganzoo_style_transfer.trials:check_transfer"

    @abstractmethod
    def begin(self, commission: StyleTask, device: torch.device) -> StyleTransferRun:
        """Start a painting.

        Raises:
            CheckpointError: weights are missing or wrong; it says what to put where
            DataError: an image is too small
        """

    @abstractmethod
    def memory(self, size: Size) -> int:
        """About how many bytes a painting of (height, width) takes."""
