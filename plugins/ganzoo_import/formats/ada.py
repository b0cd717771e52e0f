"""StyleGAN2 of NVlabs: the network pickles of stylegan2-ada-pytorch, and the StyleGAN2 ones of stylegan3.

A pickle holds modules as calls of `_reconstruct_persistent_obj` with the source text of their class, which is ignored,
and their attributes. `generator_recipe` and `discriminator_recipe` convert constructor arguments into a part of a
recipe; `generator` and `discriminator` rename the tensors of a state dict or of any part of one.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.foreign.torchfile import tensors
from ganzoo_import.formats.names import State, Tree, filter_of, image_size, level, mapped, only, reshaped, tensors_of
from ganzoo_import.formats.persistence import (
    PERSISTENT,
    Modules,
    contents,
    has_fourier_features,
    persistent_generator,
    unpacked,
)
from ganzoo_import.interfaces import Converted, Importer

Meta = Mapping[str, Any]  # keyword arguments of a constructor

CHANNELS = {"channel_base": 32768, "channel_max": 512}
FILTERS = r"(.*\.)?resample_filter"
LINEAR = ("affine", "embed", "out", "skip")  # layers without activation
SIZES = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")

# supported arguments of the constructors; ROUNDING are those that change no results but for rounding
SYNTHESIS = {*CHANNELS, "architecture", "conv_clamp", "resample_filter", "use_noise", "activation", "kernel_size"}
MAPPING = {"num_layers", "embed_features", "layer_features", "lr_multiplier", "w_avg_beta", "activation"}
EPILOGUE = {"mbstd_group_size", "mbstd_num_channels", "activation"}
DISCRIMINATOR = {*SIZES, *CHANNELS, "architecture", "conv_clamp", "cmap_dim"}
ASPECT = "square"  # of StyleGAN-Human's fork, whose constant tells it, too
KWARGS = {"class_name", ASPECT, "mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs"}
ROUNDING = {"num_fp16_res", "use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default", "freeze_layers"}


def _supported(arguments: Meta, known: set[str], where: str) -> dict[str, Any]:
    """Arguments among the known ones. Refuses others, and values other than the only supported one."""
    for name, value in arguments.items():
        only_value = {"activation": "lrelu", "kernel_size": 3}.get(name, value)
        if name not in known | ROUNDING or value != only_value:
            refuse(f"its {where} was made with {name}={value!r:.60}, which ganzoo cannot express.")
    return {name: value for name, value in arguments.items() if name in known}


def mapping_recipe(arguments: Meta) -> Tree:
    """Recipe of a mapping network."""
    kwargs = {"num_layers": 8, "lr_multiplier": 0.01, **_supported(arguments, MAPPING, "mapping network")}
    if kwargs["num_layers"] not in range(1, 65):
        refuse(f"its mapping network has {kwargs['num_layers']!r:.20} layers, which no GAN has.")
    options = {"depth": kwargs["num_layers"], "lr_mul": kwargs["lr_multiplier"], "gain": "activation"}
    sizes = {"width": kwargs.get("layer_features"), "embed_dim": kwargs.get("embed_features")}
    return {"use": "mlp", **options, **{k: v for k, v in sizes.items() if v is not None}}


# --- the generator ---------------------------------------------------------------------------------------------------


def generator_recipe(meta: Meta, filters: Mapping[str, Tree] = {}) -> Tree:
    """Recipe of a generator with these arguments.

    Args:
        meta: arguments of the constructor of `Generator`
        filters: options of unusual resampling filters of "layer", "shortcut" and "image"
    """
    kwargs = {**CHANNELS, **_supported(meta.get("synthesis_kwargs", {}), SYNTHESIS, "synthesis network")}
    clamp, architecture = kwargs.get("conv_clamp"), kwargs.get("architecture", "skip")
    noise = {"use": "pixel_noise", "per": "layer"} if kwargs.get("use_noise", True) else None
    layer = {"use": "modconv", "noise": noise, "clamp": clamp, **filters.get("layer", {})}
    residual = {"use": "residual", "layer": layer, **filters.get("shortcut", {})}
    beta = meta.get("mapping_kwargs", {}).get("w_avg_beta")
    return {
        "z_dim": meta["z_dim"],
        "w_dim": meta["w_dim"],
        "channel_base": kwargs["channel_base"],
        "channel_max": kwargs["channel_max"],
        **({"w_mean_beta": beta} if beta is not None else {}),
        "mapping": mapping_recipe(meta.get("mapping_kwargs", {})),
        "synthesis": {
            **({"use": "skip", **filters.get("image", {})} if architecture == "skip" else {"use": "last"}),
            "stem": "constant",
            "block": residual if architecture == "resnet" else {"use": "plain", "layer": layer},
            "to_rgb": {"use": "modconv", "clamp": clamp},
        },
    }


def generator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Rename the tensors of a `Generator` and add axes."""

    def conv(match: re.Match[str]) -> str:
        index = 0 if match[1] == "4" else int(match[2])
        name = {"noise_strength": "noise.strength", "noise_const": "noise.const"}.get(match[3], match[3])
        return f"synthesis.blocks.{level(match[1])}.layers.{index}.{name}"

    out = mapped(
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
        skip=FILTERS,
    )
    return reshaped(out, [("stem.const", (1, -1)), ("noise.const", (1, 1, -1)), ("noise.strength", (-1, 1, 1, 1))])


