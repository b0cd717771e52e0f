"""YAML to plain values and back. Each value remembers the file and line it was written at."""

import json
import re
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ganzoo.errors import RecipeError, ZooError
from ganzoo.io import budgets
from ganzoo.registry.arguments import checked_arguments

Scalar = str | int | float | bool | date | None  # of a key: YAML's scalars as ruamel.yaml reads them
Where = tuple[str | int, ...]
ALIAS = r"(?<![\w*])\*\w"  # the beginning of an alias
STEP = r"[^\s.\[\]{}()'\",=]+"  # of a key: the name of an option, or an index
DIRECTIVE = r"(?m)^(\ufeff?%YAML +)1\.\d+(?!\S)"  # the version of YAML that a file was written for
KEY = rf"{STEP}(\[\d{{1,5}}\])*(\.{STEP}(\[\d{{1,5}}\])*)*"
E = TypeVar("E", bound=ZooError)


@dataclass
class Source:
    """A recipe's plain tree, and where each value was written.

    Args:
        tree: all values
        origins: 'file:line' of each value, or the `--set` that gave it
        name: path of the recipe's file, or what else it came from
        text: the file as it was written
        own: what the file says itself, before the recipes that it extends were merged in
    """

    tree: dict[str, Any]
    origins: dict[Where, str] = field(default_factory=dict)
    name: str = "recipe"
    text: str = ""
    own: dict[str, Any] = field(default_factory=dict)

    def origin(self, where: Where) -> str:
        """'file:line' of the nearest enclosing value."""
        for end in range(len(where), -1, -1):
            if where[:end] in self.origins:
                return self.origins[where[:end]]
        return self.name

    def files(self) -> list[str]:
        """List what the values come from: the recipe itself, then its parents, then overrides."""
        names = dict.fromkeys(re.sub(r":\d+$", "", origin) for where, origin in self.origins.items() if where)
        return sorted({self.name: None} | names, key=lambda name: (name != self.name, name.startswith("--set ")))

    def fail(self, where: Where, fault: str, cure: str = "") -> RecipeError:
        """An error of the value at a path, with the file and line that it was written at."""
        return RecipeError(fault, cure=cure, origin=self.origin(where), path=where)

    def locate(self, err: E, where: Where) -> E:
        """Return the same error as one of the value at a path."""
        if not isinstance(err, RecipeError):
            return err.at(" ".join(f"{part}:" for part in (self.origin(where), ".".join(map(str, where))) if part))
        located = copy(err)
        located.path = self._users((where, *err.also))
        located.origin = self.origin(located.path)
        return located

    def _users(self, places: Sequence[Where]) -> Where:
        """The value that the user wrote, among several that make a fault together; else the first."""
        overridden = [where for where in places if self.origin(where).startswith("--set ")]
        own = [where for where in places if where and self.origin(where).startswith(f"{self.name}:")]
        return [*overridden, *own, *places][0]


@checked_arguments
def load_yaml(path: Path) -> Source:
    """Read a YAML 1.2 file into plain values. A file that calls itself YAML 1.1 or 1.3 is read as 1.2, as 1.2 demands.

    Two equal keys, tabs, tags and other faults raise RecipeError with the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(budgets.RECIPE_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as err:
        reason = (
            "is not UTF-8 text" if isinstance(err, UnicodeDecodeError) else f"cannot be read: {err.strerror or err}"
        )
        raise RecipeError(reason, place=str(path), cure="save it as UTF-8 text that you may read") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Source:
    """Like `load_yaml`, from text."""
    _require_small(text, name)
    yaml = YAML(typ="rt", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows an anchor to be set anew; a warning would reach stderr
    try:
        raw = yaml.load(_as_current_version(text))
    except MarkedYAMLError as err:
        origin = f"{name}:{err.problem_mark.line + 1}" if err.problem_mark else name
        raise RecipeError(f"{' '.join(str(err.problem or err.context).split())}.", origin=origin) from None
    except (AttributeError, TypeError, LookupError):  # ruamel.yaml's own, of an anchor that contains itself
        fault = "its anchors and merges ('&', '*', '<<') cannot be resolved"
        raise RecipeError(fault, cure="write the values out", origin=name) from None
    except (YAMLError, ValueError, RecursionError) as err:
        raise RecipeError(f"not YAML: {' '.join(str(err).split())[:200].rstrip('.')}.", origin=name) from None
    source = Source({}, {(): name}, name, text.removeprefix("\ufeff"))
    tree = _plain(raw, (), source)
    if not isinstance(tree, dict):
        given = "empty" if tree is None else type(tree).__name__
        raise RecipeError(f"a recipe is a mapping of keys to values, this is {given}.", origin=name)
    source.tree, source.own = tree, deepcopy(tree)
    return source


def parse_value(text: str, flag: str) -> Any:
    """Parse the value of an option given as KEY=VALUE, in which `#` begins no comment: `#ff0000` is a colour.

    Raises RecipeError, which begins with the flag.
    """
    if re.search(r"(^|\s)#", text) and text.lstrip()[:1] not in ('"', "'", "[", "{"):
        return text.strip()
    try:
        return parse_yaml(f"v: {text}", flag).tree["v"]
    except RecipeError as err:  # of a line and a key that the user has not written
        err.origin, err.path = err.origin and flag, err.path[1:]
        raise


def parse_key(key: str, flag: str, cure: str = "write it as path.to.option=value") -> Where:
    """Parse the dotted key of KEY=VALUE: 'regularizers.0.gamma', or with an index in brackets, 'regularizers[0].gamma'.

    An index in brackets is returned as an int, all else as text. Raises RecipeError, which begins with the flag and
    says how the key is written.
    """
    if not re.fullmatch(KEY, key):
        fault = f"'{key}' is no key of options joined by single dots"
        raise RecipeError(fault, cure=f"{cure}, with an entry of a list as regularizers.0.gamma=10", origin=flag)
    if len(re.findall(r"[.\[]", key)) >= budgets.RECIPE_LEVELS:
        raise _too_large(f"{budgets.RECIPE_LEVELS} levels", flag)
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)(?!\d*\])|\[(\d+)\]", key))


def _as_current_version(text: str) -> str:
    """Replace the version in a document's %YAML directive by 1.2, where the lines before the document name one."""
    head, mark, document = text.partition("\n---")
    return re.sub(DIRECTIVE, r"\g<1>1.2", head) + mark + document if mark else text


