"""A command reads each recipe file once, checks a recipe once, and looks for plugins once."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

from commands import good as good
from commands import gz as gz
from commands import recipe as recipe
from ganzoo.recipe.node import parse
from ganzoo.recipe.source import load_yaml
from ganzoo.registry import plugin


@pytest.fixture
def calls(monkeypatch) -> Iterator[Counter[str]]:
    """Number of calls of `parse`, of `load_yaml` for each file, and of searches for plugins."""
    counts: Counter[str] = Counter()

    def count(function: Callable[..., Any], name_of: Callable[..., str]) -> None:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if name := name_of(*args, **kwargs):
                counts[name] += 1
            return function(*args, **kwargs)

        for module in [m for name, m in list(sys.modules.items()) if name.partition(".")[0].startswith("ganzoo")]:
            for name in [name for name, value in vars(module).items() if value is function]:
                monkeypatch.setattr(module, name, counted)

    count(parse, lambda *_: "parse")
    count(load_yaml, lambda path: path.name)
    count(plugin.entry_points, lambda group: {"ganzoo": "plugins"}.get(group, ""))
    plugin.installed.cache_clear()
    yield counts
    monkeypatch.undo()
    plugin.installed.cache_clear()


FILES = {"r.yaml": 1, "stylegan2-tiny.yaml": 1, "stylegan2-e-1024.yaml": 1}  # the recipe and its two parents


def test_train(good, recipe, calls, tmp_path):
    good("train", recipe(), "--outdir", tmp_path / "runs", "--kimg", 0.008, "--metrics", "swd", "--set", "labels=0")
    assert calls == {"parse": 1, "plugins": 1, **FILES}


def test_a_dry_run(good, recipe, calls):
    good("train", recipe(), "-n", "--batch", 4, "--device", "cpu")
    assert calls == {"parse": 1, "plugins": 1, **FILES}


@pytest.mark.parametrize("command", ["validate", "resolve", "show"])
def test_commands_on_recipes(good, recipe, calls, command):
    good("recipe", command, recipe())
    assert calls == {"parse": 1, "plugins": 1, **FILES}


def test_commands_on_a_checkpoint(good, recipe, tmp_path, calls):
    good("train", recipe(), "--outdir", tmp_path / "runs", "--kimg", 0.008, "--metrics", "none")
    (snapshot,) = tmp_path.glob("runs/*/snapshot-*")
    for command in (["metrics", "swd"], ["metrics", "all", "--metrics", "swd"], ["ckpt", "verify"], ["generate"]):
        calls.clear()
        more = ["--outdir", tmp_path] if command == ["generate"] else []
        good(*command, snapshot, *more)
        assert calls == {"parse": 1}, command
