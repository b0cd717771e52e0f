"""The base of every component: a kind, a name, a paper, and the options that its signature declares.

The signature is the schema. Parameters before `/` are sizes, passed by the parent. Parameters after `*` are options,
set by a recipe. An option typed `Make[Kind]` is a slot: the recipe picks the class, the parent calls it with sizes.

A subclass that ends its signature with `**options`, and passes them to `super().__init__`, has the options of its base
too. It may name one of them to give it another default, and must not fix one: every option can be set by a recipe.

    class Wide(Dense, name="wide"):
        def __init__(self, channels: int, /, *, gain: float = 2.0, groups: int = 1, **options: Any) -> None:
            super().__init__(channels, gain=gain, **options)
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, ClassVar, Protocol, Self, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ganzoo.errors import OptionError, did_you_mean

T_co = TypeVar("T_co", covariant=True)

F = TypeVar("F", bound=Callable[..., Any])

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=())


class Make(Protocol[T_co]):
    """A slot: a factory that the recipe chose and configured, called by the parent with sizes."""

    def __call__(self, *args: Any, **kwargs: Any) -> T_co:
        """Build the component."""
        ...


class Component:
    """Base of everything a plugin registers.

    `class R1(Regularizer, name="r1", paper="arXiv:...")` names it; the hook `ganzoo_components` of a plugin returns it.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    trial: ClassVar[str] = ""  # "module:function" with which ganzoo.testing tries a component of this kind
    example: ClassVar[Mapping[str, Any]] = {}  # options without a default, with which ganzoo.testing tries it
    retired: ClassVar[frozenset[str]] = frozenset()  # options it had and that changed no result: read, and ignored
    former_names: ClassVar[frozenset[str]] = frozenset()  # names under which earlier recipes know it

    def __init_subclass__(cls, *, kind: str = "", name: str = "", paper: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind or cls.kind
        cls.name = name
        cls.paper = paper or cls.paper

    def __new__(cls, *sizes: Any, **given: Any) -> Self:
        """Check the options that are given, by the rules of recipes. Raises OptionError."""
        if given:
            require_valid(cls, given)
        return super().__new__(cls)

    @classmethod
    def upgraded(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Bring a recipe's options from the form of an earlier version to today's; idempotent.

        Args:
            options: the raw values that a recipe gives this component, before they are checked
        """
        return options


class Options(BaseModel):
    """A group of plain options, such as `training:`; strict like a component's own."""

    model_config = STRICT


@dataclass(frozen=True)
class Slot:
    """A parameter that takes another component."""

    kind: str
    many: bool  # a list of components
    optional: bool  # null leaves it empty


def slot_of(annotation: Any) -> Slot | None:
    """`Make[Norm]`, `Make[Norm] | None` and `list[Make[Norm]]` are slots; everything else is a plain value."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        inner = [a for a in args if a is not NoneType]
        slot = slot_of(inner[0]) if len(inner) == 1 else None
        return slot and Slot(slot.kind, slot.many, optional=True)
    if origin is list and (inner_slot := slot_of(args[0])):
        return Slot(inner_slot.kind, many=True, optional=False)
    if origin is Make:
        return Slot(args[0].kind, many=False, optional=False)
    return None


def _cached(function: F) -> F:
    """functools.cache, typed as the function itself: type checkers do not see that classes are hashable."""
    return cast(F, cache(function))


def _relayed(cls: type[Component], relay: Any) -> Iterator[list[inspect.Parameter]]:
    """Yield the parameters of a class's `__init__`, and of its base's while they are relayed by `*` or `**`."""
    for base in cls.__mro__:
        if "__init__" in vars(base):
            signature = inspect.signature(vars(base)["__init__"], eval_str=True)
            _self, *parameters = signature.parameters.values()
            yield parameters
            if not any(p.kind is relay for p in parameters):
                return


@_cached
def option_parameters(cls: type[Component]) -> dict[str, inspect.Parameter]:
    """{option: parameter} of all options that a class takes; `**options` stands for those of its base.

    Options of the base come first. One that the class names itself replaces the base's, in its place.
    """
    merged: dict[str, inspect.Parameter] = {}
    for each in reversed(list(_relayed(cls, inspect.Parameter.VAR_KEYWORD))):
        merged |= {p.name: p for p in each if p.kind is p.KEYWORD_ONLY}
    return merged


def sizes(cls: type[Component]) -> list[str]:
    """Names of the sizes a parent passes to this class; `*sizes` stands for those of its base."""
    relayed = _relayed(cls, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for each in relayed for p in each if p.kind is p.POSITIONAL_ONLY]


@_cached
def slots(cls: type[Component]) -> dict[str, Slot]:
    """{parameter: slot} for the parameters that take other components."""
    return {p.name: slot for p in option_parameters(cls).values() if (slot := slot_of(p.annotation))}


@_cached
def options(cls: type[Component]) -> type[BaseModel]:
    """The recipe options of a class as a strict pydantic model.

    Slots appear as `Any`; `ganzoo.recipe` checks them by kind.
    """
    fields: dict[str, Any] = {}
    for p in option_parameters(cls).values():
        annotation = Any if p.name in slots(cls) or p.annotation is p.empty else p.annotation
        fields[p.name] = (annotation, ... if p.default is p.empty else p.default)
    return create_model(cls.__name__, __config__=STRICT, __doc__=cls.__doc__, **fields)


@_cached
def _other_keywords(cls: type[Component]) -> frozenset[str]:
    """Names of parameters that are no options, and can be given by name all the same."""
    relayed = _relayed(cls, inspect.Parameter.VAR_KEYWORD)
    return frozenset(p.name for each in relayed for p in each if p.kind is p.POSITIONAL_OR_KEYWORD)


def require_valid(cls: type[Component], given: Mapping[str, Any]) -> None:
    """Raise OptionError where options given in Python are unknown, missing, or of a value that no recipe could give.

    A slot takes what builds a component: a class, or a partial of one.
    """
    model, slotted = options(cls), slots(cls)
    values = {name: value for name, value in given.items() if name not in _other_keywords(cls)}
    try:
        model.__pydantic_validator__.validate_python(values)
    except ValidationError as err:
        plain = {name: value for name, value in values.items() if name not in slotted}
        filled = dict.fromkeys(values.keys() & slotted.keys())
        try:  # as recipes are checked: a list is a tuple there, and text a path
            model.model_validate_json(json.dumps(filled | plain, default=_as_in_recipes))
        except (ValidationError, ValueError):
            raise OptionError(faults=_faults(cls, err)) from None
    for name in values.keys() & slotted.keys():
        slot, value = slotted[name], values[name]
        each = value if slot.many and isinstance(value, list | tuple) else [value]
        if not all(callable(make) or (make is None and slot.optional) for make in each):
            fault = f"a slot takes what builds a {slot.kind}, a class or a partial, got {value!r}"
            cure = f"build it with recipe.component({cls.kind!r}, {cls.name!r}, ...), which takes names"
            raise OptionError(fault, cure=cure, origin=f"{cls.kind} '{cls.name}'", path=(name,))


def _as_in_recipes(value: Any) -> Any:
    """A value as a recipe would hold it."""
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else str(value)


def no_option(owner: str, name: str, known: Sequence[str]) -> str:
    """The sentences about an option that is not there: what has it not, what may be meant, and all that there are."""
    listed = f"Options: {', '.join(known)}." if known else "It has none."
    return f"{owner} has no option '{name}'.{did_you_mean(name, known)} {listed}"


def _faults(cls: type[Component], err: ValidationError) -> list[OptionError]:
    """Return an error for each option at fault."""
    messages: dict[str, list[str]] = {}
    for error in err.errors():
        option, given, names = str(error["loc"][0]), error["input"], list(options(cls).model_fields)
        if error["type"] == "extra_forbidden":
            message = no_option(cls.name, option, names)
        elif error["type"] == "missing":
            message = f"{cls.name} needs the option '{option}'."
        else:
            message = f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {given!r}."
        messages.setdefault(option, []).append(message)
    origin = f"{cls.kind} '{cls.name or cls.__name__}'"
    return [OptionError(" Or: ".join(dict.fromkeys(m)), origin=origin, path=(o,)) for o, m in messages.items()]


def default_of(default: Any) -> tuple[type[Component], dict[str, Any]] | None:
    """A slot's default, written as `PixelNorm` or `partial(PixelNoise, per="layer")`, as (class, options)."""
    if isinstance(default, partial):
        return default.func, dict(default.keywords)  # type: ignore[return-value]
    return (default, {}) if isinstance(default, type) else None


def summary(cls: type[Component]) -> str:
    """First sentence of the docstring, on one line."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "").split("\n\n")[0]
    return " ".join(text.split())


def described(cls: type[Any]) -> dict[str, str]:
    """{option: text} from the `Args:` section of a class docstring (and of the classes it extends)."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        _, _, args = doc.partition("Args:\n")
        for name, text in re.findall(r"^    (\w+): ((?:.|\n(?:     |\n))*)", args, flags=re.MULTILINE):
            texts[name] = " ".join(text.split())
    return texts
