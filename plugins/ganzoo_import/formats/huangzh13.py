"""StyleGAN of huangzh13/StyleGAN.pytorch."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.types import Count, Positive
from ganzoo_import.formats.genforce import Fused, fuses, mirrored
from ganzoo_import.formats.genforce_stylegan import blur_of, down_recipe, mapping_recipe, synthesis_recipe
from ganzoo_import.formats.names import State, Tree, count_of, mapped, reshaped, shape_of
from ganzoo_import.formats.nets import StateDicts, assumed_note, conv_channels, dense_head, growing_discriminator

KERNELS = r".*\.kernel"
EPS = 1e-5  # of its instance norms, 1000 times the paper's


def generator_channels(state: State) -> list[int]:
    """Channels, coarse to fine: inputs of the layers to RGB."""
    levels = count_of(state, r"g_synthesis\.to_rgb\.(\d+)\.weight")
    return conv_channels(state, [f"g_synthesis.to_rgb.{i}.weight" for i in range(levels)], axis=1)


def discriminator_channels(state: State) -> list[int]:
    """Channels, coarse to fine: outputs of the layers from RGB, which are numbered from the finest."""
    levels = count_of(state, r"from_rgb\.(\d+)\.weight")
    return conv_channels(state, [f"from_rgb.{i}.weight" for i in reversed(range(levels))])


def generator_recipe(state: State, lr_mul: float = 0.01) -> Tree:
    """Read the recipe of a `Generator` from its shapes."""
    z_dim, w_dim, mapping = mapping_recipe(state, "g_mapping.map.dense", lr_mul)
    kernels = (value for key, value in state.items() if key.endswith("conv0_up.intermediate.kernel"))
    return {
        "z_dim": z_dim,
        "w_dim": w_dim,
        "channels": generator_channels(state),
        "mapping": mapping,
        "synthesis": synthesis_recipe(blur_of(kernels), EPS),
    }


def generator(state: State, fused: Fused) -> dict[str, Tensor]:
    """Rename the tensors of a `Generator` and permute axes.

    The biases there belong to the convolutions, and noise is added after them, which gives the same sum.
    """
    inside = {
        "top_epi.noise.weight": "noise.strength",
        "style_mod.lin.weight": "style.weight",
        "style_mod.lin.bias": "style.bias",
    }

    def start(match: re.Match[str]) -> str:
        return f"synthesis.{'stem' if match[1] == '1' else 'blocks.0.layers.0'}.epilogue.{inside[match[2]]}"

    def epilogue(match: re.Match[str]) -> str:
        return f"synthesis.blocks.{int(match[1]) + 1}.layers.{int(match[2]) - 1}.epilogue.{inside[match[3]]}"

    def conv(match: re.Match[str]) -> str:
        place = f"synthesis.blocks.{int(match[1]) + 1}.layers.{0 if match[2] == 'conv0_up' else 1}"
        return f"{place}.{'conv.weight' if match[3] == 'weight' else 'epilogue.bias'}"

    source = dict(state)
    for key, weight in state.items():
        up = re.fullmatch(r"g_synthesis\.blocks\.(\d{1,3})\.conv0_up\.weight", key)
        if up and fuses(fused, int(up[1]) + 1):
            source[key] = mirrored(weight)
    parts = "|".join(map(re.escape, inside))
    out = mapped(
        source,
        [
            (r"truncation\.avg_latent", "w_mean"),
            (r"g_mapping\.map\.dense(\d+)\.(weight|bias)", r"mapping.layers.\1.\2"),
            (r"g_synthesis\.init_block\.const", "synthesis.stem.const"),
            (r"g_synthesis\.init_block\.bias", "synthesis.stem.epilogue.bias"),
            (r"g_synthesis\.init_block\.conv\.weight", "synthesis.blocks.0.layers.0.conv.weight"),
            (r"g_synthesis\.init_block\.conv\.bias", "synthesis.blocks.0.layers.0.epilogue.bias"),
            (rf"g_synthesis\.init_block\.epi([12])\.({parts})", start),
            (rf"g_synthesis\.blocks\.(\d+)\.epi([12])\.({parts})", epilogue),
            (r"g_synthesis\.blocks\.(\d+)\.(conv0_up|conv1)\.(weight|bias)", conv),
            (r"g_synthesis\.to_rgb\.(\d+)\.(weight|bias)", r"synthesis.to_rgb.\1.conv.\2"),
        ],
        skip=KERNELS,
    )
    return reshaped(out, [("noise.strength", (-1, 1, 1))])


def noise_maps(state: State) -> dict[str, Tensor]:
    """Draw noise maps for noise mode "const", which the files lack, from seed 0."""
    draw, maps = torch.Generator().manual_seed(0), {}
    for key in sorted(key for key in state if key.endswith("noise.strength")):
        level = int(m[1]) if (m := re.match(r"synthesis\.blocks\.(\d{1,2})\.", key)) else 0
        maps[key.replace("strength", "const")] = torch.randn(1, 1, 4 << level, 4 << level, generator=draw)
    return maps


def discriminator_recipe(state: State, group: int | None = 4) -> Tree:
    """Read the recipe of a `Discriminator` from its shapes."""
    conv, dense = "final_block.conv.weight", "final_block.dense0.weight"
    shape_of(state, conv, 4), shape_of(state, dense, 2)
    blur = blur_of(value for key, value in state.items() if re.fullmatch(r"blocks\.\d+\.blur\.kernel", key))
    head = dense_head(state[conv], state[dense], group)
    return growing_discriminator(discriminator_channels(state), head, down_recipe(blur), from_rgb="linear")


def discriminator(state: State, finest: int) -> dict[str, Tensor]:
    """Rename the tensors of a `Discriminator`.

    Args:
        state: all or some of its tensors
        finest: level of the finest images
    """
    last = {"conv": "conv", "dense0": "dense", "dense1": "out"}

    def block(match: re.Match[str]) -> str:
        return f"trunk.blocks.{finest - 1 - int(match[1])}.{match[2].removesuffix('_down')}.{match[3]}"

    return mapped(
        state,
        [
            (r"from_rgb\.(\d+)\.(weight|bias)", lambda m: f"trunk.from_rgb.{finest - int(m[1])}.conv.{m[2]}"),
            (r"blocks\.(\d+)\.(conv0|conv1_down)\.(weight|bias)", block),
            (r"final_block\.(conv|dense0|dense1)\.(weight|bias)", lambda m: f"head.{last[m[1]]}.{m[2]}"),
        ],
        skip=KERNELS,
    )


class Huangzh13StyleGAN(StateDicts, name="huangzh13-stylegan", paper="arXiv:1812.04948"):
    """StyleGAN's networks (.pth) of huangzh13/StyleGAN.pytorch.

    Args:
        fused: layers of the generator that upsample within their convolution, whose kernels are rotated: all, none, or
            "auto" for those from 128x128 on; the file does not tell
        group: group size of the discriminator's minibatch standard deviation, which the file does not tell; null for
            the whole batch
        lr_mul: learning rate multiplier of the mapping network, which the file does not tell
    """

    generator_keys = frozenset(
        {"g_mapping.map.dense0.weight", "g_synthesis.init_block.const", "g_synthesis.to_rgb.0.weight"}
    )
    discriminator_keys = frozenset({"from_rgb.0.weight", "blocks.0.conv1_down.weight", "final_block.dense1.weight"})
    left_out = KERNELS

    def __init__(self, *, fused: Fused = "auto", group: Count | None = 4, lr_mul: Positive = 0.01) -> None:
        self.fused, self.group, self.lr_mul = fused, group, lr_mul

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the generator, and add noise maps."""
        renamed = generator(state, self.fused)
        return {**renamed, **noise_maps(renamed)}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the discriminator."""
        return discriminator(state, len(discriminator_channels(state)) - 1)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        tree = generator_recipe(G, self.lr_mul)
        blur = tree["synthesis"]["block"]["layer"]["blur"]
        default = growing_discriminator(tree["channels"], down=down_recipe(blur), from_rgb="linear")
        return self.whole(
            "StyleGAN of huangzh13",
            shape_of(G, "g_synthesis.to_rgb.0.weight", 4)[0],
            tree,
            discriminator_recipe(D, self.group) if D else default,
            loss="logistic",
            regularizers=["r1"],
        )

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions, and on differences from the paper."""
        return [
            assumed_note(self.fused, self.lr_mul, self.group),
            "the file holds no maps of noise: those of noise mode const are drawn from seed 0.",
            "its instance norms add 1e-5 to the variances where the paper's add 1e-8, and its discriminator has no "
            "activation after the layers that take in images; the recipe says so, too.",
            "its training moved the mean style code by the first sample of each batch only, so truncation rests on a "
            "rougher mean than the paper's.",
        ]
