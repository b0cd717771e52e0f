"""TODO docstring."""

from torch import nn

from ganzoo.errors import RecipeError
from ganzoo.gan.discriminator import ComposedDiscriminator


def first_layers(D: nn.Module, count: int) -> dict[str, nn.Parameter]:
    """The parameters of a discriminator's first layers, counted from the image, by name (Freeze-D, arXiv:2002.10964).

    A layer is what has a kernel of its own, in the order from_rgb, then each block's: of a residual block the two
    convolutions, then the shortcut. A block's norms go with its last layer. The head is never frozen. Raises
    RecipeError where there are not so many layers.
    """
    if not count:
        return {}
    if not isinstance(D, ComposedDiscriminator):
        raise RecipeError(f"training.freeze_d: {count}: only the discriminator 'composed' says what its layers are.")
    layers: list[list[str]] = []
    for level in reversed(range(len(D.shape.sizes))):
        inputs = {f"trunk.from_rgb.{level}": D.trunk.from_rgb[str(level)]} if str(level) in D.trunk.from_rgb else {}
        blocks = {f"trunk.blocks.{level - 1}": D.trunk.blocks[level - 1]} if level else {}
        for place, part in (inputs | blocks).items():
            layers += _layers(place, part)
    if count > len(layers):
        raise RecipeError(
            f"training.freeze_d: {count}: this discriminator has {len(layers)} layers before its head: choose from 0 "
            f"to {len(layers)}."
        )
    parameters = dict(D.named_parameters())
    return {name: parameters[name] for layer in layers[:count] for name in layer}


def _layers(place: str, part: nn.Module) -> list[list[str]]:
    """Names of the parameters of each layer of a part of a discriminator."""
    found: list[list[str]] = []
    others: list[str] = []
    for at, module in part.named_modules(prefix=place):
        own = dict(module.named_parameters(recurse=False))
        names = [f"{at}.{name}" for name in own]
        if any(p.ndim > 1 for p in own.values()):
            found.append(names)
        else:
            others += names
    if not found:
        return [others] if others else []
    return [*found[:-1], found[-1] + others]
