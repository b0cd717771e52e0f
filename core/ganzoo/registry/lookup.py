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
        self._former: dict[tuple[str, str], type[Component]] = {}  # by kind and former name; today's names come first
        # by the plugin's name where it is broken, else by "name (what is left out)"
        self.problems: dict[str, PluginError] = {}
        self.versions: dict[str, tuple[str, str]] = {}  # plugin -> (distribution, version)

    def add(self, cls: type[Component], owner: str) -> None:
        """Register a class for a plugin. A clash raises DuplicateComponent that names both owners."""
        if not (isinstance(cls, type) and issubclass(cls, Component) and cls.kind and cls.name):
            raise PluginError(
                f"plugin '{owner}' returns {cls!r}, which is no component",
                cure="give its class header a kind's base and a name=",
            )
        self._qualified[cls.kind, f"{owner}:{cls.name}"] = cls
        self._owners[cls] = owner
        for former in cls.former_names:
            self._former.setdefault((cls.kind, former), cls)
        taken = self._classes.setdefault((cls.kind, cls.name), cls)
        if taken is not cls:
            first = self._owners[taken]
            raise DuplicateComponent(
                f"plugin '{owner}' registers {cls.kind} '{cls.name}' ({cls.__module__}.{cls.__qualname__}), "
                f"but plugin '{first}' already has it ({taken.__module__}.{taken.__qualname__}): '{cls.name}' "
                f"stays with '{first}'; write '{owner}:{cls.name}' for the other."
            )

    def get(self, kind: str, name: str) -> type[Component]:
        """Look a class up by name, by `plugin:name`, or by a former name (`Component.former_names`).

        Raises UnknownComponent with the nearest and all known names, PluginError where the plugin of `plugin:name` is
        missing or broken.
        """
        cls = self._classes.get((kind, name)) or self._qualified.get((kind, name)) or self._renamed(kind, name)
        if cls:
            return cls
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

    def _renamed(self, kind: str, name: str) -> type[Component] | None:
        """The class that an earlier recipe means by a name; in a shipped one, by the plugin that then held it."""
        if found := self._former.get((kind, name)):
            return found
        owner, colon, bare = name.partition(":")
        moved = self._former.get((kind, bare)) or self._classes.get((kind, bare))
        shipped = colon and all(
            self.versions.get(each, ("", ""))[0] == SHIPPED for each in (owner, self.owner(moved) if moved else "")
        )
        return moved if shipped else None

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
        """Name of a class in a stored recipe; a stranger's with its plugin, since others may claim the bare name."""
        owner = self.owner(cls)
        shipped = self.versions.get(owner, (SHIPPED, ""))[0] == SHIPPED
        return cls.name if shipped and self._classes.get((cls.kind, cls.name)) is cls else f"{owner}:{cls.name}"

    def __iter__(self) -> Iterator[type[Component]]:
        return iter(sorted(self._owners, key=lambda c: (c.kind, c.name, self._owners[c])))


def build(installed: Iterable[Plugin]) -> Registry:
    """Register the classes of each plugin. A broken plugin becomes an error in `problems` and stops no other."""
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
                left_out = f"{cls.kind} {cls.name}" if isinstance(err, DuplicateComponent) else str(cls)
                registry.problems[f"{plugin.name} ({left_out})"] = err
    return registry


@cache
def registry() -> Registry:
    """The registry of everything installed. Imports torch and every plugin, once."""
    return build(plugins.installed())
