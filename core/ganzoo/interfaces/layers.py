"""The slots inside the networks: what each is built with (`sizes, /`), and what it maps to what.

Maps arrive in the network's working precision (float32, bfloat16 or float16), and parameters are float32. `Part` brings
the two together, so that `nn.Conv2d` can be called plainly.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganzoo.nn.precision import autocast_for
from ganzoo.nn.stack import Stack
from ganzoo.registry.component import Component, Make
from ganzoo.types import Image, Label, Latent, Logits, Maps, Size, Style, Styles


class Part(nn.Module):
    """A module of a network whose first input is maps, in any precision.

    Where the maps are bfloat16 or float16, `forward` runs under torch.autocast of that type, and what it returns is
    brought back to the maps' precision. A class that casts its float32 parameters itself says `casts_weights = True`,
    and runs without. It is said of the class's `forward`: a subclass inherits both, and one with a `forward` of its own
    begins with False.
    """

    claims: ClassVar[tuple[str, ...]] = ("casts_weights",)  # attributes that are said of `forward`
    casts_weights: ClassVar[bool] = False
    keeps_dtype: ClassVar[bool] = True  # whether the output is brought to the input's precision

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for claim in cls.claims if "forward" in vars(cls) else ():
            if claim not in vars(cls):
                setattr(cls, claim, False)

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` in the precision of the maps."""
        dtype, device = self.precision(x)
        context = autocast_for(dtype, device, self.casts_weights)
        if context is None:
            return super().__call__(x, *args, **kwargs)
        with context:
            y = super().__call__(x, *args, **kwargs)
        return y.to(dtype) if self.keeps_dtype and not self.casts_weights else y

    def precision(self, x: Any) -> tuple[torch.dtype, torch.device]:
        """Return the working precision, and where it is computed."""
        return x.dtype, x.device


class TrunkPart(Part):
    """A part of a discriminator's trunk. Where all parts are samplewise, reals and fakes share a batch.

    `samplewise = True` says that a sample's result depends on that sample alone; conformance checks it. It is said of
    the class's `forward`: a subclass inherits both, and one with a `forward` of its own begins with False.
    """

    claims = ("casts_weights", "samplewise")
    samplewise: ClassVar[bool] = False


class Norm(TrunkPart, Component, kind="norm"):
    """A normalisation.

    Built with (channels, /). Maps [N, C, H, W] -> Maps of the same shape.
    """

    def forward(self, x: Maps) -> Maps:
        """Normalise."""
        raise NotImplementedError


Draw = Callable[["Noise", Maps], Tensor | None]


def fresh(noise: "Noise", x: Maps) -> Tensor | None:
    """Draw new noise for maps, float32 [N, 1, H, W]."""
    return torch.randn(x.shape[0], 1, *noise.size, dtype=torch.float32, device=x.device)


class Noise(Part, Component, kind="noise"):
    """A noise input. It draws by `self.draw(self, x)`, float32 [N, 1, H, W] or None, which `Generator.noise` replaces.

    Built with (channels, size, /). Maps [N, C, H, W] -> Maps of the same shape.
    """

    size: Size
    const: Tensor  # [1, 1, H, W], a buffer drawn once: the noise of mode "const"
    draw: Draw = staticmethod(fresh)

    def forward(self, x: Maps) -> Maps:
        """Add noise."""
        raise NotImplementedError


class Statistic(Part, Component, kind="statistic"):
    """A statistic of the batch that a discriminator's head sees beside the features, in float32.

    Built with (channels, size, /). Maps [N, C, H, W] -> Maps [N, `out_channels`, H, W].
    """

    out_channels: int

    @classmethod
    def compared(cls, batch: int, option: Callable[[str], Any]) -> int:
        """Return how many of a batch's samples each value is computed from; of 1 it says nothing. By default all.

        Args:
            batch: number of samples that are computed at once
            option: gives the value of an option of the statistic, by its name
        """
        return batch

    def forward(self, x: Maps) -> Maps:
        """Append the statistic as further channels."""
        raise NotImplementedError


