"""The slots inside the networks. Each class says what it is built with (`sizes, /`) and what it maps to what.

`Shape` is the family of image sizes a GAN works at; `Stage` is where growth stands in it.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganzoo.nn.stack import Stack
from ganzoo.registry.component import Component, Make
from ganzoo.types import Image, Label, Latent, Logits, Maps, Size, Style, Styles


class TrunkPart(nn.Module):
    """What a discriminator's trunk may consist of. Where all parts are samplewise, reals and fakes share a batch."""

    samplewise: ClassVar[bool] = False  # whether a sample's result depends on that sample alone


class Norm(TrunkPart, Component, kind="norm"):
    """(channels, /)  Maps -> Maps."""

    def forward(self, x: Maps) -> Maps:
        """Normalise."""
        raise NotImplementedError


Draw = Callable[["Noise", Maps], Tensor | None]


def fresh(noise: "Noise", x: Maps) -> Tensor | None:
    """Noise that is new at every call."""
    return torch.randn(x.shape[0], 1, *noise.size, dtype=torch.float32, device=x.device)


class Noise(nn.Module, Component, kind="noise"):
    """(channels, size, /)  Maps -> Maps.

    `draw` says where its noise comes from; `Generator.noise()` sets it for a while.
    """

    size: Size
    const: Tensor  # [1, 1, H, W], drawn once; what noise mode "const" uses
    draw: Draw = staticmethod(fresh)

    def forward(self, x: Maps) -> Maps:
        """Add noise."""
        raise NotImplementedError


class Statistic(nn.Module, Component, kind="statistic"):
    """(channels, size, /)  Maps -> Maps with `out_channels` channels: what a discriminator learns about its batch."""

    out_channels: int

    def forward(self, x: Maps) -> Maps:
        """Append the statistic as further channels."""
        raise NotImplementedError


class Mapping(nn.Module, Component, kind="mapping"):
    """(z_dim, w_dim, labels, /)  Latent, Label -> Style."""

    keeps_size: ClassVar[bool] = False  # whether the style is as long as the latent with its label

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Map a latent to a style code."""
        raise NotImplementedError


class Styleable(nn.Module):
    """What a style code may enter; the code is the last input of `forward`."""

    styled: ClassVar[bool]  # whether one does

    def style_weight(self) -> Tensor | None:
        """The matrix [M, W] that turns a code into a modulation, as it multiplies; None where there is none.

        Editing finds directions by it (arXiv:2007.06600); nothing else needs it.
        """
        return None


class Stem(Styleable, Component, kind="stem"):
    """(w_dim, channels, size, /)  Style -> Maps at the coarsest size. A styled stem takes the first style code."""

    def forward(self, w: Style) -> Maps:
        """Start the feature maps."""
        raise NotImplementedError


class Layer(Styleable, Component, kind="layer"):
    """(in_channels, out_channels, w_dim, size, up, /)  Maps, Style -> Maps at `size`.

    One convolution with everything around it: where a style enters (after it, inside it, nowhere) is its own business.
    """

    def forward(self, x: Maps, w: Style) -> Maps:
        """Convolve; double the size first where `up`."""
        raise NotImplementedError


class Block(nn.Module, Component, kind="block"):
    """(in_channels, out_channels, w_dim, size, first, /, *, layer)  Maps, Styles -> Maps at `size`.

    Uses `num_ws` style codes.
    """

    num_ws: int

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """Run the layers of one resolution; all but the first block double the size."""
        raise NotImplementedError


def block_layers(
    layer: Make[Layer], in_channels: int, out_channels: int, w_dim: int, size: Size, first: bool
) -> Stack[Layer]:
    """What papers put into a block: two layers, the first one doubling the size; in the first block a single one."""
    inputs = [(out_channels, False)] if first else [(in_channels, True), (out_channels, False)]
    return Stack(layer(channels, out_channels, w_dim, size, up) for channels, up in inputs)


class ToRGB(Styleable, Component, kind="to_rgb"):
    """(channels, w_dim, image_channels, /)  Maps, Style -> Image."""

    def forward(self, x: Maps, w: Style) -> Image:
        """Turn features into an image."""
        raise NotImplementedError


class Down(TrunkPart, Component, kind="down"):
    """(in_channels, out_channels, size, /)  Maps at `size` -> Maps at half of it. One discriminator block."""

    def forward(self, x: Maps) -> Maps:
        """Convolve and halve the size."""
        raise NotImplementedError


class FromRGB(TrunkPart, Component, kind="from_rgb"):
    """(image_channels, channels, /)  Image -> Maps."""

    def forward(self, x: Image) -> Maps:
        """Turn an image into features."""
        raise NotImplementedError


class Head(nn.Module, Component, kind="head"):
    """(channels, size, labels, /)  Maps, Label -> Logits. Works in float32."""

    uses_labels: ClassVar[bool] = False  # whether the logit depends on the label
    classifies: ClassVar[bool] = False  # whether it also says which class it sees

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """Judge the features."""
        raise NotImplementedError

    def classify(self, x: Maps) -> Tensor:
        """Unnormalised scores of the classes, [N, K], of a head that `classifies`."""
        raise NotImplementedError
