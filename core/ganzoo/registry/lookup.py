"""(kind, name) -> class, filled from the installed plugins."""

from collections.abc import Iterable, Iterator
from functools import cache

from ganzoo.errors import DuplicateComponent, PluginError, UnknownComponent, did_you_mean
from ganzoo.registry import plugin as plugins
from ganzoo.registry.component import Component
from ganzoo.registry.plugin import SHIPPED, Plugin


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
            f"no {kind} named '{name}'.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}.{broken}"
        )

    def names(self, kind: str) -> list[str]:
        """All bare names of a kind."""
        return sorted(n for k, n in self._classes if k == kind)

    def kinds(self) -> list[str]:
        """All kinds that have a member."""
        return sorted({k for k, _ in self._classes})

    def owner(self, cls: type[Component]) -> str:
        """The plugin that registered a class; "" for a class that no plugin registered."""
        return self._owners.get(cls, "")

    def reference(self, cls: type[Component]) -> str:
        """How a kept recipe names a class: a stranger's with its plugin, since others may claim the bare name."""
        owner = self.owner(cls)
        shipped = self.versions.get(owner, (SHIPPED, ""))[0] == SHIPPED
        return cls.name if shipped and self._classes.get((cls.kind, cls.name)) is cls else f"{owner}:{cls.name}"

    def __iter__(self) -> Iterator[type[Component]]:
        return iter(sorted(self._owners, key=lambda c: (c.kind, c.name, self._owners[c])))


def build(installed: Iterable[Plugin]) -> Registry:
    """Ask each plugin for its classes. A broken plugin becomes a sentence in `problems` and takes nobody down."""
    registry = Registry()
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