# --- the discriminator -----------------------------------------------------------------------------------------------


def discriminator_recipe(meta: Meta, filters: Mapping[str, Tree] = {}) -> Tree:
    """Recipe of a discriminator with these arguments.

    Args:
        meta: arguments of the constructor of `Discriminator`
        filters: options of unusual resampling filters of "layer" and "image"
    """
    _supported({k: v for k, v in meta.items() if k not in KWARGS}, DISCRIMINATOR, "discriminator")
    _supported(meta.get("block_kwargs", {}), {"activation", "resample_filter"}, "discriminator's blocks")
    epilogue = _supported(meta.get("epilogue_kwargs", {}), EPILOGUE, "discriminator's last block")
    architecture, clamp = meta.get("architecture", "resnet"), meta.get("conv_clamp")
    group, features = epilogue.get("mbstd_group_size", 4), epilogue.get("mbstd_num_channels", 1)
    head: Tree = {
        "use": "dense",
        "gain": "activation",
        "clamp": clamp,
        "statistic": {"use": "minibatch_std", "group": group, "features": features} if features else None,
    }
    if meta.get("c_dim"):
        if meta.get("cmap_dim") == 0:
            refuse("its discriminator gets labels and does not use them, which ganzoo cannot express.")
        mapping = mapping_recipe(meta.get("mapping_kwargs", {}))
        head |= {"use": "projection", "cmap_dim": meta.get("cmap_dim"), "mapping": mapping}
    rgb = {"use": "plain", "gain": "activation"}
    skip = {"use": "skip", **({"from_rgb_coarsest": rgb} if clamp else {}), **filters.get("image", {})}
    residual = "residual" if architecture == "resnet" else "filtered"
    return {
        **CHANNELS,
        **{k: meta[k] for k in CHANNELS if k in meta},
        "trunk": {
            **(skip if architecture == "skip" else {"use": "plain"}),
            "down": {"use": residual, "clamp": clamp, **filters.get("layer", {})},
            "from_rgb": {**rgb, "clamp": clamp},
        },
        "head": head,
    }


def discriminator(state: State, meta: Meta) -> dict[str, Tensor]:
    """Rename the tensors of a `Discriminator`."""
    return mapped(
        state,
        [
            (r"b(\d+)\.fromrgb\.(\w+)", lambda m: f"trunk.from_rgb.{level(m[1])}.conv.{m[2]}"),
            (r"b4\.(conv|out)\.(\w+)", r"head.\1.\2"),
            (r"b4\.fc\.(\w+)", r"head.dense.\1"),
            (r"b(\d+)\.conv([01])\.(\w+)", lambda m: f"trunk.blocks.{level(m[1]) - 1}.conv{m[2]}.{m[3]}"),
            (r"b(\d+)\.skip\.weight", lambda m: f"trunk.blocks.{level(m[1]) - 1}.shortcut.weight"),
            (r"mapping\.embed\.(\w+)", r"head.mapping.embed.\1"),
            (r"mapping\.fc(\d+)\.(\w+)", r"head.mapping.layers.\1.\2"),
        ],
        skip=FILTERS,
    )


