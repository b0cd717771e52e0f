"""A kind of its own, palettes, and an augmentation with a slot for one."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    from gz_palette.augment import Recolour
    from gz_palette.palettes import Poster, Ramp

    return [Ramp, Poster, Recolour]
