"""Loggers of a run's statistics: TensorBoard, and a table for spreadsheets.

Imports `ganzoo` only; read `table` first.
"""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """List the loggers."""
    from ganzoo_loggers.table import Table
    from ganzoo_loggers.tensorboard import TensorBoard

    return [TensorBoard, Table]
