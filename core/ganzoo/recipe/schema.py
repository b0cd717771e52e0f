"""A JSON Schema of recipes with all that is installed, for editors; and tables of a component's options."""

import json
import warnings
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from ganzoo.recipe.node import ROOT, ROOT_KIND, published_names
from ganzoo.registry import plugin
from ganzoo.registry.component import Component, Slot, default_of, described, options, slots, summary
from ganzoo.registry.lookup import Registry

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(registry: Registry) -> Json:
    """A JSON Schema of recipes. Each kind is in $defs, each component beside it as kind.name.

    It allows what a recipe may hold before its parent is merged in, so only `extends` or the essentials are required.
    """
    defs: Json = {}
    kinds = {slot.kind for cls in registry for slot in slots(cls).values()} | set(registry.kinds())
    for kind in sorted(kinds - {ROOT_KIND}):
        defs[kind] = _kind(kind, registry)
    for cls in registry:
        if cls.kind != ROOT_KIND:
            defs[_key(cls, registry)] = _component(cls, registry, defs)
    roots = [cls for cls in registry if cls.kind == ROOT_KIND]
    for cls in roots:
        defs[_key(cls, registry)] = _root(cls, registry, defs)
    default = {"$ref": f"#/$defs/{_key(registry.get(ROOT_KIND, ROOT), registry)}"}
    extending = {"anyOf": [{"$ref": f"#/$defs/{_key(cls, registry)}"} for cls in roots]}
    unnamed = {"if": {"required": ["extends"]}, "then": extending, "else": default}
    return {
        "$schema": DIALECT,
        "title": "ganzoo recipe",
        "type": "object",
        "properties": {"use": {"enum": [name for cls in roots for name in _names(cls, registry)]}},
        "allOf": [_branch(cls, registry) for cls in roots],
        "if": {"not": {"required": ["use"]}},
        "then": unnamed,
        "$defs": defs,
    }


def _root(cls: type[Component], registry: Registry, defs: Json) -> Json:
    """The schema of a whole recipe: of a component with its options, that may extend another recipe."""
    root = _component(cls, registry, defs)
    shipped = sorted(path.stem for p in plugin.installed() for path in p.recipes())
    known = [{"enum": shipped}] if shipped else []
    root["properties"] = {
        "extends": {
            "description": "an architecture by name, or a recipe file, that this one changes",
            "anyOf": [*known, {"type": "string"}],
        },
        **root["properties"],
    }
    needed = [name for name, field in options(cls).model_fields.items() if field.is_required()]
    return {**root, "anyOf": [{"required": ["extends"]}, {"required": needed}]}


def _branch(cls: type[Component], registry: Registry) -> Json:
    """The schema of a component where `use` names it."""
    named = {"properties": {"use": {"enum": _names(cls, registry)}}, "required": ["use"]}
    return {"if": named, "then": {"$ref": f"#/$defs/{_key(cls, registry)}"}}


def _key(cls: type[Component], registry: Registry) -> str:
    owned = registry.get(cls.kind, cls.name) is cls
    return f"{cls.kind}.{cls.name}" if owned else f"{cls.kind}.{registry.owner(cls)}.{cls.name}"


def _names(cls: type[Component], registry: Registry) -> list[str]:
    qualified = f"{registry.owner(cls)}:{cls.name}"
    published = [name for name, owner in published_names(cls.kind, registry).items() if owner is cls]
    return [*([cls.name] if registry.get(cls.kind, cls.name) is cls else []), qualified, *published]


def _kind(kind: str, registry: Registry) -> Json:
    """A name, or a mapping that names a component and its options; without a name, the options of any."""
    members = [cls for cls in registry if cls.kind == kind]
    if not members:
        return {"not": {}, "description": f"no {kind} is installed"}
    names = [name for cls in members for name in _names(cls, registry)]
    branches = [_branch(cls, registry) for cls in members]
    refs = [{"$ref": f"#/$defs/{_key(cls, registry)}"} for cls in members]
    unnamed = {"if": {"not": {"required": ["use"]}}, "then": {"anyOf": refs}}
    mapping = {"type": "object", "properties": {"use": {"enum": names}}, "allOf": [*branches, unnamed]}
    return {"anyOf": [{"enum": names}, mapping]}


