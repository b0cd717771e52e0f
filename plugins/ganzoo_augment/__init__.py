"""Augmentation of the images that the discriminator gets, for training on few images.

ADA and DiffAugment; both draw transformations and apply them to all scales alike. Imports `ganzoo` only; read `ada`,
then `transforms`.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List adaptive and differentiable augmentation."""
    from ganzoo_augment import ada, diffaugment

    return [ada.ADA, diffaugment.DiffAugment]
