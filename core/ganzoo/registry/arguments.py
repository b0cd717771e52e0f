"""Arguments of functions for users, checked by their annotations: a wrong type gets a sentence, text becomes a path."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from ganzoo.errors import ArgumentError

P = ParamSpec("P")
T = TypeVar("T")
NAMES = {int: "a whole number", float: "a number", str: "text", bool: "True or False", Path: "a path", NoneType: "None"}
PLURALS = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
SHOWN = 60  # characters of a value that a message shows


def checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function raise ArgumentError for arguments of types that it does not take.

    An argument that may be a path and no text is made one. Arrays and tensors of one dimension stand for sequences.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            if name in hints and name != "self":
                bound.arguments[name] = _fitting(value, hints[name], f"{function.__name__}()", name)
        return function(*bound.args, **bound.kwargs)

    return checked


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function, resolved when it is first called: what they name may be imported later than it."""
    return get_type_hints(function)


def require_type(value: Any, kind: Any, where: str, name: str) -> Any:
    """Return a value as `checked_arguments` would give it to a function, or raise ArgumentError."""
    return _fitting(value, kind, where, name)


def _fitting(value: Any, kind: Any, where: str, name: str) -> Any:
    kinds = _alternatives(kind)
    if any(each == Sequence[int] for each in kinds) and not isinstance(value, Sequence) and hasattr(value, "tolist"):
        value = value.tolist()
    if not any(_is(value, each) for each in kinds):
        wanted = " or ".join(dict.fromkeys(_in_words(each) for each in kinds))
        shown = repr(value) if len(repr(value)) <= SHOWN else f"a {type(value).__name__}"
        raise ArgumentError(f"takes {name} as {wanted}, got {shown}", place=where)
    if any(each == Sequence[int] for each in kinds) and isinstance(value, list | tuple):
        return [int(number) for number in value]  # numpy's integers too
    return Path(value) if Path in kinds and str not in kinds and isinstance(value, str | PathLike) else value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; the one type of any other annotation."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(each for arg in get_args(kind) for each in _alternatives(arg))
    return (NoneType,) if kind is None else (kind,)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; of a choice of words, any text is, since its function says which there are."""
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Any or isinstance(origin, TypeVar):
        return True
    if origin is Literal:
        return isinstance(value, str)
    if origin is Callable:
        return callable(value)
    if origin is Path:
        return isinstance(value, str | PathLike) and not isinstance(value, bytes)
    if origin in (int, float):
        return isinstance(value, Integral if origin is int else Real)
    if origin in (Sequence, Iterable):
        each = _alternatives(args[0]) if args else (Any,)
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, origin):
            return False
        return not isinstance(value, Sequence) or all(any(_is(item, one) for one in each) for item in value)
    return isinstance(value, origin) if isinstance(origin, type) else True


def _in_words(kind: Any) -> str:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in (Sequence, Iterable):
        return f"a sequence of {PLURALS.get(args[0] if args else Any, 'values')}"
    if origin is Literal:
        return "text"
    if origin is Callable:
        return "a function"
    if origin is Mapping:
        return "a mapping"
    return NAMES.get(origin) or f"a {getattr(origin, '__name__', origin)}"
