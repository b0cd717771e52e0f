"""`gz import`: an importer of another plugin, and checks of its results."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from ganzoo.errors import CheckpointError, PluginError
from ganzoo.foreign import torchfile as foreign
from ganzoo.registry.lookup import Registry, registry
from ganzoo_import import convert as importing
from ganzoo_import.formats import rosinality
from ganzoo_import.interfaces import Converted, Importer
from recorded_checkpoint import recorded_checkpoint


class _Stranger(Importer):
    """An importer of another plugin.

    Args:
        careless: leave a tensor unlisted
    """

    globals: ClassVar[frozenset[str]] = frozenset()
    fails = False

    def __init__(self, *, careless: bool = False) -> None:
        self.careless = careless

    def recognises(self, data: Any) -> bool:
        if self.fails:
            raise KeyError("oops")
        return isinstance(data, dict) and ("stranger" in data or "both" in data)

    def convert(self, data: Any) -> Converted:
        done = rosinality.Rosinality().convert({k: v for k, v in data.items() if k != "stranger"})
        used = done.used if self.careless else (*done.used, "stranger")
        return Converted(recipe=done.recipe, nets=done.nets, used=used, unused=done.unused, notes=done.notes)


@pytest.fixture
def stranger(monkeypatch):
    """Register an importer of another plugin for a test."""
    cls: type[Importer] = type("Stranger", (_Stranger,), {"__doc__": _Stranger.__doc__}, name="stranger")
    known = Registry()
    for shipped in registry():
        known.add(shipped, registry().owner(shipped))
    known.add(cls, "strange")
    known.versions |= {**registry().versions, "strange": ("strange", "1")}
    monkeypatch.setattr(importing, "registry", lambda: known)
    _, checkpoint = recorded_checkpoint(torch.float32)
    data = {**checkpoint, "stranger": torch.zeros(1)}
    monkeypatch.setattr(foreign, "read", lambda path, allowed: data)
    return cls, data


def test_a_file_that_two_formats_claim(stranger):
    with pytest.raises(CheckpointError, match=r"rosinality or stranger: say which with --from"):
        importing.convert(Path("x"))
    assert importing.convert(Path("x"), "stranger").importer == "stranger"


def test_a_forgotten_tensor_is_noticed(stranger):
    with pytest.raises(CheckpointError, match="some would be lost"):
        importing.convert(Path("x"), "stranger", {"careless": True})


def test_a_missing_weight_is_noticed(stranger):
    _, data = stranger
    data["g_ema"] = {k: v for k, v in data["g_ema"].items() if k != "to_rgbs.1.bias"}
    with pytest.raises(CheckpointError, match=r"lacks G_ema\.synthesis\.to_rgb\.2\.bias"):
        importing.convert(Path("x"), "stranger")


def test_an_importer_that_fails_is_named(stranger):
    stranger[0].fails = True
    with pytest.raises(PluginError, match="importer 'stranger' fails"):
        importing.convert(Path("x"))


def test_a_double_is_not_rounded_silently(stranger):
    _, data = stranger
    data["g_ema"] = {k: v.double() for k, v in data["g_ema"].items()}
    exact = importing.convert(Path("x"), "stranger").converted
    assert any("float64: converted to float32 without loss" in note for note in exact.notes)
    data["g_ema"]["input.input"] = data["g_ema"]["input.input"] * (1 + 2**-40)
    rounded = importing.convert(Path("x"), "stranger").converted
    assert any("rounded to the nearest" in note for note in rounded.notes)
