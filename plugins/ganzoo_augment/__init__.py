"""Augmentation of what the discriminator sees, for training on few images."""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """Adaptive and differentiable augmentation."""
    from ganzoo_augment import ada, diffaugment

    return [ada.ADA, diffaugment.DiffAugment]
