"""ganzoo: a zoo of GAN architectures in which every part is a plugin. Importing this package does not import torch.

From a checkpoint to a picture:

    import ganzoo

    model = ganzoo.load("snapshot.safetensors")
    model.sample(seeds=[1, 2])[0].save("one.png")

load        a checkpoint as a Model, for sampling and style codes
Model       a trained generator
recipe      recipes: read, check, build (a subpackage)
registry    every installed component (a subpackage)
interfaces  the abstract class of every kind of component (a subpackage)
hookimpl    marks the hook of a plugin
Make        the type of a slot: a factory that a recipe chose
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.registry.component import Make
from ganzoo.registry.plugin import API, hookimpl
from ganzoo.version import __version__

if TYPE_CHECKING:
    from ganzoo import interfaces, recipe, registry
    from ganzoo.model.model import Model, load

__all__ = ["API", "Make", "Model", "__version__", "hookimpl", "interfaces", "load", "recipe", "registry"]

_LAZY = {"Model": "ganzoo.model.model", "load": "ganzoo.model.model"}
_PACKAGES = ("interfaces", "recipe", "registry")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _PACKAGES:
        return import_module(f"ganzoo.{name}")
    raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
