"""YAML -> tree -> checked Nodes -> bound factories.

A name never changes on the way, and nothing in a recipe is executed.

read()     YAML text, its parents (`extends:`) and the overrides, as one plain tree that remembers file and line
parse()    the tree as Nodes: classes found by name, options checked against their signatures, defaults filled in
Node.bind  functools.partial from the leaves up; Node.dump is the filled recipe
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ganzoo import plugin as plugins
from ganzoo.component import Component, Slot, default_of, options, slots
from ganzoo.errors import PluginError, RecipeError, UnknownComponent, nearest
from ganzoo.registry import Registry
from ganzoo.source import Source, Where, load_yaml, parse_yaml

ROOT_KIND, ROOT = "experiment", "gan"


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
        values = self.model.model_dump(mode="json", exclude=set(self.children))
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


# --- extends and overrides -------------------------------------------------------------------------------------------


def find(reference: str) -> Path:
    """A recipe by path, or by the name of an architecture that a plugin ships."""
    path = Path(reference)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise RecipeError(f"no recipe file {reference}.")
        return path
    installed = [(plugin, list(plugin.recipes())) for plugin in plugins.installed()]
    shipped = {p.stem: p for _, paths in reversed(installed) for p in paths}
    shipped |= {f"{plugin.name}:{p.stem}": p for plugin, paths in installed for p in paths}
    if reference not in shipped:
        names = sorted(n for n in shipped if ":" not in n)
        raise RecipeError(
            f"no recipe file or architecture '{reference}'.{nearest(reference, names)} See 'gz recipe list'."
        )
    return shipped[reference]


def read(reference: str | Path, overrides: Sequence[str] = ()) -> Source:
    """A recipe with its parents merged in and the overrides (`a.b.0.c=value`) applied."""
    source = _read(find(str(reference)), ())
    for item in overrides:
        _override(source, item)
    return source


def _read(path: Path, seen: tuple[Path, ...]) -> Source:
    if path.resolve() in seen:
        raise RecipeError(f"{path}: the recipe extends itself.")
    source = load_yaml(path)
    parent = source.tree.pop("extends", None)
    if parent is None:
        return source
    if not isinstance(parent, str):
        raise source.fail(("extends",), f"one architecture or one path is extended, got {parent!r}.")
    beside = path.parent / parent
    try:
        target = beside if beside.is_file() else find(parent)
    except RecipeError as err:
        raise source.fail(("extends",), str(err)) from None
    base = _read(target, (*seen, path.resolve()))
    for tree in (base.tree, source.tree):
        tree.setdefault("use", ROOT)
    return Source(_merge(base, source, ()), base.origins | source.origins, source.name)


def _merge(base: Source, over: Source, where: Where) -> Any:
    """Maps merge key by key, unless another component is chosen; everything else is replaced."""
    a, b = _at(base.tree, where), _at(over.tree, where)
    if isinstance(a, str) and isinstance(b, dict) and b.get("use", a) == a:
        a = {"use": a}
    if not (isinstance(a, dict) and isinstance(b, dict)) or b.get("use", a.get("use")) != a.get("use"):
        for old in [w for w in base.origins if w[: len(where)] == where and w != where]:
            del base.origins[old]
        return b
    keys = [*a, *(k for k in b if k not in a)]
    return {k: a[k] if k not in b else b[k] if k not in a else _merge(base, over, (*where, k)) for k in keys}


def _at(tree: Any, where: Where) -> Any:
    for step in where:
        tree = tree[step] if not isinstance(tree, str) else {"use": tree}.get(str(step))
    return tree


def _override(source: Source, item: str) -> None:
    key, equals, text = item.partition("=")
    flag = f"--set {item}"
    if not equals or not key:
        raise RecipeError(f"{flag}: write it as path.to.option=value.")
    value = parse_yaml(f"v: {text}", flag).tree["v"]
    *parents, last = key.split(".")
    place: Any = source.tree
    where: Where = ()
    for name in parents:
        step = _step(place, name, flag, where)
        where = (*where, step)
        if isinstance(place, dict) and step not in place:
            source.origins[where] = flag
        place = _enter(place, step, flag, where)
    step = _step(place, last, flag, where)
    if step == "use" and place.get("use") != value:
        place.clear()  # another component: the options of the former do not apply
    place[step] = value
    where = (*where, step)
    for old in [w for w in source.origins if w[: len(where)] == where]:
        del source.origins[old]
    source.origins[where] = flag


def _step(place: Any, name: str, flag: str, where: Where) -> str | int:
    """A step of an override's path as the key of a map, or as the index of an entry that a list has."""
    if not isinstance(place, list):
        return name
    if not (name.isdecimal() and name.isascii() and int(name) < len(place)):
        raise RecipeError(f"{flag}: no such place in the recipe: {'.'.join(map(str, where))} has {len(place)} entries.")
    return int(name)


def _enter(place: Any, step: str | int, flag: str, where: Where) -> Any:
    """Step into a map or list; a component written as a bare name becomes a map, an unwritten one begins empty."""
    if isinstance(place, dict) and place.get(str(step)) is None:
        place[step] = {}
    if isinstance(place[step], str):
        place[step] = {"use": place[step]}
    if not isinstance(place[step], dict | list):
        raise RecipeError(f"{flag}: no such place in the recipe: {'.'.join(map(str, where))} is {place[step]!r}.")
    return place[step]


# --- checking --------------------------------------------------------------------------------------------------------


def parse(source: Source, registry: Registry) -> Node:
    """Check the whole tree against the registered signatures.

    Raises RecipeError with file, line, path, value and cure.
    """
    return _node(ROOT_KIND, {"use": ROOT, **source.tree}, None, (), source, registry)


