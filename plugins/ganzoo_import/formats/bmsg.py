"""MSG-GAN of akanimax/BMSG-GAN, the paper's code."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo_import.formats.akanimax import GENERATOR_KEYS, generator, generator_recipe, last_block
from ganzoo_import.formats.names import State, Tree, count_of, mapped, shape_of
from ganzoo_import.formats.nets import StateDicts, conv_channels


def discriminator_channels(state: State) -> list[int]:
    """Channels of features and image together, coarse to fine: inputs of the blocks, and outputs of the last one."""
    levels = count_of(state, r"layers\.(\d+)\.conv_1\.weight")
    finer = conv_channels(state, [f"layers.{i}.conv_1.weight" for i in range(levels)], axis=1)
    return [*conv_channels(state, ["final_block.conv_1.weight"]), *finer]


def discriminator_recipe(state: State) -> Tree:
    """Read the recipe of a `Discriminator` from its shapes."""
    return {
        "channels": discriminator_channels(state),
        "trunk": {"use": "pyramid", "down": "plain", "from_rgb": "linear", "combine": "lin_cat"},
        "head": {"use": "dense", **last_block(state, "final_block", None)},
    }


def discriminator(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a `Discriminator` and flatten the last two kernels."""
    flat = {f"final_block.conv_{i}.weight" for i in (2, 3)}
    source = {key: value.flatten(1) if key in flat else value for key, value in state.items()}

    def block(match: re.Match[str]) -> str:
        return f"trunk.blocks.{int(match[1])}.conv{int(match[2]) - 1}.{match[3]}"

    def last(match: re.Match[str]) -> str:
        return f"head.{['conv', 'dense', 'out'][int(match[1]) - 1]}.{match[2]}"

    return mapped(
        source,
        [
            (r"layers\.(\d+)\.conv_([12])\.(weight|bias)", block),
            (r"rgb_to_features\.(\d+)\.(weight|bias)", lambda m: f"trunk.from_rgb.{int(m[1]) + 1}.conv.{m[2]}"),
            (r"final_converter\.(weight|bias)", r"trunk.from_rgb.0.conv.\1"),
            (r"final_block\.conv_([123])\.(weight|bias)", last),
        ],
    )


class BMSG(StateDicts, name="bmsg", paper="arXiv:1903.06048"):
    """MSG-GAN's networks (.pth) of akanimax/BMSG-GAN.

    A file with only a generator cannot be told from one of akanimax/pro_gan_pytorch.

    Args:
        normalize: scale latents to the norm √z_dim, as the project's training does before it calls the generator
    """

    generator_keys = GENERATOR_KEYS
    discriminator_keys = frozenset({"layers.0.conv_1.weight", "rgb_to_features.0.weight", "final_block.conv_1.weight"})

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the generator; the mean of its latents is 0."""
        return {**generator(state), "w_mean": torch.zeros(shape_of(state, "layers.0.conv_1.weight", 4)[0])}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the discriminator."""
        return discriminator(state)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        tree = generator_recipe(G, "normalize" if self.normalize else "identity", "pyramid")
        default = {
            "channels": tree["channels"],
            "trunk": {"use": "pyramid", "down": "plain", "from_rgb": "linear"},
            "head": {"use": "dense", "statistic": {"use": "minibatch_std", "group": None}},
        }
        discriminator = discriminator_recipe(D) if D else default
        channels = shape_of(G, "rgb_converters.0.weight", 4)[0]
        return self.whole("MSG-GAN", channels, tree, discriminator, loss="relativistic_average")

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions."""
        how = "the recipe normalises them" if self.normalize else "the recipe takes them as they are"
        return [
            "the generator there is given latents of norm √z_dim, and its file cannot say so: "
            f"{how} (--set normalize=...)."
        ]
