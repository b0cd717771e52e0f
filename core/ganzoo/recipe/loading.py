"""The one way from a recipe to a tree that can be built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import RecipeError
from ganzoo.recipe.merge import read
from ganzoo.recipe.node import Node, parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry


def load(reference: str | Path, overrides: Sequence[str] = ()) -> Node:
    """Read a recipe, check its options, and apply the rules across slots. Raises RecipeError."""
    return checked(read(reference, overrides))


def checked(source: Source) -> Node:
    """Parse a tree and apply the rules of what it describes. Raises RecipeError with a line for each fault."""
    node = parse(source, registry())
    root: Any = node.cls  # an Experiment, whose module needs torch; this one does not
    faults = [str(source.fail(where, sentence)) for where, sentence in root.faults(node)]
    if faults:
        raise RecipeError("\n".join(faults))
    return node
