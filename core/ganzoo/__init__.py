"""A zoo of GAN architectures in which every part is a plugin.

Importing this package does not import torch. A training and a picture:

    import ganzoo

    run = ganzoo.train("stylegan2-tiny", data="photos/", kimg=50)
    run.model.sample(seeds=[1, 2])[0].save("one.png")
    ganzoo.measure(run.model, "swd")

For users (docs/python.md):

load        a checkpoint as a Model
Model       a trained generator: images, style codes, truncation, mixing
train       what `gz train` does; returns the run
measure     what `gz metrics` does; returns a record for each metric
recipe      recipes: load, check, build; `recipe.component` builds one component alone

For plugins (docs/plugins.md):

interfaces  the abstract class of every kind of component
registry    all installed components by kind and name
Make        the type of a slot: a factory that a recipe chose
hookimpl    marks the hook of a plugin

All else is private. Whoever reads the code begins with docs/architecture.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ganzoo.registry.component import Make
from ganzoo.registry.plugin import hookimpl
from ganzoo.version import __version__

if TYPE_CHECKING:
    from ganzoo import interfaces, recipe, registry
    from ganzoo.model.model import Model, load
    from ganzoo.runs.api import measure, train

__all__ = [
    "Make",
    "Model",
    "__version__",
    "hookimpl",
    "interfaces",
    "load",
    "measure",
    "recipe",
    "registry",
    "train",
]

_LAZY = {  # imported at first use, since they need torch
    "Model": "ganzoo.model.model",
    "load": "ganzoo.model.model",
    "measure": "ganzoo.runs.api",
    "train": "ganzoo.runs.api",
}
_PACKAGES = ("interfaces", "recipe", "registry")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"ganzoo.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
