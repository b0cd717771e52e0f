"""Adversarial losses and gradient penalties that work with any architecture.

Imports `ganzoo` only; read `losses`, then `penalties`.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List losses and penalties."""
    from ganzoo_objectives import losses, penalties

    return [
        losses.Logistic,
        losses.Saturating,
        losses.Hinge,
        losses.Wasserstein,
        losses.LSGAN,
        losses.RelativisticAverage,
        losses.RelativisticPaired,
        penalties.R1,
        penalties.R2,
        penalties.WGANGP,
        penalties.ZeroCentered,
        penalties.OneCenteredReal,
    ]
