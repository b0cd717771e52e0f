"""Style transfer: the statistics of feature maps that make up a style, moved from one image to another."""

from ganzoo import hookimpl

GANZOO_API = 1


@hookimpl
def ganzoo_components() -> list[type]:
    """Transfers and their training, what they call a style, and the networks through which they look."""
    from ganzoo_transfer.adain import AdaINTransfer
    from ganzoo_transfer.eyes import VGG19, ConvRandom, NormalisedVGG19
    from ganzoo_transfer.gatys import Gatys
    from ganzoo_transfer.styles import BatchNormStatistics, GaussianMMD, Gram, LinearMMD, PolynomialMMD
    from ganzoo_transfer.training import AdaINTraining

    statistics = [Gram, BatchNormStatistics, LinearMMD, PolynomialMMD, GaussianMMD]
    return [Gatys, AdaINTransfer, AdaINTraining, *statistics, VGG19, NormalisedVGG19, ConvRandom]
