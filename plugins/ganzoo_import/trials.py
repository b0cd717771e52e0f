"""TODO docstring."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch


def check_importer(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """It claims no data of other formats, and names globals as pickles do."""
    importer = make()
    strange: list[Any] = [{}, [], None, 3, "G_ema", {"state": {}}, {"G_ema": None}, {"g_ema": 1}, {0: torch.zeros(1)}]
    if any(importer.recognises(found) for found in strange):
        yield "recognises() claims data that are of no format"
    if any(name.count(" ") != 1 or "." in name.partition(" ")[2] for name in cls.globals):
        yield "globals are full names, 'module qualname', and a qualname has no dots"
