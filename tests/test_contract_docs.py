"""docs/plugins.md: its tables are complete and true, and its examples run."""

import inspect
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from ganzoo import interfaces as zoo
from ganzoo.interfaces import Shape, Stage
from ganzoo.registry import Component, plugin, registry
from ganzoo.registry.component import sizes
from ganzoo.testing.conformance import faults_of
from installing import gz, install

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
SHAPE = Shape(((4, 4), (8, 8)), 3)


def rows(heading: str) -> dict[str, list[str]]:
    """The tables under headings, by their first column."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


def names(cell: str) -> list[str]:
    return [name for text in re.findall(r"`([^`]*)`", cell) for name in text.split(", ")]


def code(first_line: str) -> str:
    """The indented block that begins with a line."""
    block = re.search(rf"^    {re.escape(first_line)}\n(?:    .*\n|\n)*", PAGE, flags=re.MULTILINE)
    assert block, first_line
    return textwrap.dedent(block[0])


def defined(*first_lines: str) -> dict[str, Any]:
    """What some blocks of the page define."""
    scope: dict[str, Any] = {"zoo": zoo, "nn": nn, "torch": torch, "Component": Component}
    for line in first_lines:
        exec(code(line), scope)
    return scope


KINDS = rows("Kinds")


def base_of(kind: str) -> type:
    """The class that defines a kind: the first one in the bases of its members."""
    member = next(cls for cls in registry() if cls.kind == kind)
    return [base for base in member.__mro__ if getattr(base, "kind", "") == kind][-1]


def test_every_kind_has_a_row():
    ours = {cls.kind for cls in registry() if registry().versions[registry().owner(cls)][0] == plugin.SHIPPED}
    assert set(KINDS) == ours
    abstract = [cls for _, cls in inspect.getmembers(zoo, inspect.isclass) if issubclass(cls, Component) and cls.kind]
    assert {cls.kind for cls in abstract} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kinds_row_is_true(kind):
    given, needed, *_ = KINDS[kind]
    members = [cls for cls in registry() if cls.kind == kind]
    assert {tuple(sizes(cls)) for cls in members} == {tuple(names(given))}
    base = base_of(kind)
    built = re.search(r"Built with \(([^)]*?)(?:, /|\))", inspect.getdoc(base) or "")
    if built:
        assert built[1].split(", ") == (names(given) or [""])
    abstract = getattr(base, "__abstractmethods__", frozenset())
    listed = set(names(needed))
    assert abstract <= listed
    known = {name for each in base.__mro__ for name in [*vars(each), *inspect.get_annotations(each)]}
    assert listed <= known
    if not abstract:
        assert "forward" in listed


def test_the_page_states_the_version_of_the_interface():
    assert set(re.findall(r"GANZOO_API = (\d+)", PAGE)) == {str(plugin.API)}
    assert re.findall(r"group `([\w.]+)`", PAGE) == [plugin.COMMANDS]


def test_a_generators_defaults_are_those_of_the_table():
    table = rows("A whole generator")
    G = defined('class Dense(zoo.Generator, name="dense"):')["Dense"](SHAPE, 2)
    z, label = torch.randn(4, 16), torch.eye(2)[[0, 1, 1, 0]]
    listed = [name for key in table for name in re.findall(r"\w+", re.sub(r"\([^)]*\)", "", key))]
    assert [name for name in listed if not hasattr(G, name)] == []
    assert len(listed) > 12
    assert (G.shape, G.labels, G.num_ws, G.grows, G.emits, G.finest) == (SHAPE, 2, 1, False, "image", Stage(1))
    assert torch.equal(G.w_mean, torch.zeros(18))
    assert isinstance(dict(G.named_buffers())["w_mean"], torch.Tensor)
    assert torch.equal(G.map(z, label), torch.cat([z, label], dim=1))
    assert torch.equal(G.synthesize(G.truncate(G.styles(z, label), 0.3))[-1], G(z, label)[-1])
    assert zoo.Generator(SHAPE, 0).z_dim == int(table["z_dim"][0])
    D = zoo.Discriminator(SHAPE, 2)
    assert (D.shape, D.labels, D.finest) == (SHAPE, 2, Stage(1))
    assert (D.accepts, D.grows, D.uses_labels, D.classifies) == ("image", False, True, False)


def test_the_examples_conform(tmp_path):
    scope = defined('class Dense(zoo.Generator, name="dense"):', 'class Centred(zoo.Regularizer, name="centred"):')
    for name in ("Dense", "Centred"):
        assert list(faults_of(scope[name], registry(), tmp_path)) == []


def test_the_example_of_a_kind_is_tried_by_its_check(tmp_path, monkeypatch):
    scope = defined('class Palette(nn.Module, Component, kind="palette"):')
    module = ModuleType("gz_mine.trials")
    module.check_palette = scope["check_palette"]
    monkeypatch.setitem(sys.modules, "gz_mine.trials", module)

    class Grey(scope["Palette"], name="grey"):
        """One colour."""

        def __init__(self, count, /):
            super().__init__()
            self.count = count

        def forward(self, channels):
            return torch.full((self.count, channels), self.value)

    Grey.value = 0.5
    assert list(faults_of(Grey, registry(), tmp_path)) == []
    Grey.value = 2.0
    assert {fault.partition(" (size")[0] for fault in faults_of(Grey, registry(), tmp_path)} == {
        "gives colours outside of [-1, 1]"
    }


@pytest.mark.slow
def test_the_plugin_in_two_files_works(tmp_path):
    project = tomllib.loads(code("[project]"))
    group = "ganzoo"
    points = {group: project["project"]["entry-points"][group]}
    install(tmp_path, project["project"]["name"], {"gz_mine/__init__.py": code("from ganzoo import hookimpl")}, points)
    listed = gz(tmp_path, "components", "list", "norm")
    assert "scale_norm" in listed.stdout, listed.stderr
    (line,) = re.findall(r"^    gz train (.*scale_norm)$", PAGE, flags=re.MULTILINE)
    recipe, *_, setting = line.split()
    done = gz(tmp_path, "recipe", "validate", recipe, "--set", setting)
    assert done.returncode == 0, done.stderr
    (tmp_path / "try.py").write_text(
        code("from ganzoo.testing import conformance") + "\n\ntest_conformance()\nprint('fine')\n"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    tried = subprocess.run([sys.executable, tmp_path / "try.py"], env=env, capture_output=True, text=True)
    assert tried.stdout == "fine\n", tried.stderr
