"""Recipe files: found by path or name, merged with the recipes they extend, changed by `--set KEY=VALUE`."""

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

from ganzoo.errors import RecipeError, did_you_mean
from ganzoo.recipe.node import ROOT
from ganzoo.recipe.source import Source, Where, load_yaml, parse_key, parse_value, to_json, to_yaml
from ganzoo.recipe.swap import kept_slots
from ganzoo.registry import plugin as plugins
from ganzoo.registry.arguments import checked_arguments

NAMED = 6  # recipes that a message suggests
SHOWN = 300  # characters of a setting that a message repeats


@checked_arguments
def find(reference: str) -> Path:
    """A recipe by path, or by the name of an architecture that a plugin ships."""
    path = Path(reference)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise RecipeError(f"no recipe file {reference}.")
        return path
    installed = [(plugin, list(plugin.recipes())) for plugin in plugins.installed()]
    shipped = {p.stem: p for _, paths in reversed(installed) for p in paths}
    shipped |= {f"{plugin.name}:{p.stem}": p for plugin, paths in installed for p in paths}
    if reference not in shipped:
        names = sorted(n for n in shipped if ":" not in n)
        family = [name for name in names if re.match(rf"{re.escape(reference.lower())}(?![^\W_])", name)]
        others = f", and {len(family) - NAMED} more" if len(family) > NAMED else ""
        suggestion = f" Did you mean {', '.join(family[:NAMED])}{others}?" if family else did_you_mean(reference, names)
        command = f"gz recipe list {reference.lower()}" if family else "gz recipe list"
        raise RecipeError(f"no recipe file or architecture '{reference}'.{suggestion} See '{command}'.")
    return shipped[reference]


@checked_arguments
def read(reference: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Source:
    """A recipe with its parents merged in and the overrides (`a.b.0.c=value`) applied.

    Args:
        reference: the name of an architecture, a file, or the recipe's own tree as Python values
        overrides: applied in order
    """
    if isinstance(reference, Mapping):
        tree = json.loads(to_json(reference, "recipe"))
        places = dict.fromkeys(_places(tree, ()), "recipe")
        source = _extended(Source(tree, places, text=to_yaml(tree), own=deepcopy(tree)), Path(), ())
    else:
        source = _read(find(str(reference)), ())
    return override(source, overrides)


@checked_arguments
def override(source: Source, items: Sequence[str]) -> Source:
    """Return a copy of a recipe with overrides (`a.b.0.c=value`) applied in order. Raises RecipeError."""
    changed = replace(source, tree=deepcopy(source.tree), origins=dict(source.origins))
    for item in items:
        _override(changed, item)
    return changed


def _places(tree: Any, where: Where) -> Iterator[Where]:
    """Paths of all values in a tree, its own included."""
    yield where
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for step, value in entries:
        yield from _places(value, (*where, step))


def _read(path: Path, seen: tuple[Path, ...]) -> Source:
    if path.resolve() in seen:
        raise RecipeError("the recipe extends itself.", origin=str(path))
    return _extended(load_yaml(path), path.parent, (*seen, path.resolve()))


def _extended(source: Source, folder: Path, seen: tuple[Path, ...]) -> Source:
    """A recipe merged into the parent that it names, by a path from `folder` or by an architecture's name."""
    parent = source.tree.pop("extends", None)
    if parent is None:
        return source
    if not isinstance(parent, str):
        raise source.fail(("extends",), f"one architecture or one path is extended, got {parent!r}.")
    beside = folder / parent
    try:
        target = beside if beside.is_file() else find(parent)
    except RecipeError as err:
        raise source.locate(err, ("extends",)) from None
    base = _read(target, seen)
    source.tree.setdefault("use", base.tree.setdefault("use", ROOT))
    return replace(source, tree=_merge(base, source, ()), origins=base.origins | source.origins)


def _merge(base: Source, over: Source, where: Where) -> Any:
    """Maps merge key by key; another component keeps what is in slots that both have; everything else is replaced."""
    a, b = _at(base.tree, where), _at(over.tree, where)
    if isinstance(a, str) and isinstance(b, dict) and b.get("use", a) == a:
        a = {"use": a}
    if not (isinstance(a, dict) and isinstance(b, dict)) or b.get("use", a.get("use")) != a.get("use"):
        kept = kept_slots(base.tree, where, a, b)
        _forget_origins(base, where, kept)
        return ({"use": b} if isinstance(b, str) else b) | kept if kept else b
    keys = [*a, *(k for k in b if k not in a)]
    return {k: a[k] if k not in b else b[k] if k not in a else _merge(base, over, (*where, k)) for k in keys}


def _forget_origins(source: Source, where: Where, kept: Container[str | int]) -> None:
    """Drop where the values below a path were written, but for those in the slots that are kept."""
    n = len(where)
    for old in [w for w in source.origins if w[:n] == where and w != where and w[n] not in kept]:
        del source.origins[old]


def _at(tree: Any, where: Where) -> Any:
    for step in where:
        tree = tree[step] if not isinstance(tree, str) else {"use": tree}.get(str(step))
    return tree


def _override(source: Source, item: str) -> None:
    key, equals, text = item.partition("=")
    flag = f"--set {' '.join(item.splitlines())}"
    flag = flag if len(flag) <= SHOWN else f"{flag[:SHOWN]}..."
    if not equals or not key:
        raise RecipeError(cure="write it as path.to.option=value", origin=flag)
    *parents, last = parse_key(key, flag)
    value = parse_value(text, flag)
    place: Any = source.tree
    where: Where = ()
    for name in parents:
        step = _step(place, name, flag, where)
        where = (*where, step)
        if isinstance(place, dict) and isinstance(place.get(step), str | NoneType):
            source.origins[where] = flag
        place = _enter(place, step, flag, where)
    step = _step(place, last, flag, where)
    if step == "use" and place.get("use") != value:
        kept = kept_slots(source.tree, where, place, {"use": value})
        place.clear()  # another component: the options of the former do not apply
        place.update(kept)
        _forget_origins(source, where, kept)
        source.origins[where] = flag
    former = place[int(step)] if isinstance(place, list) else place.get(step)
    where = (*where, step)
    kept = kept_slots(source.tree, where, former, value)
    place[step] = ({"use": value} if isinstance(value, str) else value) | kept if kept else value
    _forget_origins(source, where, kept)
    source.origins[where] = flag


def _step(place: Any, step: str | int, flag: str, where: Where) -> str | int:
    """A step of an override's path as the key of a map, or as the index of an entry that a list has."""
    path = ".".join(map(str, where))
    if not isinstance(place, list):
        if isinstance(step, int):  # it was written in brackets
            fault = f"{path} is no list that the recipe writes out"
            raise RecipeError(fault, cure=f"set {path} as a whole", origin=flag)
        return step
    index = int(step) if re.fullmatch(r"[0-9]{1,9}", str(step)) else None
    if index is None or index >= len(place):
        entries = f"{path} has {len(place)} entries" + (f", 0 to {len(place) - 1}." if place else ".")
        raise RecipeError(f"no such place in the recipe: {entries}", origin=flag)
    return index


def _enter(place: Any, step: str | int, flag: str, where: Where) -> Any:
    """Step into a map or list; a component written as a bare name becomes a map, an unwritten one begins empty."""
    if isinstance(place, dict) and place.get(str(step)) is None:
        place[step] = {}
    if isinstance(place[step], str):
        place[step] = {"use": place[step]}
    if not isinstance(place[step], dict | list):
        fault = f"no such place in the recipe: {'.'.join(map(str, where))} is {place[step]!r}."
        raise RecipeError(fault, origin=flag)
    return place[step]