def filters_of(state: State) -> dict[str, Tree]:
    """Options for the stored filters of either network, by "layer", "shortcut" and "image"."""

    def kernels(pattern: str) -> list[Tensor]:
        return [kernel for key, kernel in state.items() if re.fullmatch(pattern, key)]

    up, down = r"synthesis\.b\d+\.conv0\.resample_filter", r"b\d+\.(conv1|skip)\.resample_filter"
    return {
        "layer": filter_of(kernels(f"{up}|{down}"), "convolutions"),
        "shortcut": filter_of(kernels(r"synthesis\.b\d+\.skip\.resample_filter"), "shortcuts"),
        "image": filter_of(kernels(r"(synthesis\.)?b\d+\.resample_filter"), "images"),
    }


# --- the pickle ------------------------------------------------------------------------------------------------------

NOTE = (
    "the file does not say how to go on training (loss, penalties, learning rates): the recipe has the StyleGAN2 "
    "paper's."
)


class ADA(Importer, name="stylegan2-ada", paper="arXiv:2006.06676"):
    """Network pickles (.pkl) of NVlabs/stylegan2-ada-pytorch, and StyleGAN2 ones of NVlabs/stylegan3."""

    globals = frozenset({PERSISTENT})

    def recognises(self, data: Any) -> bool:
        """Whether data are a dictionary of persistent modules G, D, G_ema, without StyleGAN3's Fourier features."""
        return persistent_generator(data) is not None and not has_fourier_features(data)

    def convert(self, data: Any) -> Converted:
        """Convert constructor arguments, checked by attributes, to a recipe, and rename parameters and buffers."""
        nets = {name: unpacked(data[name], name) for name in ("G", "D", "G_ema") if data.get(name) is not None}
        if "G_ema" not in nets:
            nets["G_ema"] = nets.pop("G")
        for name, (_, state) in nets.items():
            tensors_of(state, f"its network {name}")
        metas = {name: arguments(modules, name == "D") for name, (modules, _) in nets.items()}
        meta = metas["G_ema"]
        if any(metas[name][size] != meta[size] for name in metas for size in ("c_dim", "img_resolution")):
            refuse("its networks differ in the size of their images or labels.")
        recipe, states = recipe_of(metas, {name: state for name, (_, state) in nets.items()})
        used: list[str] = []
        filters: list[str] = []
        for name, (_, state) in nets.items():
            for key in state:
                (filters if re.fullmatch(FILTERS, key) else used).append(f"{name}.{key}")
        others = {key: contents(value, key) for key, value in data.items() if key not in ("G", "D", "G_ema")}
        notes = [NOTE]
        if "D" not in nets:
            notes.append("the file holds no discriminator: the recipe has the usual one of its generator's width.")
        if any(fields.get("use_fp16") for fields in nets["G_ema"][0].values()):
            notes.append("the reference computes its finest blocks in half precision: results differ by rounding.")
        return Converted(
            recipe=recipe,
            nets=states,
            used=tuple(used),
            unused=(*filters, *(name for name, _ in tensors(others))),
            notes=tuple(notes),
        )


def recipe_of(metas: Mapping[str, Meta], states: Mapping[str, State]) -> tuple[Tree, dict[str, dict[str, Tensor]]]:
    """(the whole recipe, {network: renamed state dict})."""
    meta = metas["G_ema"]
    default = {**meta.get("synthesis_kwargs", {}), "c_dim": meta["c_dim"], "architecture": "resnet"}
    D = metas.get("D", {k: v for k, v in default.items() if k in DISCRIMINATOR})
    generator_tree = generator_recipe(meta, filters_of(states["G_ema"]))
    discriminator_tree = discriminator_recipe(D, filters_of(states.get("D", {})))
    _set_widths(generator_tree, states["G_ema"], r"synthesis\.b(\d+)\.conv1\.weight")
    if "D" in states:
        _set_widths(discriminator_tree, states["D"], r"b(\d+)\.(?:conv0|conv)\.weight")
    elif "channels" in generator_tree:
        discriminator_tree = {k: v for k, v in discriminator_tree.items() if k not in CHANNELS}
        discriminator_tree["channels"] = generator_tree["channels"]
    recipe: Tree = {
        "title": "StyleGAN2, imported",
        "paper": "arXiv:1912.04958",
        "image": {**_image_size(meta["img_resolution"], states["G_ema"]), "channels": meta["img_channels"]},
        "labels": meta["c_dim"],
        "generator": generator_tree,
        "discriminator": discriminator_tree,
        "loss": "logistic",
        "regularizers": [{"use": "r1"}, {"use": "path_length"}],
    }
    return recipe, {n: (discriminator if n == "D" else generator)(state, metas[n]) for n, state in states.items()}


