"""Weights of other projects as snapshots of ganzoo: what `gz import` reads, a module for each project."""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """The importers."""
    from ganzoo_import.formats import ada, akanimax, bmsg, genforce_pggan, genforce_stylegan, huangzh13, rosinality

    return [
        ada.ADA,
        rosinality.Rosinality,
        genforce_pggan.GenforcePGGAN,
        genforce_stylegan.GenforceStyleGAN,
        akanimax.AkanimaxProGAN,
        bmsg.BMSG,
        huangzh13.Huangzh13StyleGAN,
    ]