def _component(cls: type[Component], registry: Registry, defs: Json) -> Json:
    properties: Json = {"use": {"enum": _names(cls, registry), "description": summary(cls)}}
    texts = described(cls)
    for name, prop in _plain(options(cls), defs).items():
        slot = slots(cls).get(name)
        properties[name] = (_slot(slot) if slot else prop) | ({"description": texts[name]} if name in texts else {})
    return {
        "type": "object",
        "description": f"{summary(cls)}{f' ({cls.paper})' if cls.paper else ''}",
        "properties": properties,
        "additionalProperties": False,
    }


def _slot(slot: Slot) -> Json:
    ref: Json = {"$ref": f"#/$defs/{slot.kind}"}
    if slot.many:
        return {"type": "array", "items": ref}
    return {"anyOf": [ref, {"type": "null"}]} if slot.optional else ref


def _plain(model: type[BaseModel], defs: Json) -> Json:
    """pydantic's schema of the plain options; groups of options, such as `training`, go to $defs."""
    with warnings.catch_warnings():  # a slot's default is a class, which has no JSON
        warnings.simplefilter("ignore")
        generated = model.model_json_schema(ref_template="#/$defs/{model}")
    for name, group in generated.pop("$defs", {}).items():
        cls = _group(model, name)
        for option, text in (described(cls) if cls else {}).items():
            if option in group["properties"]:
                group["properties"][option]["description"] = text
        group["description"] = summary(cls) if cls else name  # type: ignore[arg-type]
        defs[name] = _untitled(group)
    return {name: _untitled(deepcopy(prop)) for name, prop in generated.get("properties", {}).items()}


def _group(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    types = (field.annotation for field in model.model_fields.values())
    return next((t for t in types if isinstance(t, type) and issubclass(t, BaseModel) and t.__name__ == name), None)


def _untitled(value: Any) -> Any:
    """Remove pydantic's generated titles, which only repeat the names."""
    if isinstance(value, dict):
        return {k: _untitled(v) for k, v in value.items() if not (k == "title" and isinstance(v, str))}
    return [_untitled(v) for v in value] if isinstance(value, list) else value


def option_rows(cls: type[Component]) -> list[dict[str, str]]:
    """Describe each option of a component in words: option, type, default, meaning."""
    texts, rows = described(cls), []
    plain = _plain(options(cls), {})
    for name, field in options(cls).model_fields.items():
        slot = slots(cls).get(name)
        default = "needed" if field.is_required() else _default(field.default)
        rows.append(
            {
                "option": name,
                "type": _slot_words(slot) if slot else words(plain[name]),
                "default": default,
                "meaning": texts.get(name, ""),
            }
        )
    return rows


def _slot_words(slot: Slot) -> str:
    return f"list of {slot.kind}" if slot.many else f"{slot.kind} or null" if slot.optional else slot.kind


def _default(value: Any) -> str:
    if preset := default_of(value):
        cls, settings = preset
        return f"{cls.name} ({', '.join(f'{k}={v}' for k, v in settings.items())})" if settings else cls.name
    if isinstance(value, BaseModel):
        return "its own"
    return json.dumps(value, default=str)


LIMITS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


def words(prop: Json) -> str:
    """A property of a JSON Schema in words: 'integer from 1'."""
    if "anyOf" in prop:
        return " or ".join(words(p) for p in prop["anyOf"])
    if "enum" in prop:
        return " or ".join(json.dumps(v) for v in prop["enum"])
    if "$ref" in prop:
        return "options"
    if "prefixItems" in prop:
        return f"[{', '.join(words(p) for p in prop['prefixItems'])}]"
    limits = "".join(f" {text.format(prop[key])}" for key, text in LIMITS.items() if key in prop)
    return f"{prop.get('type', 'any')}{limits}"
