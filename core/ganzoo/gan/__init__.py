"""The GAN: its recipe, its networks from slots, its training step and its rules. Imports training and below.

Read `trainer` first: `Trainer.step` is the algorithm.
"""

from ganzoo.registry.plugin import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """Return the components of a recipe's top level."""
    from ganzoo.gan.discriminator import ComposedDiscriminator
    from ganzoo.gan.gan import Gan
    from ganzoo.gan.generator import ComposedGenerator

    return [ComposedGenerator, ComposedDiscriminator, Gan]
