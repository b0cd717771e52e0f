"""What there is: components by kind and name, from the installed plugins. Imports only `ganzoo.errors`; needs no torch.

Read `component` first: it is the idiom of all that follows.
"""

from ganzoo.registry.component import Component, Make, Options
from ganzoo.registry.lookup import Registry, registry

__all__ = ["Component", "Make", "Options", "Registry", "registry"]
