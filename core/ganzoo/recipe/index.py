"""The table of contents: registry.yaml, and the rows of plugins that it does not list. Needs no torch."""

import hashlib
import json
import re
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ganzoo.errors import RecipeError
from ganzoo.io.files import atomic_write, cache_dir
from ganzoo.recipe.source import load_yaml
from ganzoo.registry import plugin as plugins
from ganzoo.registry.component import Component, summary
from ganzoo.registry.lookup import registry
from ganzoo.registry.plugin import Plugin
from ganzoo.version import __version__

COLUMNS = ("kind", "name", "plugin", "paper", "summary")


def index_path() -> Path:
    """registry.yaml: beside the package in a wheel, two levels up in an editable install."""
    package = Path(__file__).parents[1]
    inside = package / "registry.yaml"
    return inside if inside.exists() else package.parents[1] / "registry.yaml"


@cache
def command_summaries() -> dict[str, str]:
    """{command: one line of help}, from registry.yaml; of a command that it does not list, who brings it."""
    shipped = {row["name"]: row["summary"] for row in index_file().get("commands", [])}
    return {c.name: shipped.get(c.name) or f"Command of {c.distribution} {c.version}." for c in plugins.commands()}


def index_file() -> dict[str, list[dict[str, Any]]]:
    """Content of registry.yaml: {commands, components, recipes}."""
    _, _, text = index_path().read_text(encoding="utf-8").partition("\n")  # its first line is a comment
    table: dict[str, list[dict[str, Any]]] = json.loads(text)
    return table


def entry(cls: type[Component], owner: str) -> dict[str, str]:
    """A component's line in registry.yaml and in `gz components list`."""
    return dict(zip(COLUMNS, (cls.kind, cls.name, owner, cls.paper, summary(cls)), strict=True))


def cached_index(plugin: Plugin) -> Path | None:
    """Path of the rows of a stranger's plugin, kept until its files change; None where changes cannot be seen."""
    try:
        spec = find_spec(plugin.module)
        if spec is None or spec.origin is None:
            return None
        origin = Path(spec.origin)
        inside = origin.parent.rglob("*") if spec.submodule_search_locations else [origin]
        times = [p.stat().st_mtime_ns for p in inside if p.is_file() and "__pycache__" not in p.parts]
    except (OSError, ImportError, ValueError, RuntimeError):
        return None
    state = [__version__, plugin.name, plugin.module, str(origin), max(times, default=0), len(times)]
    fingerprint = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]+", "_", f"index-{plugin.distribution}-{plugin.version}-{fingerprint}.json")
    return cache_dir() / "index" / name


def _strangers_rows(plugin: Plugin) -> list[dict[str, str]]:
    """Rows of a plugin's components, from the cache if it can be read, else by importing the plugin.

    The rows of a broken plugin are not cached: it may work the next time.
    """
    path = cached_index(plugin)
    with suppress(OSError, ValueError, RecursionError, TypeError, AttributeError):
        rows: Any = json.loads(path.read_text(encoding="utf-8")) if path else None
        if all(row.keys() == set(COLUMNS) and all(isinstance(v, str) for v in row.values()) for row in rows):
            return list(rows)
    full = registry()
    rows = [entry(cls, plugin.name) for cls in full if full.owner(cls) == plugin.name]
    if path and plugin.name not in full.problems:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


@cache
def index() -> dict[str, list[dict[str, Any]]]:
    """The table of contents {commands, components, recipes}: registry.yaml, and rows of plugins that it lacks."""

    def about(path: Path) -> dict[str, Any]:
        try:
            tree = load_yaml(path).tree
        except RecipeError:  # raised again where the recipe is used
            tree = {}
        return {key: str(tree[key]) for key in ("title", "paper") if key in tree}

    table = index_file()
    listed = {row["plugin"] for row in table["components"]}
    for p in plugins.installed():
        if p.name in listed:  # also a second plugin of a name, which is left out
            continue
        listed.add(p.name)
        table["components"] += _strangers_rows(p)
        table["recipes"] += [{"name": path.stem, "plugin": p.name, **about(path)} for path in p.recipes()]
    return table
