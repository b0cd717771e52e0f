"""Style transfer: the statistics of feature maps that make up a style, moved from one image to another."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """Transfers and their training, and what of a layer is style."""
    from ganzoo_style_transfer.adain import AdaINTransfer
    from ganzoo_style_transfer.adain_training import AdaINTraining
    from ganzoo_style_transfer.gatys import Gatys
    from ganzoo_style_transfer.style_statistics import BatchNormStatistics, GaussianMMD, Gram, LinearMMD, PolynomialMMD

    statistics = [Gram, BatchNormStatistics, LinearMMD, PolynomialMMD, GaussianMMD]
    return [Gatys, AdaINTransfer, AdaINTraining, *statistics]
