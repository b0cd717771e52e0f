"""Freeze-D: the first layers of a discriminator keep the weights that they were given (arXiv:2002.10964)."""

from torch import nn

from ganzoo.errors import RecipeError
from ganzoo.gan.discriminator import ComposedDiscriminator


def first_layers(D: nn.Module, count: int) -> dict[str, nn.Parameter]:
    """Return the parameters, by name, of a discriminator's first `count` layers, counted from the image.

    A layer is a module with a kernel of its own, in the order from_rgb, then each block's: in a residual block the two
    convolutions, then the shortcut. A block's norms belong to its last layer. The head is never frozen.

    Raises RecipeError where there are not so many layers.
    """
    if not count:
        return {}
    if not isinstance(D, ComposedDiscriminator):
        raise RecipeError(f"training.freeze_d: {count}: only the discriminator 'composed' says what its layers are.")
    layers: list[list[str]] = []
    for level in reversed(range(len(D.shape.sizes))):
        if str(level) in D.trunk.from_rgb:
            layers += _layers(f"trunk.from_rgb.{level}", D.trunk.from_rgb[str(level)])
        if level:
            layers += _layers(f"trunk.blocks.{level - 1}", D.trunk.blocks[level - 1])
    if count > len(layers):
        raise RecipeError(
            f"training.freeze_d: {count}: this discriminator has {len(layers)} layers before its head: choose from 0 "
            f"to {len(layers)}."
        )
    parameters = dict(D.named_parameters())
    return {name: parameters[name] for layer in layers[:count] for name in layer}


def _layers(prefix: str, part: nn.Module) -> list[list[str]]:
    """Names of the parameters of each layer of a part of a discriminator, under a prefix."""
    layers: list[list[str]] = []
    without_kernel: list[str] = []
    for place, module in part.named_modules(prefix=prefix):
        parameters = dict(module.named_parameters(recurse=False))
        names = [f"{place}.{name}" for name in parameters]
        if any(p.ndim > 1 for p in parameters.values()):
            layers.append(names)
        else:
            without_kernel += names
    if not layers:
        return [without_kernel] if without_kernel else []
    return [*layers[:-1], layers[-1] + without_kernel]
