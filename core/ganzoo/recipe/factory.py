"""One component by itself, from Python, with its options checked as those of a recipe are."""

import json
from functools import partial
from typing import Any

from ganzoo.errors import UnknownComponent, did_you_mean
from ganzoo.recipe.node import component_from
from ganzoo.recipe.source import to_json
from ganzoo.registry.arguments import checked_arguments
from ganzoo.registry.lookup import registry


@checked_arguments
def component(kind: str, name: str, /, **options: Any) -> "partial[Any]":
    """Return a factory of a component, which takes the sizes that the component is built with, if any.

    `component("layer", "modconv", clamp=256)(64, 32, 512, (16, 16), True)` is a torch module. A slot takes what a
    recipe may write there: a name, or a mapping with `use`.

    Args:
        kind: the slot that it fits, as `layer`, `loss` or `metric`; `gz components list` shows all
        name: its name, or `plugin:name`
        options: those of its signature; what is left out has its default

    Raises:
        RecipeError: where the kind or the name is unknown, or an option is unknown, missing or has a value that it
            cannot have
    """
    known = registry()
    kinds = sorted({cls.kind for cls in known})
    if kind not in kinds:
        raise UnknownComponent(f"there is no kind '{kind}'.{did_you_mean(kind, kinds)} Known: {', '.join(kinds)}.")
    raw = json.loads(to_json(options, f"{kind} {name}"))
    return component_from(kind, {**raw, "use": name}, known).bind()
