"""ganzoo: a zoo of GAN architectures in which every part is a plugin. Importing this package does not import torch.

In three lines, from a checkpoint to a picture:

    import ganzoo
    model = ganzoo.load("snapshot.safetensors")
    model.sample(seeds=[1, 2])[0].save("one.png")
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ganzoo.plugin import API, hookimpl

if TYPE_CHECKING:
    from ganzoo.model import Model, load

try:
    __version__ = version("ganzoo")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["API", "Model", "__version__", "hookimpl", "load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "Model"):
        from ganzoo import model

        return getattr(model, name)
    raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")
