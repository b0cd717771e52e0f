"""StyleGAN3 of NVlabs: the network pickles of its configurations T and R, written as those of stylegan2-ada-pytorch.

`generator_recipe` converts constructor arguments into a part of a recipe; `generator` renames the tensors of a state
dict. The discriminator is StyleGAN2's.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.foreign.torchfile import tensors
from ganzoo_import.formats import ada
from ganzoo_import.formats.names import State, Tree, count_of, mapped, shape_of, tensors_of
from ganzoo_import.formats.persistence import PERSISTENT, Modules, contents, has_fourier_features, unpacked
from ganzoo_import.interfaces import Converted, Importer

Meta = Mapping[str, Any]  # keyword arguments of a constructor

# constructor arguments of the generator: their option of the synthesis network here
OPTIONS = {
    "num_layers": "layers",
    "num_critical": "critical",
    "first_cutoff": "first_cutoff",
    "first_stopband": "first_stopband",
    "last_stopband_rel": "last_stopband",
    "margin_size": "margin",
    "output_scale": "output_scale",
    "conv_kernel": "kernel",
    "filter_size": "filter_size",
    "lrelu_upsampling": "upsampling",
    "use_radial_filters": "radial",
    "conv_clamp": "clamp",
    "magnitude_ema_beta": "magnitude_beta",
}
KNOWN = {*OPTIONS, *ada.CHANNELS, *ada.SIZES, *ada.ROUNDING, "class_name", "mapping_kwargs"}
MAPPING = {"num_layers", "lr_multiplier", "w_avg_beta"}
MOST_LAYERS = 64
LAYER = r"synthesis\.L(\d+)_\d+_\d+"
FILTERS = rf"{LAYER}\.(up|down)_filter|{ada.FILTERS}"  # they follow from the options

NOTE = (
    "the file does not say how to go on training (loss, penalties, learning rates): the recipe has the logistic loss "
    "with R1, whose gamma is to be chosen."
)


def generator_recipe(meta: Meta, state: State) -> Tree:
    """Recipe of a generator.

    Args:
        meta: arguments of the constructor of `Generator`, those of its synthesis network among them
        state: its tensors, from whose shapes the channels of each layer are read
    """
    for name in meta.keys() - KNOWN:
        refuse(f"its generator was made with {name}={meta[name]!r:.60}, which ganzoo cannot express.")
    mapping = {"num_layers": 2, "w_avg_beta": 0.998, **meta.get("mapping_kwargs", {})}
    for name in mapping.keys() - MAPPING:
        refuse(f"its mapping network was made with {name}={mapping[name]!r:.60}, which ganzoo cannot express.")
    weights = {int(m[1]): key for key in state if (m := re.fullmatch(rf"{LAYER}\.weight", key)) and len(m[1]) < 6}
    count = count_of(state, rf"{LAYER}\.weight") - 1
    if count != meta.get("num_layers", 14) or count not in range(1, MOST_LAYERS + 1):
        refuse(f"its synthesis network has {count + 1} layers, which its arguments do not tell of.")
    widths = [shape_of(state, weights[i], 4)[0] for i in range(count)]
    return {
        "z_dim": meta["z_dim"],
        "w_dim": meta["w_dim"],
        **{name: meta.get(name, default) for name, default in ada.CHANNELS.items()},
        "w_mean_beta": mapping.pop("w_avg_beta"),
        "w_mean_phases": "d",
        "mapping": ada.mapping_recipe(mapping),
        "synthesis": {
            "use": "alias_free",
            **{option: meta[name] for name, option in OPTIONS.items() if name in meta},
            "channels": widths,
        },
    }


def generator(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a `Generator`; filters are left out."""
    return mapped(
        state,
        [
            (r"mapping\.w_avg", "w_mean"),
            (r"mapping\.embed\.(\w+)", r"mapping.embed.\1"),
            (r"mapping\.fc(\d+)\.(\w+)", r"mapping.layers.\1.\2"),
            (r"synthesis\.input\.(.+)", r"synthesis.input.\1"),
            (rf"{LAYER}\.(.+)", r"synthesis.layers.\1.\2"),
        ],
        skip=FILTERS,
    )


