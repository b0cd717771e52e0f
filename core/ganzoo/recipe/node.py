"""YAML -> tree -> checked Nodes -> bound factories.

A name never changes on the way, and nothing in a recipe is executed.

read()     YAML text, its parents (`extends:`) and the overrides, as one plain tree that remembers file and line
parse()    the tree as Nodes: classes found by name, options checked against their signatures, defaults filled in
Node.bind  functools.partial from the leaves up; Node.dump is the filled recipe
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from ganzoo.errors import PluginError, RecipeError, UnknownComponent, did_you_mean
from ganzoo.recipe.source import Source, Where
from ganzoo.registry.component import Component, Slot, default_of, no_option, options, slots
from ganzoo.registry.lookup import Registry, registry
from ganzoo.registry.ramp import RAMP, Ramp
from ganzoo.version import __version__

ROOT_KIND, ROOT = "experiment", "gan"
SHOWN = 200  # characters of a value that a message repeats


@dataclass(frozen=True)
class Node:
    """One chosen component: its class, its checked options, the components in its slots."""

    cls: type[Component]
    model: BaseModel
    children: dict[str, "Node | list[Node] | None"]
    where: Where = ()
    name: str = ""  # what a kept recipe calls the class

    def value(self, name: str) -> Any:
        """A plain option's checked value."""
        return getattr(self.model, name)

    def bind(self) -> "partial[Any]":
        """A factory that waits only for sizes."""
        values = {
            name: getattr(self.model, name) for name in type(self.model).model_fields if name not in self.children
        }
        return partial(self.cls, **values, **{k: _each(c, Node.bind) for k, c in self.children.items()})

    def dump(self) -> dict[str, Any]:
        """The filled recipe: every option written out, as plain YAML values."""
        values = self.model.model_dump(mode="json", by_alias=True, exclude=set(self.children))
        return {"use": self.name, **values, **{k: _each(c, Node.dump) for k, c in self.children.items()}}

    def walk(self) -> "Iterator[Node]":
        """This node and all below it."""
        yield self
        for child in self.children.values():
            for node in child if isinstance(child, list) else [child] if child else []:
                yield from node.walk()

    def __getitem__(self, path: str) -> "Node":
        node: Any = self
        for step in path.split("."):
            node = node.children[step]
        return node

    def has(self, path: str) -> bool:
        """Whether the slots named by a dotted path exist and are filled."""
        try:
            return isinstance(self[path], Node)
        except (KeyError, AttributeError):
            return False


def _each(child: "Node | list[Node] | None", do: Any) -> Any:
    return [do(c) for c in child] if isinstance(child, list) else child and do(child)


def parse(source: Source, registry: Registry) -> Node:
    """Check the whole tree against the registered signatures.

    Raises RecipeError with file, line, path, value and cure.
    """
    return _node(ROOT_KIND, {"use": ROOT, **source.tree}, None, (), source, registry)


def nested(tree: Mapping[str, Any], settings: Mapping[str, Any], flag: str = "--set") -> dict[str, Any]:
    """A component's tree with options by dotted names put in: perceptual.side belongs to what is in that slot.

    Raises RecipeError, which begins with the flag, where a name on the way is a value, which has no options.
    """
    tree = dict(tree)
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = tree
        for name in parents:
            inner = place.get(name, {})
            if not isinstance(inner, str | dict):
                raise RecipeError(f"'{name}' is {inner!r}, which has no options.", origin=f"{flag} {key}")
            place[name] = place = {"use": inner} if isinstance(inner, str) else inner
        place[last] = value
    return tree


def component_from(kind: str, raw: Any, registry: Registry) -> Node:
    """One checked component outside a recipe: `component_from("metric", {"use": "swd", "num": 1024}, registry())`."""
    return _node(kind, raw, None, (), Source({}, name=kind), registry)


def published_names(kind: str, registry: Registry) -> dict[str, type[Component]]:
    """Classes by the names of publications, such as fid50k_full, that stand for a component with certain options."""
    return {alias: cls for cls in registry if cls.kind == kind for alias in getattr(cls, "aliases", {})}


def named(kind: str, name: str, registry: Registry) -> tuple[type[Component], dict[str, Any]]:
    """Return the component of a name or of a published name, and the options that the name implies.

    Raises UnknownComponent, which lists both, or PluginError.
    """
    try:
        return registry.get(kind, name), {}
    except UnknownComponent:
        published = published_names(kind, registry)
        if name in published:
            cls: Any = published[name]
            return cls, dict(cls.aliases[name])
        if not published:
            raise
        names = sorted([*registry.names(kind), *published])
        fault = f"no {kind} named '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}."
        raise UnknownComponent(fault) from None


def _node(kind: str, raw: Any, default: Any, where: Where, source: Source, registry: Registry) -> Node:
    raw = {"use": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, dict):
        raise source.fail(
            where,
            f"{kind}: write a name or a mapping with 'use: <name>', not {raw!r}. Known: "
            f"{', '.join(registry.names(kind))}.",
        )
    raw = dict(raw)
    preset = default_of(default)
    if "use" in raw:
        name = raw.pop("use")
        try:
            cls, implied = named(kind, str(name), registry)
        except (UnknownComponent, PluginError) as err:
            raise source.locate(err, (*where, "use") if (*where, "use") in source.origins else where) from None
        raw = {**(preset[1] if preset and cls is preset[0] else {}), **implied, **raw}
    elif preset:
        cls, raw = preset[0], {**preset[1], **raw}
    else:
        raise source.fail(where, f"say which {kind} with 'use: <name>'. Known: {', '.join(registry.names(kind))}.")
    return _check(cls, raw, where, source, registry)


