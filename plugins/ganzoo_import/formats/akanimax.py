"""ProGAN of akanimax/pro_gan_pytorch. Its generator is also that of akanimax/BMSG-GAN, but for what it does to z."""

import math
import re
from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo_import.formats.names import State, Tree, count_of, mapped, refuse, shape_of
from ganzoo_import.formats.nets import Net, StateDicts, conv_channels, dense_head, growing_discriminator

Count = Annotated[int, Ge(1)]
ROOT2 = math.sqrt(2)  # a gain that its layers without an activation have, too
EMBEDDER = r"layers\.(\d+)\.label_embedder\.weight"


def generator_channels(state: State) -> list[int]:
    """Channels coarse to fine: inputs of the layers that make images."""
    levels = count_of(state, r"rgb_converters\.(\d+)\.weight")
    return conv_channels(state, [f"rgb_converters.{i}.weight" for i in range(levels)], axis=1)


def generator_recipe(state: State, mapping: str = "normalize", synthesis: str = "progressive") -> Tree:
    """What the shapes of a `Generator` say, as our `generator:`.

    Its first layer is a transposed convolution whose scale counts the latent's length alone, so 4 times the paper's; no
    pixel norm follows it.
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
    """Its `Generator` as our composed generator; all renaming and axes, no factors."""
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
    """Channels coarse to fine: outputs of the layers that take in images, of which the first is the finest."""
    levels = count_of(state, r"from_rgb\.(\d+)\.0\.weight")
    return conv_channels(state, [f"from_rgb.{i}.0.weight" for i in reversed(range(levels))])


def last_block(state: State, name: str, group: int | None, **options: object) -> Tree:
    """Our dense head for its last block, whose layers are convolutions: of 3x3, of 4x4 to a pixel, and of 1x1."""
    first, second = f"{name}.conv_1.weight", f"{name}.conv_2.weight"
    shape_of(state, first, 4), shape_of(state, second, 4)
    return dense_head(state[first], state[second], group, out_gain=ROOT2, **options)


def discriminator_recipe(state: State, group: int | None = 4) -> Tree:
    """What the shapes of a `Discriminator` say, as our `discriminator:`."""
    channels = discriminator_channels(state)
    conditional = any(re.fullmatch(EMBEDDER, key) for key in state)
    labelled = {"max_norm": 1.0, "activated": True} if conditional else {}
    head = last_block(state, f"layers.{len(channels) - 1}", group, **labelled)
    return growing_discriminator(channels, head, use="embedding" if conditional else "dense")


def discriminator(state: State, finest: int) -> dict[str, Tensor]:
    """Its `Discriminator` as our progressive one; all renaming and axes, no factors.

    Args:
        state: all or some of its tensors
        finest: our level of the finest images
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


def is_generator(keys: set[str]) -> bool:
    """Blocks of two convolutions, and layers that make images."""
    return {"layers.0.conv_1.weight", "layers.0.conv_2.weight", "rgb_converters.0.weight"} <= keys


class AkanimaxProGAN(StateDicts, name="akanimax-progan", paper="arXiv:1710.10196"):
    """ProGAN's networks (.pth) of akanimax/pro_gan_pytorch.

    A file with a generator alone looks like one of akanimax/BMSG-GAN.

    Args:
        group: group size of the discriminator's minibatch standard deviation, which the file does not say; null for
            the whole batch
    """

    def __init__(self, *, group: Count | None = 4) -> None:
        self.group = group

    @staticmethod
    def is_generator(keys: set[str]) -> bool:
        """Blocks of two convolutions, and layers that make images."""
        return is_generator(keys)

    @staticmethod
    def is_discriminator(keys: set[str]) -> bool:
        """Blocks of convolutions, and layers that take in images."""
        return {"layers.0.conv_1.weight", "from_rgb.0.0.weight"} <= keys

    def refused(self, name: str, net: Net) -> str:
        """Only the discriminator knows labels there, and here both networks do."""
        conditional = any(re.fullmatch(EMBEDDER, key) for key in net.names)
        return (
            "its discriminator takes labels and its generator does not, which one recipe cannot say: the discriminator "
            "is left out, and the recipe has an unconditional one of the same width."
            if conditional
            else ""
        )

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Its generator as ours; latents have no mean of their own, and 0 is theirs."""
        return {**generator(state), "w_mean": torch.zeros(shape_of(state, "layers.0.conv_1.weight", 4)[0])}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Its discriminator as ours."""
        return discriminator(state, len(discriminator_channels(state)) - 1)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """The whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        tree = generator_recipe(G)
        return {
            "title": "ProGAN of pro_gan_pytorch, imported",
            "paper": "arXiv:1710.10196",
            "image": {
                "size": 4 << (len(tree["channels"]) - 1),
                "channels": shape_of(G, "rgb_converters.0.weight", 4)[0],
            },
            "generator": tree,
            "discriminator": discriminator_recipe(D, self.group) if D else growing_discriminator(tree["channels"]),
            "loss": "wasserstein",
            "regularizers": ["wgan_gp"],
        }

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """What was assumed, and what differs from the paper."""
        if len(generator_channels(states["G_ema"])) < 2:
            refuse("its generator makes images of 4x4 only.")
        group = "null" if self.group is None else self.group
        return [
            f"the file does not say the group of the minibatch standard deviation: group={group} is assumed (--set "
            "group=...).",
            "these networks differ from the paper's, and so does the recipe: no pixel norm after the first layer, a "
            "scale of that layer 4 times as large, and a gain of √2 in the layers that make images and logits.",
        ]