class StyleGAN3(Importer, name="stylegan3", paper="arXiv:2106.12423"):
    """Network pickles (.pkl) of NVlabs/stylegan3, configurations T and R; its StyleGAN2 ones are stylegan2-ada's."""

    globals = frozenset({PERSISTENT})

    def recognises(self, data: Any) -> bool:
        """Whether data are a dictionary of persistent modules whose generator begins with Fourier features."""
        return has_fourier_features(data)

    def convert(self, data: Any) -> Converted:
        """Convert constructor arguments to a recipe, and rename parameters and buffers."""
        nets = {name: unpacked(data[name], name) for name in ("G", "D", "G_ema") if data.get(name) is not None}
        if "G_ema" not in nets:
            nets["G_ema"] = nets.pop("G")
        states = {name: tensors_of(state, f"its network {name}") for name, (_, state) in nets.items()}
        metas = {n: _arguments(m) if n != "D" else ada.arguments(m, True) for n, (m, _) in nets.items()}
        meta = metas["G_ema"]
        if any(metas[name][size] != meta[size] for name in metas for size in ("c_dim", "img_resolution")):
            refuse("its networks differ in the size of their images or labels.")
        D = metas.get("D", {"c_dim": meta["c_dim"], "architecture": "resnet", **_usual_widths(meta)})
        recipe: Tree = {
            "title": "StyleGAN3, imported",
            "paper": "arXiv:2106.12423",
            "image": {"size": meta["img_resolution"], "channels": meta["img_channels"]},
            "labels": meta["c_dim"],
            "generator": generator_recipe(meta, states["G_ema"]),
            "discriminator": ada.discriminator_recipe(D, ada.filters_of(states.get("D", {}))),
            "loss": "logistic",
            "regularizers": [{"use": "r1"}],
        }
        names = [f"{name}.{key}" for name, state in states.items() for key in state]
        filters = [name for name in names if re.fullmatch(FILTERS, name.partition(".")[2])]
        others = {key: contents(value, key) for key, value in data.items() if key not in ("G", "D", "G_ema")}
        notes = [NOTE, "the layers' filters are computed from its options, and not taken from the file."]
        if "D" not in nets:
            notes.append("the file holds no discriminator: the recipe has the usual one of its generator's width.")
        if any(fields.get("use_fp16") for fields in nets["G_ema"][0].values()):
            notes.append("the reference computes its finest layers in half precision: results differ by rounding.")
        return Converted(
            recipe=recipe,
            nets={n: ada.discriminator(s, metas[n]) if n == "D" else generator(s) for n, s in states.items()},
            used=tuple(name for name in names if name not in filters),
            unused=(*filters, *(name for name, _ in tensors(others))),
            notes=tuple(notes),
        )


def _usual_widths(meta: Meta) -> dict[str, int]:
    """Channel base and maximum of a discriminator beside a generator: the same, and half of them with 1x1 kernels."""
    share = 2 if meta.get("conv_kernel") == 1 else 1
    widths = {name: meta.get(name, default) for name, default in ada.CHANNELS.items()}
    return {name: max(1, width // share) for name, width in widths.items() if isinstance(width, int)}


def _arguments(modules: Modules) -> dict[str, Any]:
    """Constructor arguments of a generator; attributes of its modules take precedence."""
    top = modules[""]
    if top.get("_init_args") or not isinstance(top.get("_init_kwargs"), dict):
        refuse("its networks were made with unnamed arguments, which are not understood.")
    meta = {**top["_init_kwargs"], **{size: top[size] for size in ada.SIZES if size in top}}
    meta |= meta.pop("synthesis_kwargs", {})
    for size in ada.SIZES:
        if size not in meta:
            refuse(f"its generator does not tell its {size}.")
    for name, layers in (("conv_clamp", r"L\d+"), ("magnitude_ema_beta", r"L\d+"), ("conv_kernel", "L0")):
        values = ada.agreed(modules, name, rf"synthesis\.{layers}_\d+_\d+")
        meta |= {name: values[0]} if values else {}
    return meta
