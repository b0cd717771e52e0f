"""From a foreign file to a snapshot: read it safely, convert it by an importer, check what came out, write it.

`ganzoo.foreign` reads, a plugin's importer converts plain data, and nothing here trusts either: the recipe is checked
like any, every parameter must be filled, every tensor of the file accounted for, and the first image must be finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganzoo.errors import CheckpointError, PluginError, RecipeError, ZooError
from ganzoo.foreign import torchfile
from ganzoo.foreign.pickles import quoted
from ganzoo.gan.gan import Gan
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header, Tensors
from ganzoo.model.model import load
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.index import index
from ganzoo.recipe.loading import checked
from ganzoo.recipe.node import Node, component_from, versions
from ganzoo.recipe.source import Source, to_yaml
from ganzoo.registry.lookup import registry
from ganzoo_import.interfaces import Converted, Importer

AUTO = "auto"
NETS = ("G", "D", "G_ema")


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Args:
        importer: the name of the format
        node: the checked recipe
        converted: what the importer gave
        counts: parameters of G and D
        like: shipped architectures of the same size and counts
    """

    importer: str
    node: Node
    converted: Converted
    counts: dict[str, int]
    like: tuple[str, ...]

    @property
    def tensors(self) -> Tensors:
        """The snapshot's tensors, each with memory of its own."""
        nets = self.converted.nets
        return {f"{net}.{name}": t.detach().clone() for net, state in nets.items() for name, t in state.items()}

    def yaml(self) -> str:
        """The filled recipe."""
        return to_yaml(self.node.dump())


def convert(
    path: Path, name: str = AUTO, options: Mapping[str, Any] | None = None, discriminator: Path | None = None
) -> Imported:
    """Read a foreign file and make it ours, in memory. Raises ZooErrors of one sentence; runs nothing of the file.

    Args:
        path: the file
        name: the importer, or "auto" for the one that recognises the file
        options: of the importer
        discriminator: a second file, of projects that keep the discriminator apart
    """
    known = registry()
    names = known.names("importer") if name == AUTO else [name]
    made: dict[str, Importer] = {}
    for each in names:
        given = options if options and name != AUTO else {}
        made[each] = component_from("importer", {"use": each, **(given or {})}, known).bind()()
    allowed = frozenset[str]().union(*(importer.globals for importer in made.values()))
    found = torchfile.read(path, allowed)
    if discriminator is not None:
        found = {"G": found, "D": torchfile.read(discriminator, allowed)}
    chosen = recognised(path, found, made)
    if name == AUTO and options:
        made[chosen] = component_from("importer", {"use": chosen, **options}, known).bind()()
    try:
        converted = made[chosen].convert(found)
    except CheckpointError as err:
        raise CheckpointError(f"{path}: {err}") from None
    except ZooError:
        raise
    except Exception as err:  # an importer met data that only look like its format
        raise CheckpointError(
            f"{path}: it is damaged, or not what '{chosen}' expects ({type(err).__name__}: {quoted(err)})."
        ) from None
    return _checked(path, chosen, converted, sum(1 for _ in torchfile.tensors(found)))


def recognised(path: Path, found: Any, importers: Mapping[str, Importer]) -> str:
    """The name of the one importer that recognises the data."""
    names = [name for name, importer in importers.items() if _sees(name, importer, found)]
    if len(names) == 1:
        return names[0]
    if names:
        raise CheckpointError(f"{path}: it may be of {' or '.join(names)}: say which with --from.")
    keys = ", ".join(quoted(key) for key in list(found)[:6]) if isinstance(found, dict) else "it is no dictionary"
    known = registry().names("importer")
    raise CheckpointError(
        f"{path}: it does not look like {' or '.join(importers) or 'any format'} (its keys: {keys or 'none'}). Known: "
        f"{', '.join(known) or 'none'}; a plugin may add others."
    )


def _sees(name: str, importer: Importer, found: Any) -> bool:
    try:
        return bool(importer.recognises(found))
    except Exception as err:
        owner = registry().owner(type(importer))
        raise PluginError(
            f"plugin '{owner}': its importer '{name}' fails to look at data ({type(err).__name__}: {quoted(err)}): "
            "choose another with --from."
        ) from None


def _checked(path: Path, name: str, converted: Converted, total: int) -> Imported:
    """The recipe bound, the weights compared with its networks, the file's tensors counted."""
    node, made = _built(path, converted.recipe)
    if "G_ema" not in converted.nets or converted.nets.keys() - set(NETS):
        raise CheckpointError(f"{path}: '{name}' gives the networks {', '.join(converted.nets) or 'none'}, not G_ema.")
    for net, state in converted.nets.items():
        given = {f"{net}.{key}": tensor for key, tensor in state.items()}
        checkpoint.matching_tensors(made.D if net == "D" else made.G, given, net, path)
    told = {*converted.used, *converted.unused}
    if len(told) != len(converted.used) + len(converted.unused) or len(told) != total:
        raise CheckpointError(
            f"{path}: it holds {total:,} tensors, and '{name}' accounts for {len(told):,}: some would be lost, so "
            "nothing was written."
        )
    counts = {"G": _parameters(made.G), "D": _parameters(made.D)}
    return Imported(name, node, converted, counts, _alike(counts, made.shape.size, converted.nets))


def _built(path: Path, recipe: dict[str, Any]) -> tuple[Node, Gan]:
    """The checked recipe and its networks, without memory."""
    source = Source(recipe, name="its recipe")
    try:
        node = checked(source)
        with torch.device("meta"):
            made = build_experiment(node)
        if not isinstance(made, Gan):
            raise RecipeError(f"'{made.name}' is no GAN")
        return node, made
    except (RecipeError, RuntimeError, ArithmeticError, ValueError, TypeError, MemoryError) as err:
        raise CheckpointError(
            f"{path}: what it says of its networks cannot be built ({'; '.join(str(err).splitlines())[:400]})."
        ) from None


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _alike(counts: Mapping[str, int], size: Sequence[int], nets: Mapping[str, Any]) -> tuple[str, ...]:
    """Shipped architectures of this size whose networks, of those that the file holds, have as many parameters."""
    present = ["G", *(["D"] if "D" in nets else [])]
    rows = [row for row in index()["recipes"] if row.get("size") == list(size)]
    return tuple(row["name"] for row in rows if all(row.get(net) == counts[net] for net in present))


def save(imported: Imported, path: Path) -> None:
    """Write the snapshot, load it again and draw seed 0. Raises CheckpointError where that image is not finite."""
    head = Header("snapshot", imported.node.dump(), imported.converted.images, versions=versions(imported.node))
    checkpoint.write(path, imported.tensors, head)
    try:
        model = load(path, "cpu")
        image = model.images([0], label=0 if model.G.labels else None)
        if not bool(torch.isfinite(image).all()):
            raise CheckpointError(f"{path}: its first image is not finite: the weights are damaged, nothing was kept.")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
