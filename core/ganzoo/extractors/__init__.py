"""Fixed networks through which metrics, perceptual distances and style transfer see images. Imports foreign and below.

Read `conv_random` first: it needs no file.
"""

from ganzoo.registry.plugin import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """The extractors that more than one family uses."""
    from ganzoo.extractors.conv_random import ConvRandom
    from ganzoo.extractors.pixel import Pixel
    from ganzoo.extractors.vgg import VGG16, VGG19
    from ganzoo.extractors.vgg_normalised import NormalisedVGG19

    return [Pixel, ConvRandom, VGG16, VGG19, NormalisedVGG19]
