"""Conformance of importers."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch


def check_importer(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """Yield the faults of an importer: it recognises unrelated data, or misnames its globals."""
    importer = make()
    unrelated: list[Any] = [{}, [], None, 3, "G_ema", {"state": {}}, {"G_ema": None}, {"g_ema": 1}, {0: torch.zeros(1)}]
    if any(importer.recognises(data) for data in unrelated):
        yield "recognises() claims data that are of no format"
    if any(name.count(" ") != 1 or "." in name.partition(" ")[2] for name in cls.globals):
        yield "globals are full names, 'module qualname', and a qualname has no dots"
