"""Conversion of a foreign file into a snapshot: read it, convert it by an importer, check the result, write it.

`ganzoo.foreign` reads the file and an importer converts plain data; neither is trusted. The recipe is checked, every
parameter must be filled, every tensor of the file accounted for, and the first image must be finite.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from ganzoo.recipe.merge import override
from ganzoo.recipe.node import Node, component_from, versions
from ganzoo.recipe.source import Source, to_yaml
from ganzoo.registry.component import option_parameters
from ganzoo.registry.lookup import registry
from ganzoo_import.interfaces import Converted, Importer
from ganzoo_import.prepare import missing_buffers, single_precision

AUTO = "auto"
NETS = ("G", "D", "G_ema")


@dataclass(frozen=True)
class Imported:
    """A converted and checked file.

    Args:
        importer: name of the format
        node: the checked recipe
        converted: the importer's result
        counts: number of parameters of G and D
        like: recipes in the index with the same image size and numbers of parameters
    """

    importer: str
    node: Node
    converted: Converted
    counts: dict[str, int]
    like: tuple[str, ...]

    @property
    def tensors(self) -> Tensors:
        """The snapshot's tensors, copied so that none share memory."""
        nets = self.converted.nets
        return {f"{net}.{name}": t.detach().clone() for net, state in nets.items() for name, t in state.items()}

    def yaml(self) -> str:
        """The filled recipe."""
        return to_yaml(self.node.dump())


def convert(
    path: Path, name: str = AUTO, options: Mapping[str, Any] | None = None, discriminator: Path | None = None
) -> Imported:
    """Read and convert a foreign file, in memory and without running anything in it. Raises ZooError.

    Args:
        path: the file
        name: the importer, or "auto" for the one that recognises the file
        options: options of the importer, and values of the recipe by dotted paths, such as regularizers.0.gamma
        discriminator: a second file, for projects that save the discriminator separately
    """
    names = registry().names("importer") if name == AUTO else [name]
    importers = {each: _importer(each, None) for each in names}
    allowed = frozenset[str]().union(*(importer.globals for importer in importers.values()))
    data = torchfile.read(path, allowed)
    if discriminator is not None:
        data = {"G": data, "D": torchfile.read(discriminator, allowed)}
    recognised_name = recognise(path, data, importers)
    own, training = _divided(importers[recognised_name], options or {})
    importer = _importer(recognised_name, own)
    try:
        data, notes = single_precision(data)
        converted = importer.convert(data)
        converted = replace(converted, notes=(*notes, *converted.notes))
    except CheckpointError as err:
        raise err.at(f"{path}:") from None
    except ZooError as err:
        raise CheckpointError(f"{path}: '{recognised_name}' cannot convert it: {quoted(err)}.") from None
    except Exception as err:  # data that only resemble the importer's format
        raise CheckpointError(
            f"{path}: it is damaged, or not what '{recognised_name}' expects ({type(err).__name__}: {quoted(err)})."
        ) from None
    if training:
        converted = replace(converted, recipe=_overridden(converted.recipe, training))
    return _checked(path, recognised_name, converted, sum(1 for _ in torchfile.tensors(data)))


def _importer(name: str, options: Mapping[str, Any] | None) -> Importer:
    importer: Importer = component_from("importer", {"use": name, **(options or {})}, registry()).bind()()
    return importer


def _divided(importer: Importer, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of the importer, options of the recipe), by the first word of their keys."""
    recipe = option_parameters(Gan).keys() - option_parameters(type(importer)).keys()
    training = {key: value for key, value in options.items() if key.partition(".")[0] in recipe}
    return {key: value for key, value in options.items() if key not in training}, training


def _overridden(recipe: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with other values, by dotted paths. Raises RecipeError or UsageError that names the option."""
    source = override(Source(recipe, name="its recipe"), [f"{key}={json.dumps(v)}" for key, v in options.items()])
    checked(source)
    return source.tree