def _image_size(resolution: Any, state: State) -> Tree:
    """Size of the recipe's image, `resolution` high, and its base where the generator's constant is not 4x4."""
    const = state.get("synthesis.b4.const", torch.empty(0))
    if const.ndim != 3 or tuple(const.shape[1:]) == (4, 4):
        return {"size": resolution}
    return image_size(const.shape[1:], sum(bool(re.fullmatch(r"synthesis\.b\d+\.conv1\.weight", key)) for key in state))


def _set_widths(tree: Tree, state: State, pattern: str) -> None:
    """Replace a network's channel base and maximum by its channels, coarse to fine, if its tensors have others."""
    matches = [(match, tensor) for key, tensor in state.items() if (match := re.fullmatch(pattern, key))]
    widths = {int(match[1]): tensor.shape[0] for match, tensor in matches if tensor.ndim == 4}
    base, most = tree["channel_base"], tree["channel_max"]
    numbers = isinstance(base, int | float) and isinstance(most, int | float)
    sides = [4 << level for level in range(len(widths))]
    if not widths or sorted(widths) != sides:
        return
    if not numbers or any(widths[side] != min(base // side, most) for side in sides):
        del tree["channel_base"], tree["channel_max"]
        tree["channels"] = [widths[side] for side in sides]


def arguments(modules: Modules, is_discriminator: bool) -> dict[str, Any]:
    """Constructor arguments of a network; attributes of its modules take precedence."""
    top = modules[""]
    if top.get("_init_args") or not isinstance(top.get("_init_kwargs"), dict):
        refuse("its networks were made with unnamed arguments, which are not understood.")
    if "b4" not in modules and "synthesis.b4" not in modules:
        refuse("its networks are neither those of StyleGAN2 nor those of StyleGAN3.")
    for path, fields in modules.items():
        wanted = "linear" if path.rpartition(".")[2] in LINEAR else "lrelu"
        if fields.get("activation", wanted) != wanted:
            refuse(f"its layer '{path}' has the activation {fields['activation']!r}, which ganzoo cannot express here.")
    meta = {**top["_init_kwargs"], **{size: top[size] for size in SIZES if size in top}}
    attributes = {
        "architecture": agreed(modules, "architecture", r".*"),
        "conv_clamp": agreed(modules, "conv_clamp", r".*\.(conv\d?|torgb)"),
        "use_noise": agreed(modules, "use_noise", r".*"),
    }
    common = {key: values[0] for key, values in attributes.items() if values}
    if is_discriminator:
        return meta | common
    mapping = dict(meta.get("mapping_kwargs", {}))
    own = {key: value for key, value in meta.items() if key not in (*SIZES, *KWARGS)}  # as NVlabs/stylegan3 gives them
    layers = [fields for path, fields in modules.items() if re.fullmatch(r"mapping\.fc\d+", path)]
    rate = mapping.get("lr_multiplier", 0.01)
    rates = [fields["bias_gain"] for fields in layers if "bias_gain" in fields]
    return {
        **meta,
        "synthesis_kwargs": {**own, **meta.get("synthesis_kwargs", {}), **common},
        "mapping_kwargs": {**mapping, "lr_multiplier": only(rates, "learning rates", rate)},
    }


def agreed(modules: Modules, key: str, pattern: str) -> list[Any]:
    """The common value of an attribute of the modules whose name matches, in a list; [] if none has it."""
    values = [fields[key] for path, fields in modules.items() if key in fields and re.fullmatch(pattern, path)]
    return [only(values, key, None)] if values else []
