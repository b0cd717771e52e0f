"""The GAN: its recipe, its training step, its rules and faults. May import training and everything below it.

Read `trainer` first: `Trainer.step` is the algorithm.
"""

from ganzoo.registry.plugin import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """What a recipe's top level is built of."""
    from ganzoo.gan.discriminator import ComposedDiscriminator
    from ganzoo.gan.gan import Gan
    from ganzoo.gan.generator import ComposedGenerator

    return [ComposedGenerator, ComposedDiscriminator, Gan]
