"""Topologies: how the parts of a generator and of a discriminator are wired, and where images leave and enter."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ganzoo.interfaces.generator import Learning
from ganzoo.interfaces.growth import Stage
from ganzoo.interfaces.layers import Block, Down, FromRGB, Stem, ToRGB, TrunkPart
from ganzoo.nn.precision import at_least_fp32, cast, channels_last, level_dtype
from ganzoo.nn.stack import Stack
from ganzoo.registry.component import Component, Make
from ganzoo.types import Image, Maps, Plan, Pyramid, Styles


class SynthesisNetwork(nn.Module, Component, kind="synthesis"):
    """From style codes to images, with `num_ws` style codes; how it is built is the subclass's own.

    Built with (plan, w_dim, image_channels, /). Styles [N, L, W], Stage -> Pyramid, float32.
    """

    emits: ClassVar[Literal["image", "pyramid"]] = "image"
    grows: ClassVar[bool] = False
    square: ClassVar[bool] = False  # whether images must be square, with a power of two as their side
    dtype: torch.dtype | None = None  # of the feature maps (see `level_dtype`); images and styles stay float32
    phase: Learning = "g"  # the network that learns from what is computed next
    transform: Tensor | None = None  # see `Generator.moved`
    num_ws: int

    def active_ws(self, stage: Stage) -> int:
        """Return the number of style codes in use at a stage: the range in which styles are mixed."""
        return self.num_ws

    def forward(self, ws: Styles, stage: Stage) -> Pyramid:
        """Images in about [-1, 1], float32."""
        raise NotImplementedError


class Synthesis(SynthesisNetwork):
    """From style codes to images: a stem, a block and an RGB head for each resolution.

    Built with (plan, w_dim, image_channels, /, *, stem, block, to_rgb). Styles [N, L, W], Stage -> Pyramid, float32.
    The base class builds the parts; a topology only says, in `forward`, which images come out. Its own arithmetic is
    on images and styles, in float32. A styled `to_rgb` uses the style code that follows its block's, which is also
    that of the next block's first layer.

    Args:
        stem: what the feature maps begin with
        block: the layers of one resolution
        to_rgb: features to image
    """

    rgb_at_every_level: ClassVar[bool] = True

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
        """Yield each resolution's own RGB image, float32, coarse to fine, from level `first` up to the stage's."""
        x = channels_last(self.stem(ws[:, 0]), level_dtype(self.dtype, 0, len(self.blocks)))
        i = int(self.stem.styled)
        for level, block in enumerate(self.blocks[: stage.level + 1]):
            x = cast(x, level_dtype(self.dtype, level, len(self.blocks)))
            x = block(x, ws[:, i : i + block.num_ws])
            i += block.num_ws
            if level >= first and str(level) in self.to_rgb:
                yield at_least_fp32(self.to_rgb[str(level)](x, ws[:, min(i, self.num_ws - 1)]))

    @property
    def transform(self) -> Tensor | None:  # type: ignore[override]
        """The buffer by which the stem moves its maps."""
        return self.stem.transform

    def active_ws(self, stage: Stage) -> int:
        """Return the number of style codes in use at a stage: the range in which styles are mixed."""
        unused = sum(b.num_ws for b in self.blocks[stage.level + 1 :])
        return self.num_ws - unused


@dataclass(frozen=True)
class LevelChannels:
    """Channels that meet at one level of a trunk."""

    image: tuple[int, int] | None  # (in, out) of the level's from_rgb; None for none
    block: int  # output of the finer level's block
    merged: int  # input of this level's block


class Trunk(TrunkPart, Component, kind="trunk"):
    """From images to features at the coarsest size: an image input and a block for each resolution.

    Built with (plan, image_channels, /, *, down, from_rgb). Pyramid of float32 images, Stage -> Maps [N, C, h, w]. The
    base class builds the parts; a topology says in `forward` where images come in, with `from_image` and `down`.

    Args:
        down: one discriminator block
        from_rgb: image to features
    """

    accepts: ClassVar[Literal["image", "pyramid"]] = "image"
    grows: ClassVar[bool] = False
    rgb_at_every_level: ClassVar[bool] = True
    keeps_dtype = False
    dtype: torch.dtype | None = None  # of the feature maps (see `level_dtype`)

    def __init__(self, plan: Plan, image_channels: int, /, *, down: Make[Down], from_rgb: Make[FromRGB]) -> None:
        super().__init__()
        levels_channels = [self.level_channels(level, plan, image_channels) for level in range(len(plan))]
        levels = range(len(plan)) if self.rgb_at_every_level else [len(plan) - 1]
        inputs = {str(i): levels_channels[i].image for i in levels}
        self.from_rgb = nn.ModuleDict({i: from_rgb(*widths) for i, widths in inputs.items() if widths})
        self.blocks = Stack(
            down(finer.merged, coarser.block, size)
            for coarser, finer, (size, _) in zip(levels_channels, levels_channels[1:], plan[1:])
        )  # blocks[l] maps level l + 1 to l
        self.out_channels = levels_channels[0].merged

    def precision(self, x: Any) -> tuple[torch.dtype, torch.device]:
        """Return the feature maps' precision, and the device of the images."""
        return self.dtype or x[-1].dtype, x[-1].device

    def level_channels(self, level: int, plan: Plan, image_channels: int) -> LevelChannels:
        """Return the channels where an image's features meet the finer block's: here both have those of the plan."""
        channels = plan[level][1]
        return LevelChannels(image=(image_channels, channels), block=channels, merged=channels)

    def from_image(self, image: Image, level: int) -> Maps:
        """Turn an image into features at a level, in the level's precision."""
        return self.from_rgb[str(level)](channels_last(image, self._dtype(level)))

    def down(self, x: Maps, level: int) -> Maps:
        """Bring maps at a level to the next coarser one, in that one's precision."""
        return cast(self.blocks[level - 1](x), self._dtype(level - 1))

    def _dtype(self, level: int) -> torch.dtype | None:
        return level_dtype(self.dtype, level, len(self.blocks) + 1)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Features at the coarsest size."""
        raise NotImplementedError
