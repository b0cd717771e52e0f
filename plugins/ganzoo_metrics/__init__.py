"""Metrics of GANs."""

from ganzoo import hookimpl

GANZOO_API = 1


@hookimpl
def ganzoo_components() -> list[type]:
    """The metrics of this plugin."""
    from ganzoo_metrics.swd import SWD

    return [SWD]
