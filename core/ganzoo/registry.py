"""(kind, name) -> class, filled from plugins; and registry.yaml, their table of contents, which needs no torch."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ganzoo import plugin as plugins
from ganzoo.component import Component, summary
from ganzoo.errors import DuplicateComponent, PluginError, RecipeError, UnknownComponent, nearest
from ganzoo.files import whole
from ganzoo.plugin import SHIPPED, Plugin

CORE = "core"
COLUMNS = ("kind", "name", "plugin", "paper", "summary")


class Registry:
    """Every component that is installed.

    A bare name belongs to the first plugin that claims it; `plugin:name` always works.
    """

    def __init__(self) -> None:
        self._classes: dict[tuple[str, str], type[Component]] = {}
        self._owners: dict[type[Component], str] = {}
        self._qualified: dict[tuple[str, str], type[Component]] = {}
        # one sentence each: by a plugin's name if it is broken, else "name (what is left out)"
        self.problems: dict[str, PluginError] = {}
        self.versions: dict[str, tuple[str, str]] = {}  # plugin -> (distribution, version)

    def add(self, cls: type[Component], owner: str) -> None:
        """Register a class for a plugin. A clash raises DuplicateComponent that names both owners."""
        if not (isinstance(cls, type) and issubclass(cls, Component) and cls.kind and cls.name):
            raise PluginError(
                f"plugin '{owner}' returns {cls!r}, which is no component: give its class header a kind's "
                "base and a name=."
            )
        self._qualified[cls.kind, f"{owner}:{cls.name}"] = cls
        self._owners[cls] = owner
        taken = self._classes.setdefault((cls.kind, cls.name), cls)
        if taken is not cls:
            first = self._owners[taken]
            raise DuplicateComponent(
                f"plugin '{owner}' registers {cls.kind} '{cls.name}' ({cls.__module__}.{cls.__qualname__}), "
                f"but plugin '{first}' already has it ({taken.__module__}.{taken.__qualname__}): '{cls.name}' "
                f"stays with '{first}'; write '{owner}:{cls.name}' for the other."
            )

    def get(self, kind: str, name: str) -> type[Component]:
        """Look a class up by name or by `plugin:name`. Raises UnknownComponent with the nearest and all known names.

        Raises PluginError where the plugin of `plugin:name` is missing or broken.
        """
        found = self._classes.get((kind, name)) or self._qualified.get((kind, name))
        if found:
            return found
        owner, colon, _ = name.partition(":")
        if colon and owner in self.problems:
            raise self.problems[owner]
        if colon and owner not in {*self.versions, *self._owners.values()}:
            have = ", ".join(sorted(self.versions)) or "none"
            raise PluginError(f"'{name}' needs the plugin '{owner}', which is not installed. Installed: {have}.")
        known = self.names(kind)
        broken = (
            f" Not everything installed works: {', '.join(sorted(self.problems))} (see 'gz plugins doctor')."
            if self.problems
            else ""
        )
        raise UnknownComponent(
            f"no {kind} named '{name}'.{nearest(name, known)} Known: {', '.join(known) or 'none'}.{broken}"
        )

    def names(self, kind: str) -> list[str]:
        """All bare names of a kind."""
        return sorted(n for k, n in self._classes if k == kind)

    def kinds(self) -> list[str]:
        """All kinds that have a member."""
        return sorted({k for k, _ in self._classes})

    def owner(self, cls: type[Component]) -> str:
        """The plugin that registered a class; 'core' for ganzoo's own."""
        return self._owners.get(cls, CORE)

    def reference(self, cls: type[Component]) -> str:
        """How a kept recipe names a class: a stranger's with its plugin, since others may claim the bare name."""
        owner = self.owner(cls)
        shipped = self.versions.get(owner, (SHIPPED, ""))[0] == SHIPPED
        return cls.name if shipped and self._classes.get((cls.kind, cls.name)) is cls else f"{owner}:{cls.name}"

    def __iter__(self) -> Iterator[type[Component]]:
        return iter(sorted(self._owners, key=lambda c: (c.kind, c.name, self._owners[c])))


