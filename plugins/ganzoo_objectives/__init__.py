"""Adversarial losses and gradient penalties that belong to no one architecture."""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """Losses and penalties."""
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
