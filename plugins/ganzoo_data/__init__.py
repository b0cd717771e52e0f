"""Datasets of images (a folder, a zip, tar shards, drawn shapes), and `gz data`, which checks and packs them.

Imports `ganzoo` only, and `command` the console of `ganzoo_cli.host`; read `images` first.
"""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """List the datasets."""
    from ganzoo_data.archive import Zip
    from ganzoo_data.folder import Folder
    from ganzoo_data.shapes import Shapes
    from ganzoo_data.tar import Tar

    return [Folder, Shapes, Tar, Zip]
