"""The kind: what a palette is built with, and what it gives."""

from typing import ClassVar

from torch import Tensor, nn

from ganzoo.registry import Component


class Palette(nn.Module, Component, kind="palette"):
    """A list of colours.

    Built with (count, /). Number of channels -> colours, float32 [count, channels] in [-1, 1].
    """

    trial: ClassVar[str] = "gz_palette.trials:check_palette"

    def forward(self, channels: int) -> Tensor:
        """Return the colours."""
        raise NotImplementedError
