"""ProGAN of genforce/genforce, and of the checkpoints that it converted from the released ones."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.types import Count
from ganzoo_import.formats import genforce
from ganzoo_import.formats.genforce import LOD, Fused, discriminator_channels, discriminator_head, fuses, mirrored
from ganzoo_import.formats.names import State, Tree, mapped, shape_of
from ganzoo_import.formats.nets import StateDicts, growing_discriminator


def fused_of(state: State, given: Fused | None = None) -> Fused:
    """Layers of a generator that upsample within their convolution: `given`, or the first choice that shapes allow.

    Fused layers store their weights as [in, out], which shapes reveal if both numbers differ.
    """
    channels = genforce.generator_channels(state)
    shown: dict[int, bool] = {}  # by level
    for i in range(1, len(channels)):
        shape = shape_of(state, f"layer{2 * i}.weight", 4)[:2]
        if shape not in ((channels[i], channels[i - 1]), (channels[i - 1], channels[i])):
            refuse(f"its 'layer{2 * i}.weight' has a shape that does not fit between its images' layers.")
        if channels[i] != channels[i - 1]:
            shown[i] = shape == (channels[i - 1], channels[i])
    choices: Iterable[Fused] = ("auto", False, True) if given is None else (given,)
    for choice in choices:
        if all(fuses(choice, i) == is_fused for i, is_fused in shown.items()):
            return choice
    return refuse(f"the shapes of its upsampling layers do not agree with fused={given}, or with each other.")


def generator_recipe(state: State, labels: int = 0, tanh: bool = False) -> Tree:
    """Read the recipe of a `PGGANGenerator` from its shapes."""
    entering = shape_of(state, "layer0.weight", 4)[1]
    if entering <= labels:
        refuse(f"its generator takes {entering} numbers, which leave none for a latent beside {labels} labels.")
    return {
        "z_dim": entering - labels,
        "w_dim": entering,
        "channels": genforce.generator_channels(state),
        "output": "tanh" if tanh else "linear",
        "mapping": {"use": "normalize", "twice": True},
        "synthesis": {
            "use": "progressive",
            "stem": "dense",
            "block": {"use": "plain", "layer": "conv"},
            "to_rgb": "conv",
        },
    }


def generator(state: State, fused: Fused) -> dict[str, Tensor]:
    """Rename the tensors of a `PGGANGenerator` and permute axes.

    The 4x4 convolution of a padded pixel becomes a dense layer: its output (y, x) used the kernel at (3 - y, 3 - x).
    """

    def layer(match: re.Match[str]) -> str:
        index, name = int(match[1]), match[2]
        if index == 0:
            return {"weight": "synthesis.stem.dense.weight", "bias": "synthesis.stem.bias"}[name]
        return f"synthesis.blocks.{index // 2}.layers.{0 if index == 1 else index % 2}.conv.{name}"

    source = dict(state)
    for key, weight in state.items():
        index = int(m[1]) if (m := re.fullmatch(r"layer(\d{1,3})\.weight", key)) else 1
        if index == 0:
            source[key] = mirrored(weight).permute(0, 2, 3, 1).flatten(0, 2)  # [O, I, 4, 4] -> [O 4 4, I]
        elif index % 2 == 0 and fuses(fused, index // 2):
            source[key] = mirrored(weight).transpose(0, 1)
    rgb = (r"output(\d+)\.(weight|bias)", r"synthesis.to_rgb.\1.conv.\2")
    return mapped(source, [(r"layer(\d+)\.(weight|bias)", layer), rgb], skip=LOD)


def discriminator_recipe(state: State, fused: Fused = "auto", group: int | None = 16) -> Tree:
    """Read the recipe of a `PGGANDiscriminator` from its shapes; with labels it also classifies."""
    head, outputs = discriminator_head(state, group)
    down = {"use": "plain", "fused": fused}
    return growing_discriminator(discriminator_channels(state), head, down, "acgan" if outputs > 1 else "dense")


class GenforcePGGAN(StateDicts, name="genforce-pggan", paper="arXiv:1710.10196"):
    """ProGAN's checkpoints (.pth) of genforce/genforce.

    Args:
        fused: layers that resample within their convolution: all, none, or "auto" for those from 128x128 on; null
            infers it from the shapes of the generator's weights, and takes "auto" if they allow it
        group: group size of the discriminator's minibatch standard deviation, which the file does not tell; null for
            the whole batch
        labels: number of labels beside the latent; null takes it from the discriminator, or 0 without one
        tanh: whether the generator ends with tanh, which the file does not tell
    """

    generator_keys = frozenset({"layer0.weight", "layer0.bias", "layer1.weight", "output0.weight", "output0.bias"})
    discriminator_keys = frozenset({"layer0.weight", "layer0.bias", "input0.weight", "input0.bias"})
    left_out = LOD

    def __init__(
        self,
        *,
        fused: Fused | None = None,
        group: Count | None = 16,
        labels: Annotated[int, Ge(0)] | None = None,
        tanh: bool = False,
    ) -> None:
        self.fused, self.group, self.labels, self.tanh = fused, group, labels, tanh

    @classmethod
    def is_discriminator(cls, keys: set[str]) -> bool:
        """Whether keys are those of its discriminator, which has no low-pass filters as StyleGAN's has."""
        return super().is_discriminator(keys) and not any(key.endswith("blur.kernel") for key in keys)

    def to_generator(self, state: State) -> dict[str, Tensor]:
        """Convert the generator; the mean of its latents is 0."""
        mean = torch.zeros(shape_of(state, "layer0.weight", 4)[1])
        return {**generator(state, fused_of(state, self.fused)), "w_mean": mean}

    def to_discriminator(self, state: State) -> dict[str, Tensor]:
        """Convert the discriminator."""
        return genforce.discriminator(state, len(discriminator_channels(state)) - 1)

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        G, D = states["G_ema"], states.get("D")
        classes = discriminator_head(D, None)[1] - 1 if D else self.labels or 0
        labels = classes if self.labels is None else self.labels
        if classes != labels:
            refuse(f"its discriminator names {classes} classes, and labels is {labels}.")
        tree = generator_recipe(G, labels, self.tanh)
        default = growing_discriminator(tree["channels"], use="acgan" if labels else "dense")
        return self.whole(
            "ProGAN",
            shape_of(G, "output0.weight", 4)[0],
            tree,
            discriminator_recipe(D, fused_of(G, self.fused), self.group) if D else default,
            labels=labels,
            loss="wasserstein",
            regularizers=["wgan_gp", *(["acgan_d", "acgan_g"] if labels else [])],
        )

    def notes(self, states: Mapping[str, State]) -> list[str]:
        """Sentences on assumptions."""
        fused = fused_of(states["G_ema"], self.fused)
        group = "null" if self.group is None else self.group
        return [
            "the file does not say whether the generator ends with a tanh, nor the group of the minibatch standard "
            f"deviation: tanh={str(self.tanh).lower()} and group={group} are taken (--set tanh=..., group=...).",
            "where shapes do not show which layers resample within their convolution, which changes what they compute, "
            f"fused={str(fused).lower()} is assumed (--set fused=...).",
            "the reference normalises the latent twice, and so does the recipe.",
            *genforce.growth_notes(states["G_ema"]),
        ]