def _require_small(text: str, name: str) -> None:
    """Raise RecipeError for a text that takes more than seconds to parse, before it is parsed."""
    if len(text) > budgets.RECIPE_CHARACTERS:
        raise _too_large(f"{budgets.RECIPE_CHARACTERS:,} characters", name)
    if text.count("[") + text.count("{") > budgets.RECIPE_BRACKETS:
        raise _too_large(f"{budgets.RECIPE_BRACKETS:,} brackets", name)
    if len(re.findall(ALIAS, text)) > budgets.RECIPE_ALIASES:
        raise _too_large(f"{budgets.RECIPE_ALIASES} aliases", name)


def _too_large(limit: str, name: str) -> RecipeError:
    return RecipeError(f"more than {limit}, which is the limit: this is no recipe.", origin=name)


def _plain(value: Any, where: Where, source: Source) -> Any:
    if len(source.origins) > budgets.RECIPE_VALUES:
        raise _too_large(f"{budgets.RECIPE_VALUES:,} values", source.name)
    if len(where) > budgets.RECIPE_LEVELS:
        raise _too_large(f"{budgets.RECIPE_LEVELS} levels", source.name)
    if (tag := getattr(value, "tag", None)) and tag.value:
        raise source.fail(where, f"the YAML tag '{tag.value}' has no meaning in a recipe", "leave it out")
    if isinstance(value, CommentedMap):
        _refuse_nested_merges(value, where, source)
        out = {}
        for key, item in value.items():
            written = key in (value.lc.data or {})  # not merged from another mapping
            source.origins[*where, str(key)] = (
                f"{source.name}:{value.lc.key(key)[0] + 1}" if written else source.origin(where)
            )
            if not isinstance(key, Scalar):
                form = {bytes: "byte string"}.get(type(key), "list" if isinstance(key, Sequence) else "mapping")
                raise RecipeError(
                    f"a key is a {form}, and an option has a name",
                    cure="write one name before the colon",
                    origin=source.origins[*where, str(key)],
                    path=where,
                )
            out[str(key)] = _plain(item, (*where, str(key)), source)
        return out
    if isinstance(value, CommentedSeq):
        for i in range(len(value)):
            source.origins[*where, i] = f"{source.name}:{value.lc.item(i)[0] + 1}"
        return [_plain(item, (*where, i), source) for i, item in enumerate(value)]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def _refuse_nested_merges(value: CommentedMap, where: Where, source: Source) -> None:
    """Raise RecipeError for a mapping that merges one which merges another in its turn."""
    merged = [entry[-1] if isinstance(entry, tuple) else entry for entry in value.merge]  # by ruamel.yaml's version
    if any(getattr(inner, "merge", []) for inner in merged):
        fault = "'<<' merges a mapping that has a '<<' of its own, and a recipe takes one level"
        raise source.fail(where, fault, "write the values out, or put them into a recipe that this one extends")


def to_json(value: Any, name: str) -> str:
    """Python values as JSON: arrays and tensors become lists and numbers, and what YAML cannot hold becomes text.

    Raises RecipeError, which begins with a name, for keys that are no text and for a value that holds itself.
    """
    try:
        return json.dumps(value, default=lambda item: item.tolist() if hasattr(item, "tolist") else str(item))
    except (TypeError, ValueError, RecursionError) as err:
        fault = f"it cannot be written as YAML ({' '.join(str(err).split())[:100]})"
        raise RecipeError(fault, cure="use text as keys, and no value that holds itself", origin=name) from None


def to_yaml(tree: dict[str, Any]) -> str:
    """A plain tree as YAML text."""
    out = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(tree, out)
    return out.getvalue()
