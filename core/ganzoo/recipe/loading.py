"""The one way from a recipe to a tree that can be built."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import RecipeError
from ganzoo.recipe.merge import read
from ganzoo.recipe.node import Node, parse
from ganzoo.recipe.source import Source
from ganzoo.registry.arguments import checked_arguments
from ganzoo.registry.lookup import registry


@checked_arguments
def load(reference: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Node:
    """Read a recipe, check its options, and apply the rules across slots. Raises RecipeError."""
    return checked(read(reference, overrides))


def checked(source: Source) -> Node:
    """Parse a tree and apply the rules of what it describes. Raises RecipeError with a line for each fault."""
    node = parse(source, registry())
    root: Any = node.cls  # an Experiment, whose module needs torch; this one does not
    faults = [source.locate(fault, fault.path) for fault in root.faults(node)]
    if faults:
        raise RecipeError(faults=faults)
    return node
