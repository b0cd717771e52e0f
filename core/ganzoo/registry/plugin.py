"""Discovery of plugins and commands. Finding one imports nothing; asking for its components or command imports it.

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
from functools import cache
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
    def package(self) -> str:
        """The top-level package of its module."""
        return self.module.partition(".")[0]

    @property
    def folder(self) -> Path | None:
        """Folder of its package, found without importing it; None where there is none."""
        try:
            spec = find_spec(self.module)
        except (ImportError, ValueError):
            return None
        return Path(spec.origin).parent if spec and spec.origin else None

    def recipes(self) -> Iterator[Path]:
        """Yield the paths of the recipes it ships."""
        if self.folder:
            yield from sorted((self.folder / "recipes").glob("*.yaml"))


@cache
def installed() -> tuple[Plugin, ...]:
    """All installed plugins in loading order: those of ganzoo, on which all others depend, then by name."""
    plugins: dict[tuple[str, str], Plugin] = {}
    for point in entry_points(group=GROUP):
        distribution, version = _distribution(point)
        plugins.setdefault((point.name, distribution), Plugin(point.name, point.value, distribution, version))
    return tuple(sorted(plugins.values(), key=_order))


@dataclass(frozen=True)
class Command:
    """An installed command of `gz`, known from package metadata alone."""

    name: str
    target: str  # "module:attribute"
    distribution: str
    version: str

    @property
    def package(self) -> str:
        """The top-level package of its module."""
        return self.target.partition(":")[0].partition(".")[0]

    def load(self) -> Any:
        """Import its function or typer app. Raises PluginError, whatever goes wrong."""
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (Exception, SystemExit) as err:
            raise PluginError(
                f"the command '{self.name}' of {self.distribution} {self.version} ({self.target}) is broken: "
                f"{_one_line(err)}.",
                cure=f"repair it, or remove it with 'pip uninstall {self.distribution}'",
            ) from err


@cache
def commands() -> tuple[Command, ...]:
    """All installed commands: ganzoo's own by name, then those of others. A name that is taken is left out."""
    first: dict[str, Command] = {}
    for command in _all_commands():
        first.setdefault(command.name, command)
    return tuple(first.values())


def command_clashes() -> dict[str, PluginError]:
    """{"command NAME (DISTRIBUTION)": error} for each command that is left out, since another has its name."""
    kept = {command.name: command for command in commands()}
    return {
        f"command {c.name} ({c.distribution})": PluginError(
            f"the command '{c.name}' of {c.distribution} {c.version} ({c.target}) is left out: "
            f"{kept[c.name].distribution} has a command of that name.",
            cure=f"remove one of them, as with 'pip uninstall {c.distribution}'",
        )
        for c in _all_commands()
        if c is not kept[c.name]
    }


@cache
def _all_commands() -> tuple[Command, ...]:
    points = entry_points(group=COMMANDS)
    return tuple(sorted((Command(p.name, p.value, *_distribution(p)) for p in points), key=_order))


def command_plugins() -> list[Plugin]:
    """Packages that bring commands and no components, named as the package is, without "ganzoo_"."""
    others = {plugin.package for plugin in installed()}
    packages = {c.package: c for c in _all_commands() if c.package not in others}
    return [
        Plugin(package.removeprefix("ganzoo_"), package, c.distribution, c.version) for package, c in packages.items()
    ]


def _order(entry: "Plugin | Command") -> tuple[bool, str, str]:
    return entry.distribution != SHIPPED, entry.name, entry.distribution


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """(name, version) of the distribution that declares an entry point."""
    return (point.dist.name, point.dist.version) if point.dist else ("?", "?")


def _one_line(err: BaseException) -> str:
    return " ".join(f"{type(err).__name__}: {err}".split()).rstrip(".")


def components(plugin: Plugin) -> list[type[Any]]:
    """Import a plugin and call its hook. Raises PluginError, whatever goes wrong inside."""
    about = f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version})"
    try:
        module = import_module(plugin.module)
        wanted = getattr(module, "GANZOO_API", API)
        if wanted != API:
            cure = "upgrade ganzoo" if wanted > API else "upgrade the plugin"
            raise PluginError(
                f"asks for ganzoo's plugin API {wanted}, this ganzoo has API {API}", place=about, cure=cure
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
            f"is broken: {_one_line(err)}.",
            place=about,
            cure=f"repair it, or remove it with 'pip uninstall {plugin.distribution}'",
        ) from err
    if not answers:
        raise PluginError(
            f"plugin '{plugin.name}' ({plugin.module}) has no hook ganzoo_components marked with @hookimpl."
        )
    return [cls for answer in answers for cls in answer]
