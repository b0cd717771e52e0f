"""StyleGAN2 of rosinality/stylegan2-pytorch: files of its training and of its converter.

The files hold state dicts and no constructor arguments, so that sizes are read from shapes. `generator` and
`discriminator` rename the tensors of a state dict.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganzoo.foreign.pickles import refuse
from ganzoo.foreign.torchfile import tensors
from ganzoo.recipe.node import parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry
from ganzoo.types import Count, Positive
from ganzoo_import.formats.names import (
    State,
    Tree,
    count_of,
    filter_of,
    image_size,
    mapped,
    reshaped,
    shape_of,
    tensors_of,
)
from ganzoo_import.formats.nets import NO_GENERATOR, networks, spare_notes
from ganzoo_import.interfaces import Converted, Importer

KERNELS = r".*\.kernel"
LATENT_AVG = "latent_avg"  # the mean style code
GENERATOR_KEYS = frozenset({"style.1.weight", "input.input", "conv1.conv.weight"})
DISCRIMINATOR_KEYS = frozenset({"convs.0.0.weight", "final_conv.0.weight", "final_linear.1.weight"})
MAX_Z = 1 << 16  # numbers of a latent


def generator(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a `Generator` and change axes of length 1."""
    inside = {
        "conv.weight": "weight",
        "conv.modulation.weight": "affine.weight",
        "conv.modulation.bias": "affine.bias",
        "activate.bias": "bias",
        "noise.weight": "noise.strength",
        "bias": "bias",
    }

    def layer(index: int, name: str) -> str:
        """Name of a layer: level 0 has one convolution, the others two, of which the first one doubles the size."""
        return f"synthesis.blocks.{(index + 1) // 2}.layers.{(index + 1) % 2 if index else 0}.{name}"

    parts = "|".join(map(re.escape, inside))
    out = mapped(
        state,
        [
            (r"style\.(\d+)\.(weight|bias)", lambda m: f"mapping.layers.{int(m[1]) - 1}.{m[2]}"),
            (r"input\.input", "synthesis.stem.const"),
            (rf"conv1\.({parts})", lambda m: layer(0, inside[m[1]])),
            (rf"convs\.(\d+)\.({parts})", lambda m: layer(int(m[1]) + 1, inside[m[2]])),
            (r"noises\.noise_(\d+)", lambda m: layer(int(m[1]), "noise.const")),
            (rf"to_rgb1\.({parts})", lambda m: f"synthesis.to_rgb.0.{inside[m[1]]}"),
            (rf"to_rgbs\.(\d+)\.({parts})", lambda m: f"synthesis.to_rgb.{int(m[1]) + 1}.{inside[m[2]]}"),
        ],
        skip=f"{KERNELS}|{LATENT_AVG}",
    )
    for key, value in out.items():
        if key.endswith(".weight") and value.ndim == 5 and value.shape[0] == 1:
            out[key] = value[0]
        if re.fullmatch(r"synthesis\.to_rgb\.\d+\.bias", key):
            out[key] = value.reshape(-1)
    return reshaped(out, [("noise.strength", (-1, 1, 1))])


