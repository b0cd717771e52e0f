"""From YAML to a checked tree to objects. Imports registry, io and interfaces; `import ganzoo.recipe` needs no torch.

Read `node` first: `parse` makes the tree, `Node.bind` the objects.
"""

from ganzoo.recipe.loading import checked, load
from ganzoo.recipe.merge import find, read
from ganzoo.recipe.node import Node, component_from, parse
from ganzoo.recipe.source import Source, load_yaml, to_yaml

__all__ = ["Node", "Source", "checked", "component_from", "find", "load", "load_yaml", "parse", "read", "to_yaml"]
