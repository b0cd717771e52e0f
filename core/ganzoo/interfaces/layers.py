"""The slots inside the networks. Each class says what it is built with (`sizes, /`) and what it maps to what.

`Shape` is the family of image sizes a GAN works at; `Stage` is where growth stands in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ganzoo.component import Component, Make
from ganzoo.errors import RecipeError
from ganzoo.nn.norm import wide
from ganzoo.nn.stack import Stack
from ganzoo.types import Image, Label, Latent, Logits, Maps, Plan, Pyramid, Size, Style, Styles


@dataclass(frozen=True)
class Shape:
    """Image sizes coarse to fine, each twice the one before, and the number of image channels."""

    sizes: tuple[Size, ...]
    channels: int

    @property
    def size(self) -> Size:
        """(height, width) of the finest images."""
        return self.sizes[-1]

    def plan(self, channel_base: int, channel_max: int, channels: Sequence[int] | None = None) -> Plan:
        """[(size, channels)]: level l has min(channel_base / r, channel_max) channels, r = 4 * 2^l.

        Or those that `channels` lists, coarse to fine. Source of the rule: arXiv:1710.10196, table 2.
        """
        if channels is None:
            rule = [max(1, min(channel_base // (4 * 2**level), channel_max)) for level in range(len(self.sizes))]
        elif len(channels) != len(self.sizes):
            sizes = ", ".join(f"{w}x{h}" for h, w in self.sizes)
            raise RecipeError(
                f"channels: {list(channels)} names {len(channels)} levels, and the images have {len(self.sizes)} "
                f"({sizes}): list one number for each."
            )
        else:
            rule = list(channels)
        return list(zip(self.sizes, rule))


@dataclass(frozen=True)
class Stage:
    """Where growth stands: the finest level in use, and the weight of its layers, in [0, 1]."""

    level: int
    alpha: float = 1.0


def working(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Feature maps as the convolutions like them: channels last, in the working precision."""
    return x.to(dtype or x.dtype, memory_format=torch.channels_last)


HALF_LEVELS = 4  # the finest levels, which float16 is for


def at_level(dtype: torch.dtype | None, level: int, levels: int) -> torch.dtype | None:
    """The type of the feature maps of a level, where `dtype` is the network's.

    float16 serves the four finest levels, and never the coarsest: it overflows easily, and coarse levels cost little
    (arXiv:2006.06676's released networks: sizes from max(finest / 8, 8) on).
    """
    return torch.float32 if dtype == torch.float16 and level < max(levels - HALF_LEVELS, 1) else dtype


def recast(x: Maps, dtype: torch.dtype | None) -> Maps:
    """Feature maps in another precision; untouched where they have it."""
    return x if dtype in (None, x.dtype) else working(x, dtype)


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


