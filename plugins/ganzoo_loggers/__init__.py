"""Where a run can tell how it goes: TensorBoard, and a table for spreadsheets."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """The loggers of this plugin."""
    from ganzoo_loggers.table import Table
    from ganzoo_loggers.tensorboard import TensorBoard

    return [TensorBoard, Table]