class Mapping(nn.Module, Component, kind="mapping"):
    """A mapping network, in float32.

    Built with (z_dim, w_dim, labels, /). Latent [N, Z], Label [N, K] or None -> Style [N, W].
    """

    keeps_size: ClassVar[bool] = False  # whether W is Z + K, since the latent and its label are passed on

    def forward(self, z: Latent, label: Label = None) -> Style:
        """Map a latent to a style code."""
        raise NotImplementedError


class Styleable(Part):
    """A part that a style code may enter; the code, float32 [N, W], is the last input of `forward`."""

    styled: ClassVar[bool]  # whether one enters

    def style_weight(self) -> Tensor | None:
        """Return the matrix [M, W] that turns a code into a modulation, as it multiplies; None where there is none.

        Editing finds directions by it (arXiv:2007.06600); nothing else needs it.
        """
        return None


class Stem(Styleable, Component, kind="stem"):
    """The start of the feature maps, in float32. A styled stem takes the first style code.

    Built with (w_dim, channels, size, /). Style [N, W] -> Maps [N, C, H, W] at the coarsest size.
    """

    @property
    def transform(self) -> Tensor | None:
        """A buffer [3, 3] that moves the maps, as `Generator.transform`; None where they cannot be moved."""
        return None

    def forward(self, w: Style) -> Maps:
        """Start the feature maps."""
        raise NotImplementedError


class Layer(Styleable, Component, kind="layer"):
    """One convolution with everything around it; a style enters after it, inside it, or nowhere.

    Built with (in_channels, out_channels, w_dim, size, up, /). Maps [N, C, h, w], Style [N, W] -> Maps at `size`, which
    is twice the input's where `up`.
    """

    def forward(self, x: Maps, w: Style) -> Maps:
        """Convolve; double the size first where `up`."""
        raise NotImplementedError


class Block(Part, Component, kind="block"):
    """The layers of one resolution, which use `num_ws` style codes.

    Built with (in_channels, out_channels, w_dim, size, first, /, *, layer). Maps [N, C, h, w], Styles [N, `num_ws`, W]
    -> Maps at `size`, which is twice the input's in all but the first block.
    """

    num_ws: int

    def forward(self, x: Maps, ws: Styles) -> Maps:
        """Run the layers of one resolution; all but the first block double the size."""
        raise NotImplementedError


def block_layers(
    layer: Make[Layer], in_channels: int, out_channels: int, w_dim: int, size: Size, first: bool
) -> Stack[Layer]:
    """Build a block's layers as papers have them: two, the first doubling the size; in the first block a single one."""
    inputs = [(out_channels, False)] if first else [(in_channels, True), (out_channels, False)]
    return Stack(layer(channels, out_channels, w_dim, size, up) for channels, up in inputs)


class ToRGB(Styleable, Component, kind="to_rgb"):
    """From features to an image, which is brought to float32 afterwards.

    Built with (channels, w_dim, image_channels, /). Maps [N, C, H, W], Style [N, W] -> Image [N, image_channels, H, W].
    """

    keeps_dtype = False

    def forward(self, x: Maps, w: Style) -> Image:
        """Turn features into an image."""
        raise NotImplementedError


class Down(TrunkPart, Component, kind="down"):
    """One block of a discriminator.

    Built with (in_channels, out_channels, size, /). Maps [N, C, H, W] at `size` -> Maps at half of it.
    """

    def forward(self, x: Maps) -> Maps:
        """Convolve and halve the size."""
        raise NotImplementedError


class FromRGB(TrunkPart, Component, kind="from_rgb"):
    """From an image, in the working precision of its level, to features.

    Built with (image_channels, channels, /). Image [N, image_channels, H, W] -> Maps [N, channels, H, W].
    """

    def forward(self, x: Image) -> Maps:
        """Turn an image into features."""
        raise NotImplementedError


class Head(Part, Component, kind="head"):
    """The end of a discriminator, in float32.

    Built with (channels, size, labels, /). Maps [N, C, H, W] at the coarsest size, Label [N, K] or None -> Logits
    [N, P], where P is 1 but for a head that scores patches.
    """

    uses_labels: ClassVar[bool] = False  # whether the logit depends on the label
    classifies: ClassVar[bool] = False  # whether it also gives scores of the classes

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """Score the features."""
        raise NotImplementedError

    def classify(self, x: Maps) -> Tensor:
        """Return unnormalised scores of the classes, [N, K], where the head `classifies`."""
        raise NotImplementedError
