"""Weights of other projects as snapshots of ganzoo: what `gz import` reads, a module for each project."""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """The importers."""
    from ganzoo_import import ada, rosinality

    return [ada.ADA, rosinality.Rosinality]
