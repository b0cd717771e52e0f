"""Slots that keep their components where another component of the same kind takes the place of their owner."""

from collections.abc import Mapping
from typing import Any

from ganzoo.errors import PluginError, UnknownComponent
from ganzoo.recipe.node import ROOT, ROOT_KIND, named
from ganzoo.recipe.source import Where
from ganzoo.registry.component import Component, default_of, options, slots
from ganzoo.registry.lookup import Registry, registry


def kept_slots(tree: Mapping[str, Any], where: Where, old: Any, new: Any) -> dict[str, Any]:
    """Return the values of those slots of a component that its successor needs too, of equal name and kind.

    A synthesis network of another topology keeps stem, block and to_rgb so. Where the successor has a default for a
    slot, that stands, as its options do.

    Args:
        tree: the whole recipe
        where: path of the component
        old: its tree
        new: the tree of its successor, or its name; what it writes itself is not among the result

    The result is empty where either is anything else.
    """
    new = {"use": new} if isinstance(new, str) else new
    if not (isinstance(old, Mapping) and isinstance(new, Mapping) and "use" in new):
        return {}
    known = registry()
    try:
        kind, former = _component(tree, where, known)
        successor, _ = named(kind, str(new["use"]), known)
    except (UnknownComponent, PluginError, KeyError, TypeError, IndexError, AttributeError):
        return {}  # which the recipe's own check says with file and line
    before, fields = slots(former), options(successor).model_fields
    return {
        name: old[name]
        for name, slot in slots(successor).items()
        if fields[name].is_required() and name in old and name not in new and before.get(name) == slot
    }


def _component(tree: Mapping[str, Any], where: Where, known: Registry) -> tuple[str, type[Component]]:
    """Kind and class of the component at a path. Raises UnknownComponent, PluginError, or as subscription does."""
    kind, place = ROOT_KIND, dict(tree)
    cls, _ = named(kind, str(tree.get("use", ROOT)), known)
    for step in where:
        if isinstance(step, int):
            inner: Any = place[step]  # type: ignore[index]
            default = None
        else:
            slot = slots(cls)[step]
            kind, default = slot.kind, options(cls).model_fields[step].default
            inner = place.get(step)
            if slot.many:
                place = inner
                continue
        inner = {"use": inner} if isinstance(inner, str) else inner
        preset = default_of(default)
        cls = named(kind, str(inner["use"]), known)[0] if inner and "use" in inner else preset[0]  # type: ignore[index]
        place = inner or {}
    return kind, cls
