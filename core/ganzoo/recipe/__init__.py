"""From YAML to a checked tree to objects. Imports interfaces, io, registry and below; importing it needs no torch.

Read `node` first: `parse` makes the tree, `Node.bind` the objects. From Python:

load       a recipe, by name, path or mapping, as a checked tree
component  one component by itself, its options checked
"""

from ganzoo.recipe.factory import component
from ganzoo.recipe.loading import checked, load
from ganzoo.recipe.merge import find, override, read
from ganzoo.recipe.node import Node, component_from, parse
from ganzoo.recipe.source import Source, load_yaml, to_yaml

__all__ = [
    "Node",
    "Source",
    "checked",
    "component",
    "component_from",
    "find",
    "load",
    "load_yaml",
    "override",
    "parse",
    "read",
    "to_yaml",
]