def _check(cls: type[Component], raw: dict[str, Any], where: Where, source: Source, registry: Registry) -> Node:
    raw = cls.upgraded({name: value for name, value in raw.items() if name not in cls.retired})
    _refuse_undecodable(raw, where, source)
    try:
        model = options(cls).model_validate_json(json.dumps(raw))
    except ValidationError as err:
        raise RecipeError(faults=_faults(err, cls, where, source, registry)) from None
    children: dict[str, Node | list[Node] | None] = {}
    for name, slot in slots(cls).items():
        children[name] = _slot(
            slot, raw.get(name, ...), options(cls).model_fields[name].default, (*where, name), source, registry
        )
    return Node(cls, model, children, where, registry.reference(cls))


def _refuse_undecodable(raw: Any, where: Where, source: Source) -> None:
    """Raise RecipeError for a value that no UTF-8 can hold, as the path of a file whose name is in another encoding."""
    for name, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
        if isinstance(value, dict | list):
            _refuse_undecodable(value, (*where, name), source)
        elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise source.fail(
                (*where, name),
                f"{value!a} holds bytes that are no UTF-8, and a recipe is UTF-8",
                "rename the file or folder, or name a link to it",
            )


def _slot(
    slot: Slot, raw: Any, default: Any, where: Where, source: Source, registry: Registry
) -> Node | list[Node] | None:
    if raw is ...:
        if slot.many:
            return [_check(*preset, where, source, registry) for d in default if (preset := default_of(d))]
        preset = default_of(default)
        return _check(*preset, where, source, registry) if preset else None
    if slot.many:
        if not isinstance(raw, list):
            written = "[]" if raw in (None, "none", {}) else f"[{raw}]"
            raise source.fail(where, f"a list of components is expected, got {raw!r}", f"write it as {written}")
        return [_node(slot.kind, item, None, (*where, i), source, registry) for i, item in enumerate(raw)]
    if raw is None:
        if slot.optional:
            return None
        raise source.fail(
            where, f"{slot.kind}: one is needed here, it cannot be null. Known: {', '.join(registry.names(slot.kind))}."
        )
    return _node(slot.kind, raw, default, where, source, registry)


def _faults(
    err: ValidationError, cls: type[Component], where: Where, source: Source, registry: Registry
) -> list[RecipeError]:
    """Return an error for each option at fault, in the words of recipes."""
    by_option: dict[Where, list[Any]] = {}
    for error in err.errors():
        # pydantic's path also names the alternatives of a union ("tuple[...]", "constrained-int"): those are no options
        *inner, last = error["loc"]
        unknown = error["type"] == "extra_forbidden"  # then the last is a name, even one that could be none, as "a b"
        option = tuple(p for p in inner if isinstance(p, int) or str(p).isidentifier() or str(p).isdecimal())
        option += (last,) if unknown or isinstance(last, int) or str(last).isidentifier() or last.isdecimal() else ()
        by_option.setdefault(option, []).append(error)
    return [
        source.fail((*where, *option), _sentence(option, errors, cls, registry)) for option, errors in by_option.items()
    ]


def _sentence(place: Where, errors: list[Any], cls: type[Component], registry: Registry) -> str:
    groups = {name: getattr(f.annotation, "model_fields", None) for name, f in options(cls).model_fields.items()}
    whole = "the recipe" if cls.kind == ROOT_KIND else cls.name
    group = groups.get(str(place[0]))  # where the option is a group of options, such as training
    owner, known = (str(place[0]), list(group)) if group and len(place) > 1 else (whole, list(groups))
    if RAMP in errors[0]["loc"]:
        owner, known = "a ramp", [field.alias or name for name, field in Ramp.model_fields.items()]
    name, given = str(place[-1]), errors[0]["input"]
    if errors[0]["type"] == "extra_forbidden":
        return no_option(owner, name, known)
    if errors[0]["type"] == "missing":
        slot = slots(cls).get(name)
        choice = f" ({slot.kind}): choose {', '.join(registry.names(slot.kind))}" if slot else ""
        if isinstance(place[-1], int):  # of a list of fixed length
            return f"entry {name} is missing, counted from 0: write the whole list."
        return f"{owner} needs the option '{name}'{choice}."
    messages = dict.fromkeys(e["msg"][:1].lower() + e["msg"][1:] for e in errors)
    hint = (
        f" Write {name}: {{{next(iter(group))}: {given}}}."
        if group and isinstance(given, int | str) and len(str(given)) < 40
        else ""
    )
    shown = repr(given) if len(repr(given)) <= SHOWN else f"{repr(given)[:SHOWN]}..."
    return f"{' or '.join(messages)}, got {shown}.{hint if len(place) == 1 else ''}"


def versions(node: Node) -> dict[str, str]:
    """{'ganzoo': version, plugin: 'distribution version'} of everything a recipe uses."""
    known = registry()
    owners = {known.owner(n.cls) for n in node.walk()} - {""}
    return {"ganzoo": __version__} | {o: " ".join(known.versions[o]) for o in sorted(owners)}
