"""ProGAN of akanimax/pro_gan_pytorch, whose generator akanimax/BMSG-GAN shares, except for the latent's mapping."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.types import Count
from ganzoo_import.formats.names import State, Tree, count_of, mapped, shape_of
from ganzoo_import.formats.nets import Net, StateDicts, conv_channels, dense_head, growing_discriminator

GENERATOR_KEYS = frozenset({"layers.0.conv_1.weight", "layers.0.conv_2.weight", "rgb_converters.0.weight"})
ROOT2 = math.sqrt(2)  # gain of its layers, also of those without an activation
EMBEDDER = r"layers\.(\d+)\.label_embedder\.weight"


def generator_channels(state: State) -> list[int]:
    """Channels, coarse to fine: inputs of the layers to RGB."""
    levels = count_of(state, r"rgb_converters\.(\d+)\.weight")
    return conv_channels(state, [f"rgb_converters.{i}.weight" for i in range(levels)], axis=1)


def generator_recipe(state: State, mapping: str = "normalize", synthesis: str = "progressive") -> Tree:
    """Read the recipe of a `Generator` from its shapes.

    Its first layer is a transposed convolution whose fan-in is the latent's length alone, so that its scale is 4 times
    the paper's; no pixel norm follows it.
    """
    latent = shape_of(state, "layers.0.conv_1.weight", 4)[0]
    return {
        "z_dim": latent,
        "w_dim": latent,
        "channels": generator_channels(state),
        "mapping": mapping,
        "synthesis": {
            "use": synthesis,
            "stem": {"use": "dense", "norm": None, "gain": 4.0},
            "block": {"use": "plain", "layer": "conv"},
            "to_rgb": {"use": "conv", "gain": ROOT2},
        },
    }


def generator(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a `Generator` and permute axes."""
    source = dict(state)
    first = "layers.0.conv_1.weight"
    if first in source:
        source[first] = source[first].flatten(1).T  # [I, O, 4, 4] -> [O 4 4, I]

    def layer(match: re.Match[str]) -> str:
        level, conv, name = int(match[1]), int(match[2]), match[3]
        if level == 0 and conv == 1:
            return f"synthesis.stem.{'dense.' if name == 'weight' else ''}{name}"
        return f"synthesis.blocks.{level}.layers.{conv - 1 if level else 0}.conv.{name}"

    rgb = (r"rgb_converters\.(\d+)\.(weight|bias)", r"synthesis.to_rgb.\1.conv.\2")
    return mapped(source, [(r"layers\.(\d+)\.conv_([12])\.(weight|bias)", layer), rgb])


def discriminator_channels(state: State) -> list[int]:
    """Channels, coarse to fine: outputs of the layers from RGB, which are numbered from the finest."""
    levels = count_of(state, r"from_rgb\.(\d+)\.0\.weight")
    return conv_channels(state, [f"from_rgb.{i}.0.weight" for i in reversed(range(levels))])


def last_block(state: State, name: str, group: int | None, **options: object) -> Tree:
    """Recipe of a dense head for its last block of convolutions: 3x3, 4x4 to a pixel, and 1x1."""
    first, second = f"{name}.conv_1.weight", f"{name}.conv_2.weight"
    shape_of(state, first, 4), shape_of(state, second, 4)
    return dense_head(state[first], state[second], group, out_gain=ROOT2, **options)


def discriminator_recipe(state: State, group: int | None = 4) -> Tree:
    """Read the recipe of a `Discriminator` from its shapes."""
    channels = discriminator_channels(state)
    conditional = any(re.fullmatch(EMBEDDER, key) for key in state)
    labelled = {"max_norm": 1.0, "activated": True} if conditional else {}
    head = last_block(state, f"layers.{len(channels) - 1}", group, **labelled)
    return growing_discriminator(channels, head, use="embedding" if conditional else "dense")


def discriminator(state: State, finest: int) -> dict[str, Tensor]:
    """Rename the tensors of a `Discriminator` and flatten the last two kernels.

    Args:
        state: all or some of its tensors
        finest: level of the finest images
    """
    flat = {f"layers.{finest}.conv_{i}.weight" for i in (2, 3)}
    source = {key: value.flatten(1) if key in flat else value for key, value in state.items()}

    def layer(match: re.Match[str]) -> str:
        index, conv, name = int(match[1]), int(match[2]), match[3]
        if index == finest:
            return f"head.{['conv', 'dense', 'out'][conv - 1]}.{name}"
        return f"trunk.blocks.{finest - 1 - index}.conv{conv - 1}.{name}"

    rgb = (r"from_rgb\.(\d+)\.0\.(weight|bias)", lambda m: f"trunk.from_rgb.{finest - int(m[1])}.conv.{m[2]}")
    labels = (EMBEDDER, "head.vectors")
    return mapped(source, [rgb, (r"layers\.(\d+)\.conv_([123])\.(weight|bias)", layer), labels])


class AkanimaxProGAN(StateDicts, name="akanimax-progan", paper="arXiv:1710.10196"):
    """ProGAN's networks (.pth) of akanimax/pro_gan_pytorch.

    A file with only a generator cannot be told from one of akanimax/BMSG-GAN.

    Args:
        group: group size of the discriminator's minibatch standard deviation, which the file does not tell; null for
            the whole batch
    """

    generator_keys = GENERATOR_KEYS
    discriminator_keys = frozenset({"layers.0.conv_1.weight", "from_rgb.0.0.weight"})

    def __init__(self, *, group: Count | None = 4) -> None:
        self.group = group

    def refused(self, name: str, net: Net) -> str:
        """Refuse a conditional discriminator: there only the discriminator has labels, here both networks have."""
        conditional = any(re.fullmatch(EMBEDDER, key) for key in net.names)
        return (
            "its discriminator takes labels and its generator does not, which one recipe cannot say: the discriminator "
            "is left out, and the recipe has an unconditional one of the same width."
            if conditional
            else ""
        )

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the generator; the mean of its latents is 0."""
        return {**generator(state), "w_mean": torch.zeros(shape_of(state, "layers.0.conv_1.weight", 4)[0])}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the discriminator."""
        return discriminator(state, len(discriminator_channels(state)) - 1)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        tree = generator_recipe(G)
        return self.whole(
            "ProGAN of pro_gan_pytorch",
            shape_of(G, "rgb_converters.0.weight", 4)[0],
            tree,
            discriminator_recipe(D, self.group) if D else growing_discriminator(tree["channels"]),
            loss="wasserstein",
            regularizers=["wgan_gp"],
        )

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions, and on differences from the paper."""
        if len(generator_channels(states["G_ema"])) < 2:
            refuse("its generator makes images of 4x4 only.")
        group = "null" if self.group is None else self.group
        return [
            f"the file does not say the group of the minibatch standard deviation: group={group} is assumed (--set "
            "group=...).",
            "these networks differ from the paper's, and so does the recipe: no pixel norm after the first layer, a "
            "scale of that layer 4 times as large, and a gain of √2 in the layers that make images and logits.",
        ]