class Synthesis(nn.Module, Component, kind="synthesis"):
    """(plan, w_dim, image_channels, /, *, stem, block, to_rgb)  Styles, Stage -> Pyramid.

    Builds stem, blocks and RGB heads; a topology only says, in `forward`, which images come out. A styled `to_rgb`
    uses the style code that follows its block's, which is also that of the next block's first layer.

    Args:
        stem: what the feature maps begin with
        block: the layers of one resolution
        to_rgb: features to image
    """

    emits: ClassVar[Literal["image", "pyramid"]] = "image"
    grows: ClassVar[bool] = False
    rgb_at_every_level: ClassVar[bool] = True
    dtype: torch.dtype | None = None  # of the feature maps (see `at_level`); images and styles stay float32

    def __init__(
        self,
        plan: Plan,
        w_dim: int,
        image_channels: int,
        /,
        *,
        stem: Make[Stem],
        block: Make[Block],
        to_rgb: Make[ToRGB],
    ) -> None:
        super().__init__()
        (base, first), *_ = plan
        self.stem = stem(w_dim, first, base)
        inputs = [first, *(c for _, c in plan)]
        self.blocks = Stack(
            block(cin, c, w_dim, size, level == 0) for level, (cin, (size, c)) in enumerate(zip(inputs, plan))
        )
        self.to_rgb = nn.ModuleDict(
            {
                str(level): to_rgb(c, w_dim, image_channels)
                for level, (_, c) in enumerate(plan)
                if self.rgb_at_every_level or level == len(plan) - 1
            }
        )
        styled_rgb = any(m.styled for m in self.to_rgb.values())
        self.num_ws = self.stem.styled + sum(b.num_ws for b in self.blocks) + styled_rgb

    def walk(self, ws: Styles, stage: Stage, first: int = 0) -> Iterator[Image]:
        """Each resolution's own RGB image, coarse to fine, from level `first` up to the stage's."""
        x = working(self.stem(ws[:, 0]), at_level(self.dtype, 0, len(self.blocks)))
        i = int(self.stem.styled)
        for level, block in enumerate(self.blocks[: stage.level + 1]):
            x = recast(x, at_level(self.dtype, level, len(self.blocks)))
            x = block(x, ws[:, i : i + block.num_ws])
            i += block.num_ws
            if level >= first and str(level) in self.to_rgb:
                yield wide(self.to_rgb[str(level)](x, ws[:, min(i, self.num_ws - 1)]))

    def active_ws(self, stage: Stage) -> int:
        """How many style codes are in use at a stage: the range in which styles are mixed."""
        unused = sum(b.num_ws for b in self.blocks[stage.level + 1 :])
        return self.num_ws - unused

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Images in about [-1, 1], float32."""
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


@dataclass(frozen=True)
class Meeting:
    """How many channels meet at one level of a trunk."""

    image: tuple[int, int] | None  # (in, out) of the level's from_rgb; None for none
    block: int  # what the finer level's block gives
    together: int  # what goes on


class Trunk(TrunkPart, Component, kind="trunk"):
    """(plan, image_channels, /, *, down, from_rgb)  Pyramid, Stage -> Maps at the coarsest size.

    Builds the blocks and the image inputs; a topology says in `forward` where images come in, with `features` and
    `halved`.

    Args:
        down: one discriminator block
        from_rgb: image to features
    """

    accepts: ClassVar[Literal["image", "pyramid"]] = "image"
    grows: ClassVar[bool] = False
    rgb_at_every_level: ClassVar[bool] = True
    dtype: torch.dtype | None = None  # of the feature maps (see `at_level`)

    def __init__(self, plan: Plan, image_channels: int, /, *, down: Make[Down], from_rgb: Make[FromRGB]) -> None:
        super().__init__()
        meetings = [self.meeting(level, plan, image_channels) for level in range(len(plan))]
        levels = range(len(plan)) if self.rgb_at_every_level else [len(plan) - 1]
        inputs = {str(i): meetings[i].image for i in levels}
        self.from_rgb = nn.ModuleDict({i: from_rgb(*widths) for i, widths in inputs.items() if widths})
        self.blocks = Stack(
            down(finer.together, coarser.block, size)
            for coarser, finer, (size, _) in zip(meetings, meetings[1:], plan[1:])
        )  # blocks[l] maps level l + 1 to l
        self.out_channels = meetings[0].together

    def meeting(self, level: int, plan: Plan, image_channels: int) -> Meeting:
        """Channels where an image's features meet the finer block's: here they are added, faded, or there is one."""
        channels = plan[level][1]
        return Meeting(image=(image_channels, channels), block=channels, together=channels)

    def features(self, image: Image, level: int) -> Maps:
        """An image's features at a level, in the level's precision."""
        return self.from_rgb[str(level)](working(image, self._dtype(level)))

    def halved(self, x: Maps, level: int) -> Maps:
        """Maps at a level -> maps at the next coarser one, in that one's precision."""
        return recast(self.blocks[level - 1](x), self._dtype(level - 1))

    def _dtype(self, level: int) -> torch.dtype | None:
        return at_level(self.dtype, level, len(self.blocks) + 1)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Features at the coarsest size."""
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
