"""What the networks of genforce/genforce share: names of tensors, and which layers resample within their convolution.

It calls the layers `layer0`, `layer1`, ... in the order of the data, the generators' images `output0` (coarsest), ...
and the discriminators' `input0` (finest), ...
"""

import re
from typing import Literal

from torch import Tensor

from ganzoo_import.formats.names import State, Tree, count_of, mapped, refuse, shape_of
from ganzoo_import.formats.nets import conv_channels, dense_head

Fused = bool | Literal["auto"]  # auto: where images have 128 pixels or more
FUSED_FROM = 128
LOD = r"(synthesis\.)?lod"
KERNELS = r".*\.blur\.kernel"


def fuses(fused: Fused, level: int) -> bool:
    """Whether the layer that resamples between a level and the coarser one does so within its convolution."""
    return 4 << level >= FUSED_FROM if fused == "auto" else fused


def mirrored(weight: Tensor) -> Tensor:
    """A kernel turned round: a fused upsampling acts like a plain one with it."""
    return weight.flip([2, 3])


def generator_channels(state: State, prefix: str = "") -> list[int]:
    """Channels coarse to fine: inputs of the layers that make images, of which there is one a level."""
    levels = count_of(state, rf"{prefix}output(\d+)\.weight")
    return conv_channels(state, [f"{prefix}output{i}.weight" for i in range(levels)], axis=1)


def discriminator_channels(state: State) -> list[int]:
    """Channels coarse to fine: outputs of the layers that take in images, of which there is one a level."""
    levels = count_of(state, r"input(\d+)\.weight")
    return conv_channels(state, [f"input{i}.weight" for i in reversed(range(levels))])


def discriminator(state: State, finest: int) -> dict[str, Tensor]:
    """Its PGGAN or StyleGAN discriminator as our progressive one; all renaming.

    Args:
        state: all or some of its tensors
        finest: our level of the finest images
    """

    def layer(match: re.Match[str]) -> str:
        index, name = int(match[1]), match[2]
        if index < 2 * finest:
            return f"trunk.blocks.{finest - 1 - index // 2}.conv{index % 2}.{name}"
        if index > 2 * finest + 2:
            refuse(f"its discriminator has more layers than images of {finest + 1} sizes need.")
        return f"head.{['conv', 'dense', 'out'][index - 2 * finest]}.{name}"

    rgb = (r"input(\d+)\.(weight|bias)", lambda m: f"trunk.from_rgb.{finest - int(m[1])}.conv.{m[2]}")
    return mapped(state, [rgb, (r"layer(\d+)\.(weight|bias)", layer)], skip=f"{LOD}|{KERNELS}")


def discriminator_head(state: State, group: int | None) -> tuple[Tree, int]:
    """(options of our dense head, its number of outputs)."""
    finest = len(discriminator_channels(state)) - 1
    conv, dense, out = (f"layer{2 * finest + i}.weight" for i in range(3))
    shape_of(state, conv, 4), shape_of(state, dense, 2)
    return dense_head(state[conv], state[dense], group), shape_of(state, out, 2)[0]


def growing(state: State) -> list[str]:
    """A sentence where a network says that it has not grown to its full size."""
    lods = [float(state[key]) for key in ("lod", "synthesis.lod") if key in state and state[key].numel() == 1]
    return [f"it was saved amid its growth, {lods[0]:g} levels below its full size." for _ in lods[:1] if lods[0] > 0]
