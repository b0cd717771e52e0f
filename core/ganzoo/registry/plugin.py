"""How plugins are found and what they answer. Finding imports nothing; asking imports the plugin.

A plugin is a package with one entry point and one hook; a command of `gz` is an entry point of its own:

    [project.entry-points.ganzoo]
    mine = "ganzoo_mine"

    [project.entry-points."ganzoo.commands"]
    polish = "ganzoo_mine.command:polish"    # a function, or a typer.Typer

    from ganzoo import hookimpl

    @hookimpl
    def ganzoo_components() -> list[type]:
        from ganzoo_mine.layers import Gate      # torch is imported here, not at module level
        return [Gate]

It may set `GANZOO_API = 2`, the version of this interface that it was written for, and hold recipes in a folder
`recipes/`.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy

from ganzoo.errors import PluginError

API = 2
GROUP = "ganzoo"
COMMANDS = "ganzoo.commands"
SHIPPED = "ganzoo"  # the distribution whose plugins come first, so that nobody can take a name from them

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The whole extension interface."""

    @hookspec
    def ganzoo_components(self) -> list[type]:  # type: ignore[empty-body]
        """Return this plugin's component classes. Import torch inside the hook, not at module level."""


@dataclass(frozen=True)
class Plugin:
    """An installed plugin, known from package metadata alone."""

    name: str
    module: str
    distribution: str
    version: str

    @property
    def folder(self) -> Path | None:
        """Where its package lies, found without importing it."""
        try:
            spec = find_spec(self.module)
        except (ImportError, ValueError):
            return None
        return Path(spec.origin).parent if spec and spec.origin else None

    def recipes(self) -> Iterator[Path]:
        """The recipes it ships."""
        if self.folder:
            yield from sorted((self.folder / "recipes").glob("*.yaml"))


def installed() -> list[Plugin]:
    """All installed plugins in loading order: those of ganzoo, on which all others depend, then by name."""
    found: dict[tuple[str, str], Plugin] = {}
    for point in entry_points(group=GROUP):
        plugin = _describe(point)
        found.setdefault((plugin.name, plugin.distribution), plugin)
    return sorted(found.values(), key=lambda p: (p.distribution != SHIPPED, p.name, p.distribution))


@dataclass(frozen=True)
class Command:
    """An installed command of `gz`, known from package metadata alone."""

    name: str
    target: str  # "module:attribute"
    distribution: str
    version: str

    def load(self) -> Any:
        """Import its function or typer app. Whatever goes wrong is a PluginError of one sentence."""
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (Exception, SystemExit) as err:
            raise PluginError(
                f"the command '{self.name}' of {self.distribution} {self.version} ({self.target}) is broken: "
                f"{_one_line(err)}. Repair it, or remove it with 'pip uninstall {self.distribution}'."
            ) from err


def commands() -> list[Command]:
    """All installed commands: ganzoo's own by name, then those of others. A name that is taken is left out."""
    found: dict[str, Command] = {}
    points = entry_points(group=COMMANDS)
    described = [
        Command(p.name, p.value, p.dist.name if p.dist else "?", p.dist.version if p.dist else "?") for p in points
    ]
    for command in sorted(described, key=lambda c: (c.distribution != SHIPPED, c.name, c.distribution)):
        found.setdefault(command.name, command)
    return list(found.values())


def _one_line(err: BaseException) -> str:
    return " ".join(f"{type(err).__name__}: {err}".split()).rstrip(".")


def _describe(point: EntryPoint) -> Plugin:
    dist = point.dist
    return Plugin(point.name, point.value, dist.name if dist else "?", dist.version if dist else "?")


def components(plugin: Plugin) -> list[type[Any]]:
    """Import a plugin and ask its hook. Whatever goes wrong inside is a PluginError of one sentence."""
    try:
        module = import_module(plugin.module)
        wanted = getattr(module, "GANZOO_API", API)
        if wanted != API:
            cure = "upgrade ganzoo" if wanted > API else "upgrade the plugin"
            raise PluginError(
                f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version}) asks for ganzoo's plugin API "
                f"{wanted}, this ganzoo has API {API}: {cure}."
            )
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)
        manager.register(module, name=plugin.name)
        answers = [list(answer) for answer in manager.hook.ganzoo_components()]
    except PluginError:
        raise
    except (Exception, SystemExit) as err:
        sys.modules.pop(plugin.module, None)
        raise PluginError(
            f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version}) is broken: "
            f"{_one_line(err)}. "
            f"Repair it, or remove it with 'pip uninstall {plugin.distribution}'."
        ) from err
    if not answers:
        raise PluginError(
            f"plugin '{plugin.name}' ({plugin.module}) has no hook ganzoo_components marked with @hookimpl."
        )
    return [cls for answer in answers for cls in answer]
