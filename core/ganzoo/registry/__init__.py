"""Components by kind and name, from the installed plugins. Imports `ganzoo.errors` only, and needs no torch.

Read `component` first: it is the idiom of everything else. `plugin` finds plugins and commands, `lookup` holds classes.
"""

from ganzoo.registry.component import Component, Make, Options
from ganzoo.registry.lookup import Registry, registry

__all__ = ["Component", "Make", "Options", "Registry", "registry"]
