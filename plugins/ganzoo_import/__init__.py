"""Weights of other projects as snapshots of ganzoo: the importers, one module for each project, and `gz import`.

Imports `ganzoo` only, and `command` the console of `ganzoo_cli.host`; read `interfaces`, then `convert`.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the importers."""
    from ganzoo_import.formats import (
        ada,
        akanimax,
        bmsg,
        genforce_pggan,
        genforce_stylegan,
        huangzh13,
        rosinality,
        stylegan3,
    )

    return [
        ada.ADA,
        stylegan3.StyleGAN3,
        rosinality.Rosinality,
        genforce_pggan.GenforcePGGAN,
        genforce_stylegan.GenforceStyleGAN,
        akanimax.AkanimaxProGAN,
        bmsg.BMSG,
        huangzh13.Huangzh13StyleGAN,
    ]