def nested(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A component's tree with options by dotted names put in: perceptual.side belongs to what is in that slot.

    Raises RecipeError where a name on the way is a value, which has no options.
    """
    found = dict(tree)
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = found
        for name in parents:
            inner = place.get(name, {})
            if not isinstance(inner, str | dict):
                raise RecipeError(f"--set {key}: '{name}' is {inner!r}, which has no options.")
            place[name] = place = {"use": inner} if isinstance(inner, str) else inner
        place[last] = value
    return found


def component_from(kind: str, raw: Any, registry: Registry) -> Node:
    """One checked component outside a recipe: `component_from("metric", {"use": "swd", "num": 1024}, registry())`."""
    return _node(kind, raw, None, (), Source({}, name=kind), registry)


def _node(kind: str, raw: Any, default: Any, where: Where, source: Source, registry: Registry) -> Node:
    raw = {"use": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, dict):
        raise source.fail(
            where,
            f"a {kind} is a name or a mapping with 'use: <name>', got {raw!r}. Known: "
            f"{', '.join(registry.names(kind))}.",
        )
    raw = dict(raw)
    preset = default_of(default)
    if "use" in raw:
        name = raw.pop("use")
        try:
            cls = registry.get(kind, str(name))
        except (UnknownComponent, PluginError) as err:
            raise type(err)(
                str(source.fail((*where, "use") if (*where, "use") in source.origins else where, str(err)))
            ) from None
        if preset and cls is preset[0]:
            raw = {**preset[1], **raw}
    elif preset:
        cls, raw = preset[0], {**preset[1], **raw}
    else:
        raise source.fail(where, f"say which {kind} with 'use: <name>'. Known: {', '.join(registry.names(kind))}.")
    return _check(cls, raw, where, source, registry)


def _check(cls: type[Component], raw: dict[str, Any], where: Where, source: Source, registry: Registry) -> Node:
    raw = {name: value for name, value in raw.items() if name not in cls.retired}
    try:
        model = options(cls).model_validate_json(json.dumps(raw))
    except ValidationError as err:
        raise RecipeError("\n".join(_sentences(err, cls, where, source, registry))) from None
    children: dict[str, Node | list[Node] | None] = {}
    for name, slot in slots(cls).items():
        children[name] = _slot(
            slot, raw.get(name, ...), options(cls).model_fields[name].default, (*where, name), source, registry
        )
    return Node(cls, model, children, where, registry.reference(cls))


def _slot(
    slot: Slot, raw: Any, default: Any, where: Where, source: Source, registry: Registry
) -> Node | list[Node] | None:
    if raw is ...:
        if slot.many:
            return [_check(*made, where, source, registry) for d in default if (made := default_of(d))]
        made = default_of(default)
        return _check(*made, where, source, registry) if made else None
    if slot.many:
        if not isinstance(raw, list):
            raise source.fail(where, f"a list of components is expected, got {raw!r}: write it as [{raw}].")
        return [_node(slot.kind, item, None, (*where, i), source, registry) for i, item in enumerate(raw)]
    if raw is None:
        if slot.optional:
            return None
        raise source.fail(
            where, f"a {slot.kind} is needed here, it cannot be null. Known: {', '.join(registry.names(slot.kind))}."
        )
    return _node(slot.kind, raw, default, where, source, registry)


def _sentences(
    err: ValidationError, cls: type[Component], where: Where, source: Source, registry: Registry
) -> list[str]:
    """One sentence for each place at fault, in the words of recipes."""
    faults: dict[Where, list[Any]] = {}
    for error in err.errors():
        # pydantic's path also names the alternatives of a union ("tuple[...]", "constrained-int"): those are no places
        place = tuple(p for p in error["loc"] if isinstance(p, int) or str(p).isidentifier() or str(p).isdecimal())
        faults.setdefault(place, []).append(error)
    return [
        str(source.fail((*where, *place), _sentence(place, errors, cls, registry))) for place, errors in faults.items()
    ]


def _sentence(place: Where, errors: list[Any], cls: type[Component], registry: Registry) -> str:
    groups = {name: getattr(f.annotation, "model_fields", None) for name, f in options(cls).model_fields.items()}
    own = "the recipe" if cls.kind == ROOT_KIND else cls.name
    group = groups.get(str(place[0]))  # where the option is a group of options, such as training
    owner, known = (str(place[0]), list(group)) if group and len(place) > 1 else (own, list(groups))
    name, given = str(place[-1]), errors[0]["input"]
    if errors[0]["type"] == "extra_forbidden":
        names = f" Options: {', '.join(known)}." if known else " It has none."
        return f"{owner} has no option '{name}'.{nearest(name, known)}{names}"
    if errors[0]["type"] == "missing":
        slot = slots(cls).get(name)
        choice = f", a {slot.kind}: choose {', '.join(registry.names(slot.kind))}" if slot else ""
        return f"{owner} needs the option '{name}'{choice}."
    messages = dict.fromkeys(e["msg"][:1].lower() + e["msg"][1:] for e in errors)
    hint = f" Write {name}: {{{next(iter(group))}: {given}}}." if group and isinstance(given, int | str) else ""
    return f"{' or '.join(messages)}, got {given!r}.{hint if len(place) == 1 else ''}"


def load(reference: str | Path, overrides: Sequence[str] = ()) -> Node:
    """Read, check and apply the rules across slots: the one way from a recipe to a tree that can be built."""
    from ganzoo.registry import registry
    from ganzoo.rules import check

    source = read(reference, overrides)
    node = parse(source, registry())
    check(node, source)
    return node