def recognise(path: Path, data: Any, importers: Mapping[str, Importer]) -> str:
    """Name of the only importer that recognises the data. Raises CheckpointError if none or several do."""
    names = [name for name, importer in importers.items() if _recognises(name, importer, data)]
    if len(names) == 1:
        return names[0]
    if names:
        raise CheckpointError(f"{path}: it may be of {' or '.join(names)}: say which with --from.")
    keys = ", ".join(quoted(key) for key in list(data)[:6]) if isinstance(data, dict) else "it is no dictionary"
    known = registry().names("importer")
    raise CheckpointError(
        f"{path}: it does not look like {' or '.join(importers) or 'any format'} (its keys: {keys or 'none'}). Known: "
        f"{', '.join(known) or 'none'}; a plugin may add others."
    )


def _recognises(name: str, importer: Importer, data: Any) -> bool:
    try:
        return bool(importer.recognises(data))
    except Exception as err:
        owner = registry().owner(type(importer))
        raise PluginError(
            f"plugin '{owner}': its importer '{name}' fails to look at data ({type(err).__name__}: {quoted(err)}): "
            "choose another with --from."
        ) from None


def _checked(path: Path, name: str, converted: Converted, total: int) -> Imported:
    """Build the recipe's networks, match the weights with them, and count the file's tensors."""
    node, gan = _built(path, converted.recipe)
    if "G_ema" not in converted.nets or converted.nets.keys() - set(NETS):
        raise CheckpointError(f"{path}: '{name}' gives the networks {', '.join(converted.nets) or 'none'}, not G_ema.")
    notes = missing_buffers(gan.G, {net: state for net, state in converted.nets.items() if net != "D"})
    converted = replace(converted, notes=(*notes, *converted.notes))
    for net, state in converted.nets.items():
        tensors = {f"{net}.{key}": tensor for key, tensor in state.items()}
        checkpoint.matching_tensors(gan.D if net == "D" else gan.G, tensors, net, path)
    listed = {*converted.used, *converted.unused}
    if len(listed) != len(converted.used) + len(converted.unused) or len(listed) != total:
        raise CheckpointError(
            f"{path}: it holds {total:,} tensors, and '{name}' accounts for {len(listed):,}: some would be lost, so "
            "nothing was written."
        )
    counts = {"G": _parameters(gan.G), "D": _parameters(gan.D)}
    return Imported(name, node, converted, counts, _alike(counts, gan.shape.size, converted.nets))


def _built(path: Path, recipe: dict[str, Any]) -> tuple[Node, Gan]:
    """The checked recipe and its networks, on the meta device."""
    source = Source(recipe, name="its recipe")
    try:
        node = checked(source)
        with torch.device("meta"):
            gan = build_experiment(node)
        if not isinstance(gan, Gan):
            raise RecipeError(f"'{gan.name}' is no GAN")
        return node, gan
    except RecipeError as err:
        faults = [str(fault) for fault in err.faults]
    except (RuntimeError, ArithmeticError, ValueError, TypeError, MemoryError) as err:
        faults = str(err).splitlines()
    raise CheckpointError(f"{path}: what it says of its networks cannot be built ({'; '.join(faults)[:400]}).")


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _alike(counts: Mapping[str, int], size: Sequence[int], nets: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of recipes of this size whose networks have as many parameters as those in the file."""
    present = ["G", *(["D"] if "D" in nets else [])]
    rows = [row for row in index()["recipes"] if row.get("size") == list(size)]
    return tuple(row["name"] for row in rows if all(row.get(net) == counts[net] for net in present))


def save(imported: Imported, path: Path) -> None:
    """Write the snapshot, load it and generate seed 0. Raises CheckpointError if the image is not finite."""
    header = Header("snapshot", imported.node.dump(), imported.converted.images, versions=versions(imported.node))
    checkpoint.write(path, imported.tensors, header)
    try:
        model = load(path, "cpu")
        image = model.images([0], label=0 if model.G.labels else None)
        if not bool(torch.isfinite(image).all()):
            raise CheckpointError(f"{path}: its first image is not finite: the weights are damaged, nothing was kept.")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
