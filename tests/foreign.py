"""Weights of reference implementations as state dicts of our networks.

For each format there are two functions: `<format>_recipe` turns the constructor's arguments into our part of a recipe,
and `<format>` turns a state dict into ours. The latter work on any part of a state dict, so they also say what a single
weight is called here.

Formats: the networks of NVlabs/stylegan2-ada-pytorch, of genforce/genforce (PGGAN) and of akanimax/pro_gan_pytorch.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]
Meta = Mapping[str, Any]  # the reference constructor's keyword arguments
Tree = dict[str, Any]

ADA_CHANNELS = {"channel_base": 32768, "channel_max": 512}


def level(size: int | str) -> int:
    """Our level of a square resolution: 4 is 0, 8 is 1, ..."""
    return int(size).bit_length() - 3


def _mapped(state: State, rules: list[tuple[str, Any]], skip: str = r"$^") -> dict[str, Tensor]:
    """Rename each key by the first rule (pattern, replacement) that matches all of it; there must be one."""
    out = {}
    for key, value in state.items():
        if re.fullmatch(skip, key):
            continue
        for pattern, replacement in rules:
            if re.fullmatch(pattern, key):
                out[re.sub(pattern, replacement, key)] = value
                break
        else:
            raise KeyError(f"no rule for {key}")
    return out


def _reshaped(state: State, shapes: list[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Put leading or trailing axes of length 1 around the tensors whose key ends so; -1 stands for the own axes."""
    out = dict(state)
    for key in state:
        for suffix, shape in shapes:
            if key.endswith(suffix):
                at = shape.index(-1)
                out[key] = state[key].reshape(*shape[:at], *state[key].shape, *shape[at + 1 :])
    return out


def _statistic(group: int, features: int) -> Tree:
    return {"use": "minibatch_std", "group": group, "features": features}


# --- StyleGAN2 of NVlabs/stylegan2-ada-pytorch -----------------------------------------------------------------------


def ada_generator_recipe(meta: Meta) -> Tree:
    """Its `Generator` arguments as our `generator:`."""
    synthesis = {**ADA_CHANNELS, **meta.get("synthesis_kwargs", {})}
    mapping = {"num_layers": 8, "lr_multiplier": 0.01, **meta.get("mapping_kwargs", {})}
    clamp = synthesis.get("conv_clamp")
    architecture = synthesis.get("architecture", "skip")
    layer = {"use": "modconv", "noise": {"use": "pixel_noise", "per": "layer"}, "clamp": clamp}
    return {
        "z_dim": meta["z_dim"],
        "w_dim": meta["w_dim"],
        "channel_base": synthesis["channel_base"],
        "channel_max": synthesis["channel_max"],
        "mapping": {
            "use": "mlp",
            "depth": mapping["num_layers"],
            "lr_mul": mapping["lr_multiplier"],
            "gain": "activation",
        },
        "synthesis": {
            "use": "skip" if architecture == "skip" else "last",
            "stem": "constant",
            "block": {"use": "residual" if architecture == "resnet" else "plain", "layer": layer},
            "to_rgb": {"use": "modconv", "clamp": clamp},
        },
    }


def ada_generator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Its `Generator` as our composed generator; all renaming and axes, no factors."""

    def conv(match: re.Match[str]) -> str:
        index = 0 if match[1] == "4" else int(match[2])
        name = {"noise_strength": "noise.strength", "noise_const": "noise.const"}.get(match[3], match[3])
        return f"synthesis.blocks.{level(match[1])}.layers.{index}.{name}"

    out = _mapped(
        state,
        [
            (r"mapping\.w_avg", "w_mean"),
            (r"mapping\.embed\.(\w+)", r"mapping.embed.\1"),
            (r"mapping\.fc(\d+)\.(\w+)", r"mapping.layers.\1.\2"),
            (r"synthesis\.b4\.const", "synthesis.stem.const"),
            (r"synthesis\.b(\d+)\.conv([01])\.(.+)", conv),
            (r"synthesis\.b(\d+)\.skip\.weight", lambda m: f"synthesis.blocks.{level(m[1])}.shortcut.weight"),
            (r"synthesis\.b(\d+)\.torgb\.(.+)", lambda m: f"synthesis.to_rgb.{level(m[1])}.{m[2]}"),
        ],
        skip=r".*resample_filter",
    )
    return _reshaped(out, [("stem.const", (1, -1)), ("noise.const", (1, 1, -1)), ("noise.strength", (-1, 1, 1, 1))])


def ada_discriminator_recipe(meta: Meta) -> Tree:
    """Its `Discriminator` arguments as our `discriminator:`."""
    channels = {**ADA_CHANNELS, **{k: meta[k] for k in ADA_CHANNELS if k in meta}}
    architecture, clamp = meta.get("architecture", "resnet"), meta.get("conv_clamp")
    epilogue = {"mbstd_group_size": 4, "mbstd_num_channels": 1, **meta.get("epilogue_kwargs", {})}
    return {
        **channels,
        "trunk": {
            "use": "skip" if architecture == "skip" else "plain",
            "down": {"use": "residual" if architecture == "resnet" else "filtered", "clamp": clamp},
            "from_rgb": {"use": "plain", "gain": "activation", "clamp": clamp},
        },
        "head": {
            "use": "dense",
            "gain": "activation",
            "clamp": clamp,
            "statistic": _statistic(epilogue["mbstd_group_size"], epilogue["mbstd_num_channels"]),
        },
    }


def ada_discriminator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Its unconditional `Discriminator` as our composed discriminator."""
    if meta.get("c_dim"):
        raise ValueError("a conditional discriminator needs a projection head, which is not there yet")
    return _mapped(
        state,
        [
            (r"b(\d+)\.fromrgb\.(\w+)", lambda m: f"trunk.from_rgb.{level(m[1])}.conv.{m[2]}"),
            (r"b(\d+)\.conv([01])\.(\w+)", lambda m: f"trunk.blocks.{level(m[1]) - 1}.conv{m[2]}.{m[3]}"),
            (r"b(\d+)\.skip\.weight", lambda m: f"trunk.blocks.{level(m[1]) - 1}.shortcut.weight"),
            (r"b4\.(conv|out)\.(\w+)", r"head.\1.\2"),
            (r"b4\.fc\.(\w+)", r"head.dense.\1"),
        ],
        skip=r".*resample_filter",
    )


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
