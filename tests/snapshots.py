"""Snapshots of networks that were never trained, but whose every part shows in their images."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from conftest import small
from ganzoo.errors import RecipeError
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.restore import build_experiment
from ganzoo.registry.lookup import registry


def with_labels(count: int) -> list[str]:
    """Overrides for a conditional GAN; the generator is what matters here, so any head will do that takes labels."""
    known = registry()
    for name in known.names("head"):
        if known.get("head", name).uses_labels:
            given = [f"labels={count}", f"discriminator.head={name}"]
            with suppress(RecipeError):
                small("stylegan2-tiny", *given)
                return given
    raise LookupError("no head takes labels")


def untrained(folder: Path, name: str, *overrides: str, images: int = 0) -> Path:
    """A snapshot of a shrunk recipe."""
    node = small(name, *overrides)
    torch.manual_seed(0)
    made = build_experiment(node)
    with torch.no_grad():
        for key, tensor in [*made.G.named_parameters(), *made.G.named_buffers()]:
            if key.endswith(("strength", "w_mean", "bias")):  # zero in the beginning
                tensor.add_(torch.randn_like(tensor) * 0.3)
    weights = {n: t for net, m in {"G_ema": made.G, "G": made.G, "D": made.D}.items() for n, t in items(net, m)}
    path = folder / f"{name}-{len(list(folder.iterdir()))}.safetensors"
    checkpoint.write(path, weights, Header("snapshot", node.dump(), images))
    return path


def items(net: str, module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, tensor.clone()) for name, tensor in checkpoint.prefixed(net, module).items()]


def family(folder: Path, models: Mapping[str, Sequence[str]]) -> Callable[[str], Path]:
    """Snapshots by name, made when asked for: recipe and overrides, where "labels" makes a conditional one."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            recipe, *overrides = models[name]
            overrides = [o for item in overrides for o in (with_labels(3) if item == "labels" else [item])]
            made[name] = untrained(folder, recipe, *overrides, images=1500 if name == "growing" else 0)
        return made[name]

    return of