def build(installed: Iterable[Plugin]) -> Registry:
    """Ask each plugin for its classes. A broken plugin becomes a sentence in `problems` and takes nobody down."""
    from ganzoo.build import CORE_COMPONENTS

    registry = Registry()
    for cls in CORE_COMPONENTS:
        registry.add(cls, CORE)
    for plugin in installed:
        if plugin.name in registry.versions:
            first, _ = registry.versions[plugin.name]
            registry.problems[f"{plugin.name} ({plugin.distribution})"] = DuplicateComponent(
                f"plugin '{plugin.name}' of {plugin.distribution} is left out: {first} already provides a "
                "plugin of that name."
            )
            continue
        registry.versions[plugin.name] = (plugin.distribution, plugin.version)
        try:
            classes = plugins.components(plugin)
        except PluginError as err:
            registry.problems[plugin.name] = err
            continue
        for cls in classes:
            try:
                registry.add(cls, plugin.name)
            except PluginError as err:  # the plugin's other components work
                what = f"{cls.kind} {cls.name}" if isinstance(err, DuplicateComponent) else str(cls)
                registry.problems[f"{plugin.name} ({what})"] = err
    return registry


@cache
def registry() -> Registry:
    """The registry of everything installed. Imports torch and every plugin, once."""
    return build(plugins.installed())


def index_path() -> Path:
    """registry.yaml: beside the package in a wheel, two levels up in an editable install."""
    here = Path(__file__).parent
    inside = here / "registry.yaml"
    return inside if inside.exists() else here.parents[1] / "registry.yaml"


def entry(cls: type[Component], owner: str) -> dict[str, str]:
    """A component's line in registry.yaml and in `gz components list`."""
    return dict(zip(COLUMNS, (cls.kind, cls.name, owner, cls.paper, summary(cls)), strict=True))


def cached_index(plugin: Plugin) -> Path | None:
    """Where the rows of a stranger's plugin are kept until its files change; None where that cannot be known."""
    import ganzoo

    try:
        spec = find_spec(plugin.module)
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if spec is None or spec.origin is None:
            return None
        origin = Path(spec.origin)
        inside = origin.parent.rglob("*") if spec.submodule_search_locations else [origin]
        times = [p.stat().st_mtime_ns for p in inside if p.is_file() and "__pycache__" not in p.parts]
    except (OSError, ImportError, ValueError, RuntimeError):
        return None
    what = [ganzoo.__version__, plugin.name, plugin.module, str(origin), max(times, default=0), len(times)]
    fingerprint = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]+", "_", f"index-{plugin.distribution}-{plugin.version}-{fingerprint}.json")
    return base / "ganzoo" / name


def _strangers_rows(plugin: Plugin) -> list[dict[str, str]]:
    """What `index` says of a plugin's components. From the cache if it can be read, else by importing the plugin.

    What does not work is not kept: it may work the next time.
    """
    path = cached_index(plugin)
    with suppress(OSError, ValueError, RecursionError, TypeError, AttributeError):
        rows: Any = json.loads(path.read_text(encoding="utf-8")) if path else None
        if all(row.keys() == set(COLUMNS) and all(isinstance(v, str) for v in row.values()) for row in rows):
            return list(rows)
    full = registry()
    made = [entry(cls, plugin.name) for cls in full if full.owner(cls) == plugin.name]
    if path and plugin.name not in full.problems:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as temporary:
                temporary.write_text(json.dumps(made, indent=1), encoding="utf-8")
    return made


@cache
def index() -> dict[str, list[dict[str, Any]]]:
    """The table of contents {components, recipes}: registry.yaml, and what the plugins answer that it lacks."""

    def about(path: Path) -> dict[str, Any]:
        from ganzoo.source import load_yaml  # the parser of YAML takes a while, and is seldom needed here

        try:
            tree = load_yaml(path).tree
        except RecipeError:  # it says so when it is used
            tree = {}
        return {key: str(tree[key]) for key in ("title", "paper") if key in tree}

    _, _, text = index_path().read_text(encoding="utf-8").partition("\n")  # its first line is a comment
    table: dict[str, list[dict[str, Any]]] = json.loads(text)
    listed = {row["plugin"] for row in table["components"]} | {CORE}
    for p in plugins.installed():
        if p.name in listed:  # also a second plugin of a name, which is left out
            continue
        listed.add(p.name)
        table["components"] += _strangers_rows(p)
        table["recipes"] += [{"name": path.stem, "plugin": p.name, **about(path)} for path in p.recipes()]
    return table