def discriminator(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a `Discriminator`, whose `convs` run from fine to coarse."""
    blocks = count_of(state, r"convs\.(\d+)\..*") - 1

    def block(match: re.Match[str]) -> str:
        return f"trunk.blocks.{blocks - int(match[1])}."

    def second(match: re.Match[str]) -> str:
        return f"{block(match)}conv1.{match[2]}"

    return mapped(
        state,
        [
            (r"convs\.0\.[01]\.(weight|bias)", rf"trunk.from_rgb.{blocks}.conv.\1"),
            (r"convs\.([1-9]\d*)\.conv1\.[01]\.(weight|bias)", lambda m: f"{block(m)}conv0.{m[2]}"),
            (r"convs\.([1-9]\d*)\.conv2\.[12]\.(weight|bias)", second),
            (r"convs\.([1-9]\d*)\.skip\.1\.weight", lambda m: f"{block(m)}shortcut.weight"),
            (r"final_conv\.[01]\.(weight|bias)", r"head.conv.\1"),
            (r"final_linear\.0\.(weight|bias)", r"head.dense.\1"),
            (r"final_linear\.1\.(weight|bias)", r"head.out.\1"),
        ],
        skip=KERNELS,
    )


def generator_recipe(state: State, lr_mul: float) -> Tree:
    """Read the recipe of a generator from its shapes."""
    w_dim, z_dim = shape_of(state, "style.1.weight", 2)
    layers = count_of(state, r"convs\.(\d+)\.conv\.weight")
    channels = [shape_of(state, "input.input", 4)[1]]
    channels += [shape_of(state, f"convs.{i}.conv.weight", 5)[1] for i in range(0, layers, 2)]
    up = filter_of((v for k, v in state.items() if re.fullmatch(r"convs\.\d+\.conv\.blur\.kernel", k)), "convolutions")
    rgb = filter_of((v for k, v in state.items() if re.fullmatch(r"to_rgbs\.\d+\.upsample\.kernel", k)), "images")
    layer = {"use": "modconv", "equalized": True, "noise": {"use": "pixel_noise", "per": "layer"}, **up}
    depth = count_of(state, r"style\.(\d+)\.weight")
    return {
        "z_dim": z_dim,
        "w_dim": w_dim,
        "channels": channels,
        "mapping": {"use": "mlp", "depth": depth, "lr_mul": lr_mul, "gain": "activation"},
        "synthesis": {
            "use": "skip",
            "stem": "constant",
            "block": {"use": "plain", "layer": layer},
            "to_rgb": "modconv",
            **rgb,
        },
    }


def discriminator_recipe(channels: list[int], state: State, group: int) -> Tree:
    """Recipe of a discriminator with these channels, coarse to fine, and the filters in its state dict."""
    down = filter_of((v for k, v in state.items() if re.fullmatch(KERNELS, k)), "the discriminator")
    return {
        "channels": channels,
        "trunk": {
            "use": "plain",
            "down": {"use": "residual", **down},
            "from_rgb": {"use": "plain", "gain": "activation"},
        },
        "head": {"use": "dense", "gain": "activation", "statistic": {"use": "minibatch_std", "group": group}},
    }


def _channels(state: State) -> list[int]:
    """Channels of a discriminator, coarse to fine."""
    blocks = count_of(state, r"convs\.(\d+)\..*") - 1
    first = [shape_of(state, "convs.0.0.weight", 4)[0]]
    return [*first, *(shape_of(state, f"convs.{i}.conv2.1.weight", 4)[0] for i in range(1, blocks + 1))][::-1]


class Rosinality(Importer, name="rosinality", paper="arXiv:1912.04958"):
    """Checkpoints (.pt) of rosinality/stylegan2-pytorch: of its training (g, d, g_ema) and converted ones.

    Args:
        lr_mul: learning rate multiplier of the mapping network, which the file does not tell
        group: group size of the discriminator's minibatch standard deviation, which the file does not tell
        samples: number of latents for the mean style code, if the file holds none
    """

    def __init__(self, *, lr_mul: Positive = 0.01, group: Count = 4, samples: Count = 10_000) -> None:
        self.lr_mul, self.group, self.samples = lr_mul, group, samples

    def recognises(self, data: Any) -> bool:
        """Whether the file holds networks with its names of tensors."""
        return bool(networks(data, GENERATOR_KEYS.issubset, DISCRIMINATOR_KEYS.issubset))

    def convert(self, data: Any) -> Converted:
        """Read the recipe from shapes, and rename tensors; without a mean style code in the file, estimate it."""
        theirs = networks(data, GENERATOR_KEYS.issubset, DISCRIMINATOR_KEYS.issubset)
        if "G_ema" not in theirs:
            refuse(NO_GENERATOR)
        states = {name: tensors_of(net.state, f"its network {name}") for name, net in theirs.items()}
        recipe = self.recipe(states)
        nets = {name: (discriminator if name == "D" else generator)(state) for name, state in states.items()}
        every = dict(tensors(data))
        mean_name = next((name for name in every if name.rpartition(".")[2] == LATENT_AVG), None)
        if mean_name is None and isinstance(data, dict) and data.get(LATENT_AVG) is not None:
            refuse("its 'latent_avg' is no mean style code.")
        notes, mean = self.mean(every[mean_name] if mean_name else None, recipe, nets["G_ema"])
        for name in nets.keys() - {"D"}:
            nets[name]["w_mean"] = mean
        if "D" not in nets:
            notes.append("the file holds no discriminator: the recipe has one of the generator's width.")
        notes += spare_notes(data, GENERATOR_KEYS.issubset, theirs)
        if not any(re.fullmatch(KERNELS, key) for key in states["G_ema"]):
            notes.append("the file holds no resampling filters: the usual ones, of taps 1, 3, 3, 1, are taken.")
        used = {n for net in theirs.values() for key, n in net.names.items() if not re.fullmatch(KERNELS, key)}
        used -= {name for name in every if name.rpartition(".")[2] == LATENT_AVG}
        used |= {mean_name} if mean_name else set()
        return Converted(
            recipe=recipe,
            nets=nets,
            used=tuple(name for name in every if name in used),
            unused=tuple(name for name in every if name not in used),
            notes=tuple(notes),
        )

    def recipe(self, states: Mapping[str, State]) -> Tree:
        """Write the whole recipe, from shapes and options."""
        generator = generator_recipe(states["G_ema"], self.lr_mul)
        channels = _channels(states["D"]) if "D" in states else generator["channels"]
        return {
            "title": "StyleGAN2, imported",
            "paper": "arXiv:1912.04958",
            "image": {
                **image_size(shape_of(states["G_ema"], "input.input", 4)[2:], len(generator["channels"])),
                "channels": shape_of(states["G_ema"], "to_rgb1.conv.weight", 5)[1],
            },
            "generator": generator,
            "discriminator": discriminator_recipe(channels, states.get("D", {}), self.group),
            "loss": "logistic",
            "regularizers": [{"use": "r1"}, {"use": "path_length"}],
        }

    def mean(self, latent_avg: Any, recipe: Tree, state: State) -> tuple[list[str], Tensor]:
        """(notes, mean style code): the file's, or an estimate if that is None."""
        notes = [
            f"the file does not say lr_mul of the mapping network nor the group of the minibatch standard deviation: "
            f"the reference's usual {self.lr_mul} and {self.group} are taken (--set lr_mul=..., group=...).",
            "the file does not say how to go on training: the recipe has the StyleGAN2 paper's loss and penalties.",
        ]
        w_dim = recipe["generator"]["w_dim"]
        if latent_avg is not None:
            if not isinstance(latent_avg, Tensor) or latent_avg.numel() != w_dim:
                refuse("its 'latent_avg' is no mean style code.")
            return notes, latent_avg.reshape(-1).float()
        return [*notes, self.estimate], self.estimated(recipe, state)

    def estimated(self, recipe: Tree, state: State) -> Tensor:
        """Mean style code of `samples` latents of seed 0, summed in float64."""
        z_dim, w_dim = recipe["generator"]["z_dim"], recipe["generator"]["w_dim"]
        if z_dim > MAX_Z:
            refuse(f"its latents have {z_dim:,} numbers, which no GAN has.")
        node = parse(Source(recipe), registry())["generator.mapping"]
        with torch.device("meta"):
            network = node.bind()(z_dim, w_dim, 0)
        weights = {k.removeprefix("mapping."): t for k, t in state.items() if k.startswith("mapping.")}
        network.load_state_dict(weights, assign=True)
        rng = torch.Generator().manual_seed(0)
        total = torch.zeros(w_dim, dtype=torch.float64)
        with torch.no_grad():
            for start in range(0, self.samples, 1000):
                z = torch.randn(min(self.samples - start, 1000), z_dim, generator=rng)
                total += network(z).double().sum(dim=0)
        return (total / self.samples).float()

    @property
    def estimate(self) -> str:
        """Note on an estimated mean."""
        return (
            f"the file holds no mean style code: the mean of {self.samples:,} latents (seed 0) stands for it in "
            "truncation."
        )
