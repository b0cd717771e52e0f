"""Where images come from: a folder, a zip, tar shards, or drawn on the fly."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """The datasets of this plugin."""
    from ganzoo_data.archive import Zip
    from ganzoo_data.folder import Folder
    from ganzoo_data.shapes import Shapes
    from ganzoo_data.tar import Tar

    return [Folder, Shapes, Tar, Zip]
