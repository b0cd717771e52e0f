"""Common parts of genforce/genforce's networks: names of tensors, and layers that resample within their convolution.

Layers are `layer0`, `layer1`, ... in the order of evaluation, layers to RGB `output0` (coarsest), ... and layers from
RGB `input0` (finest), ...
"""

import re
from typing import Literal

from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo_import.formats.names import State, Tree, count_of, mapped, shape_of
from ganzoo_import.formats.nets import conv_channels, dense_head

Fused = bool | Literal["auto"]  # auto: from FUSED_FROM on
FUSED_FROM = 128  # pixels of the image's side
LOD = r"(synthesis\.)?lod"
KERNELS = r".*\.blur\.kernel"


def fuses(fused: Fused, level: int) -> bool:
    """Whether the layer between a level and the next coarser one resamples within its convolution."""
    return 4 << level >= FUSED_FROM if fused == "auto" else fused


def mirrored(weight: Tensor) -> Tensor:
    """Rotate a kernel by 180°, with which plain upsampling equals fused upsampling."""
    return weight.flip([2, 3])


def generator_channels(state: State, prefix: str = "") -> list[int]:
    """Channels, coarse to fine: inputs of the layers to RGB, one per level."""
    levels = count_of(state, rf"{prefix}output(\d+)\.weight")
    return conv_channels(state, [f"{prefix}output{i}.weight" for i in range(levels)], axis=1)


def discriminator_channels(state: State) -> list[int]:
    """Channels, coarse to fine: outputs of the layers from RGB, one per level."""
    levels = count_of(state, r"input(\d+)\.weight")
    return conv_channels(state, [f"input{i}.weight" for i in reversed(range(levels))])


def discriminator(state: State, finest: int) -> dict[str, Tensor]:
    """Rename the tensors of a PGGAN or StyleGAN discriminator.

    Args:
        state: all or some of its tensors
        finest: level of the finest images
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
    """(options of a dense head, its number of outputs)."""
    finest = len(discriminator_channels(state)) - 1
    conv, dense, out = (f"layer{2 * finest + i}.weight" for i in range(3))
    shape_of(state, conv, 4), shape_of(state, dense, 2)
    return dense_head(state[conv], state[dense], group), shape_of(state, out, 2)[0]


def growth_notes(state: State) -> list[str]:
    """Note on a network that has not grown to its full size; [] for others."""
    lods = [float(state[key]) for key in ("lod", "synthesis.lod") if key in state and state[key].numel() == 1]
    return [f"it was saved amid its growth, {lods[0]:g} levels below its full size." for _ in lods[:1] if lods[0] > 0]
