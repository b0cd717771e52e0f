"""Weights of reference implementations as state dicts of our networks.

For each format there are two functions: `<format>_recipe` turns the constructor's arguments into our part of a recipe,
and `<format>` turns a state dict into ours. The latter work on any part of a state dict, so they also say what a single
weight is called here.

Formats: the networks of NVlabs/stylegan2-ada-pytorch (by the importer of its pickles), of genforce/genforce (PGGAN) and
of akanimax/pro_gan_pytorch.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ganzoo_import.ada import discriminator as ada_discriminator
from ganzoo_import.ada import discriminator_recipe as ada_discriminator_recipe
from ganzoo_import.ada import generator as ada_generator
from ganzoo_import.ada import generator_recipe as ada_generator_recipe
from ganzoo_import.names import State, Tree, level
from ganzoo_import.names import mapped as _mapped

Meta = Mapping[str, Any]  # the reference constructor's keyword arguments

__all__ = ["ada_discriminator", "ada_discriminator_recipe", "ada_generator", "ada_generator_recipe"]


def _statistic(group: int, features: int) -> Tree:
    return {"use": "minibatch_std", "group": group, "features": features}


# --- PGGAN of genforce/genforce --------------------------------------------------------------------------------------


def _gf_channels(meta: Meta) -> Tree:
    return {"channel_base": meta.get("fmaps_base", 16 << 10), "channel_max": meta.get("fmaps_max", 512)}


def genforce_pggan_generator_recipe(meta: Meta) -> Tree:
    """Its `PGGANGenerator` arguments as our `generator:`. A final tanh is left to the caller."""
    z = meta.get("z_space_dim", 512)
    return {
        "z_dim": z,
        "w_dim": z + meta.get("label_size", 0),
        **_gf_channels(meta),
        "mapping": "normalize",
        "synthesis": {
            "use": "progressive",
            "stem": "dense",
            "block": {"use": "plain", "layer": "conv"},
            "to_rgb": "conv",
        },
    }


def genforce_pggan_generator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Its `PGGANGenerator` as our progressive generator.

    The 4x4 convolution on a padded pixel becomes a dense layer: output (y, x) used the kernel at (3 - y, 3 - x). Fused
    upsampling stores [in, out, k, k] and acts like the mirrored kernel after plain upsampling.
    """
    fused = meta.get("fused_scale", "auto")

    def layer(match: re.Match[str]) -> str:
        index, name = int(match[1]), match[2]
        if index == 0:
            return {"weight": "synthesis.stem.dense.weight", "bias": "synthesis.stem.bias"}[name]
        return f"synthesis.blocks.{index // 2}.layers.{0 if index == 1 else index % 2}.conv.{name}"

    source = {}
    for key, value in state.items():
        index = re.fullmatch(r"layer(\d+)\.weight", key)
        if index and int(index[1]) == 0:
            value = value.flip([2, 3]).permute(0, 2, 3, 1).flatten(0, 2)  # [O, I, 4, 4] -> [O 4 4, I]
        elif index and int(index[1]) % 2 == 0 and (4 << int(index[1]) // 2 >= 128 if fused == "auto" else fused):
            value = value.transpose(0, 1).flip([2, 3])
        source[key] = value
    rgb = (r"output(\d+)\.(\w+)", r"synthesis.to_rgb.\1.conv.\2")
    return _mapped(source, [(r"layer(\d+)\.(\w+)", layer), rgb], skip="lod")


def genforce_pggan_discriminator_recipe(meta: Meta) -> Tree:
    """Its `PGGANDiscriminator` arguments as our `discriminator:`."""
    statistic = _statistic(meta.get("minibatch_std_group_size", 16), meta.get("minibatch_std_channels", 1))
    trunk = {"use": "progressive", "down": "plain", "from_rgb": "plain"}
    return {**_gf_channels(meta), "trunk": trunk, "head": {"use": "dense", "statistic": statistic}}


def genforce_pggan_discriminator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Its `PGGANDiscriminator` as our progressive discriminator. Only the first output, the critic's, is kept."""
    fused, finest = meta.get("fused_scale", "auto"), level(meta["resolution"])
    if fused is True or (fused == "auto" and meta["resolution"] >= 128):
        raise ValueError("fused downsampling averages before the activation: there is no such block yet")

    def layer(match: re.Match[str]) -> str:
        index, name = int(match[1]), match[2]
        if index < 2 * finest:
            return f"trunk.blocks.{finest - 1 - index // 2}.conv{index % 2}.{name}"
        return f"head.{['conv', 'dense', 'out'][index - 2 * finest]}.{name}"

    last = re.compile(rf"layer{2 * finest + 2}\.\w+")
    source = {key: value[:1] if last.fullmatch(key) else value for key, value in state.items()}
    rgb = (r"input(\d+)\.(\w+)", lambda m: f"trunk.from_rgb.{finest - int(m[1])}.conv.{m[2]}")
    return _mapped(source, [rgb, (r"layer(\d+)\.(\w+)", layer)], skip="lod")


# --- ProGAN of akanimax/pro_gan_pytorch ------------------------------------------------------------------------------


def akanimax_discriminator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Its unconditional `Discriminator` as our progressive one; its last layer has a √2 more than the paper's."""
    finest = meta["depth"] - 2
    source = {}
    for key, value in state.items():
        if key == f"layers.{finest}.conv_2.weight":
            value = value.flatten(1)
        elif key == f"layers.{finest}.conv_3.weight":
            value = value.flatten(1) * math.sqrt(2)
        source[key] = value

    def layer(match: re.Match[str]) -> str:
        index, conv, name = int(match[1]), int(match[2]), match[3]
        if index == finest:
            return f"head.{['conv', 'dense', 'out'][conv - 1]}.{name}"
        return f"trunk.blocks.{finest - 1 - index}.conv{conv - 1}.{name}"

    rgb = (r"from_rgb\.(\d+)\.0\.(\w+)", lambda m: f"trunk.from_rgb.{finest - int(m[1])}.conv.{m[2]}")
    return _mapped(source, [rgb, (r"layers\.(\d+)\.conv_(\d)\.(\w+)", layer)])
