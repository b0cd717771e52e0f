"""Networks with the weights of reference implementations, converted by the importers of their formats."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Discriminator, Generator, Stage
from reference import GOLDEN, experiment

Tree = dict[str, Any]

# the other network, if a file holds only one
SMALL_G: Tree = {
    "z_dim": 4,
    "w_dim": 4,
    "channel_base": 16,
    "channel_max": 4,
    "mapping": "mlp",
    "synthesis": {
        "use": "last",
        "stem": "dense",
        "block": {"use": "plain", "layer": "conv"},
        "to_rgb": "conv",
    },
}
SMALL_D: Tree = {"channel_base": 16, "channel_max": 4, "trunk": {"use": "plain", "down": "plain"}, "head": "dense"}


def files(*prefixes: str) -> list[str]:
    """Names of the recorded files with these prefixes, of which there must be one at least."""
    names = sorted(path.stem for prefix in prefixes for path in GOLDEN.glob(f"{prefix}*.safetensors"))
    assert names
    return names


def built(tree: Tree, dtype: torch.dtype) -> Gan:
    """Build the networks of a whole recipe."""
    rest = {key: value for key, value in tree.items() if key not in ("generator", "discriminator")}
    return experiment(tree["image"]["size"], tree["generator"], tree["discriminator"], dtype, **rest)


def generator(importer: Any, state: Mapping[str, Tensor], dtype: torch.dtype) -> Generator:
    """Build the generator of an importer's recipe for a state dict, and load it."""
    G = built(importer.recipe({"G_ema": state}), dtype).G
    G.load_state_dict(importer.to_generator(state))
    return G


def discriminator(tree: Tree, weights: Mapping[str, Tensor], dtype: torch.dtype, labels: int = 0) -> Discriminator:
    """Build a discriminator from its part of a recipe, and load weights."""
    size = 4 << (len(tree["channels"]) - 1)
    image = {
        "channels": next(w for key, w in weights.items() if key.startswith("trunk.from_rgb") and w.ndim == 4).shape[1]
    }
    D = experiment(size, SMALL_G, tree, dtype, labels=labels, image=image).D
    D.load_state_dict(weights)
    return D


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Class numbers as one-hot vectors."""
    return torch.nn.functional.one_hot(labels.long(), classes).to(dtype)


def at(lod: float, network: Generator | Discriminator) -> Stage:
    """Stage of genforce's level of detail."""
    finest = len(network.shape.sizes) - 1
    return Stage(finest - math.floor(lod), 1 - (lod - math.floor(lod)))


def full(image: Tensor, G: Generator) -> Tensor:
    """Enlarge an image to the finest size by nearest neighbours."""
    return F.interpolate(image, size=G.shape.size, mode="nearest")


def seen(image: Tensor, stage: Stage, D: Discriminator) -> Tensor:
    """Reduce a full-size image to the size of a stage by 2x2 means."""
    return F.avg_pool2d(image, 2 ** (len(D.shape.sizes) - 1 - stage.level))


@contextmanager
def outputs_of(modules: dict[str, nn.Module], of: str = "output") -> Iterator[dict[str, Tensor]]:
    """Record what the named modules return (or get as their first input) within the block."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            outputs[name] = (output if of == "output" else args[0]).detach()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    yield outputs
    for handle in handles:
        handle.remove()
