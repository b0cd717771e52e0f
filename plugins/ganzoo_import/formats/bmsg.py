"""MSG-GAN of akanimax/BMSG-GAN, the code of the paper."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo_import.formats.akanimax import generator, generator_recipe, is_generator, last_block
from ganzoo_import.formats.names import State, Tree, count_of, mapped, shape_of
from ganzoo_import.formats.nets import StateDicts, conv_channels


def discriminator_channels(state: State) -> list[int]:
    """Channels coarse to fine, of features and image together: inputs of the blocks, and what the last one keeps."""
    levels = count_of(state, r"layers\.(\d+)\.conv_1\.weight")
    finer = conv_channels(state, [f"layers.{i}.conv_1.weight" for i in range(levels)], axis=1)
    return [*conv_channels(state, ["final_block.conv_1.weight"]), *finer]


def discriminator_recipe(state: State) -> Tree:
    """What the shapes of a `Discriminator` say, as our `discriminator:`."""
    return {
        "channels": discriminator_channels(state),
        "trunk": {"use": "pyramid", "down": "plain", "from_rgb": "linear", "combine": "lin_cat"},
        "head": {"use": "dense", **last_block(state, "final_block", None)},
    }


def discriminator(state: State) -> dict[str, Tensor]:
    """Its `Discriminator` as our pyramid one; all renaming and axes, no factors."""
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

    A file with a generator alone looks like one of akanimax/pro_gan_pytorch.

    Args:
        normalize: scale latents to the norm √z_dim, as the training there does before it calls the generator; false
            for the generator alone
    """

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    @staticmethod
    def is_generator(keys: set[str]) -> bool:
        """Blocks of two convolutions, and layers that make images."""
        return is_generator(keys)

    @staticmethod
    def is_discriminator(keys: set[str]) -> bool:
        """Blocks of convolutions, layers that take in images, and a last block."""
        return {"layers.0.conv_1.weight", "rgb_to_features.0.weight", "final_block.conv_1.weight"} <= keys

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Its generator as ours; latents have no mean of their own, and 0 is theirs."""
        return {**generator(state), "w_mean": torch.zeros(shape_of(state, "layers.0.conv_1.weight", 4)[0])}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Its discriminator as ours."""
        return discriminator(state)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """The whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        tree = generator_recipe(G, "normalize" if self.normalize else "identity", "pyramid")
        usual = {
            "channels": tree["channels"],
            "trunk": {"use": "pyramid", "down": "plain", "from_rgb": "linear"},
            "head": {"use": "dense", "statistic": {"use": "minibatch_std", "group": None}},
        }
        return {
            "title": "MSG-GAN, imported",
            "paper": "arXiv:1903.06048",
            "image": {
                "size": 4 << (len(tree["channels"]) - 1),
                "channels": shape_of(G, "rgb_converters.0.weight", 4)[0],
            },
            "generator": tree,
            "discriminator": discriminator_recipe(D) if D else usual,
            "loss": "relativistic_average",
        }

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """What was assumed."""
        how = "the recipe normalises them" if self.normalize else "the recipe takes them as they are"
        return [
            "the generator there is given latents of norm √z_dim, and its file cannot say so: "
            f"{how} (--set normalize=...)."
        ]
