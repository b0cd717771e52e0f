"""Metrics of GANs."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """The metrics of this plugin, and the extractor that only metrics use."""
    from ganzoo_metrics.frechet import FID
    from ganzoo_metrics.inception import Inception
    from ganzoo_metrics.inception_score import InceptionScore
    from ganzoo_metrics.kid import KID
    from ganzoo_metrics.linsep import LinearSeparability
    from ganzoo_metrics.msssim import MSSSIM
    from ganzoo_metrics.ppl import PPL
    from ganzoo_metrics.precision_recall import PrecisionRecall
    from ganzoo_metrics.swd.swd import SWD

    return [SWD, MSSSIM, FID, KID, InceptionScore, PrecisionRecall, PPL, LinearSeparability, Inception]
