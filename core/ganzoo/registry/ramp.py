"""Numbers that may change in the course of a training, as a function of the real images shown.

An option typed `Scheduled[Positive]` takes a number or a ramp, within the limits of `Positive`; `at` is its value:

    lr: 0.002
    lr: {from: 2.0e-4, to: 5.0e-5, kimg: 20000, curve: cosine}
"""

import math
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from annotated_types import Ge, Gt
from pydantic import Discriminator, Field, GetCoreSchemaHandler, Tag, create_model, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from ganzoo.registry.component import Options

T = TypeVar("T", bound=float)
NUMBER, RAMP = "a-number", "a-ramp"  # no identifiers: messages about options leave them out of paths


class Ramp(Options):
    """A number that goes from one value to another while images are shown, and then stays.

    Args:
        from: value at the beginning
        to: value at the end
        kimg: thousands of real images shown when the end is reached
        after_kimg: thousands of real images shown when it begins to change
        curve: "linear"; "cosine", half a period of it: slow at both ends; "exponential", by equal factors in equal
            times, between values above 0
    """

    start: float = Field(alias="from")
    to: float
    kimg: Annotated[float, Gt(0)]
    after_kimg: Annotated[float, Ge(0)] = 0.0
    curve: Literal["linear", "cosine", "exponential"] = "linear"

    @model_validator(mode="after")
    def _ends_fit(self) -> "Ramp":
        if self.after_kimg >= self.kimg:
            raise PydanticCustomError("ramp", "a ramp begins before it ends: choose after_kimg below kimg")
        if self.curve == "exponential" and min(self.start, self.to) <= 0:
            raise PydanticCustomError("ramp", "an exponential ramp lies above 0: choose ends above 0, or another curve")
        return self

    def at(self, images: float) -> float:
        """Return the value after so many real images."""
        passed = (images / 1000 - self.after_kimg) / (self.kimg - self.after_kimg)
        t = min(max(passed, 0.0), 1.0)
        if self.curve == "exponential":
            return self.start * (self.to / self.start) ** t
        if self.curve == "cosine":
            t = (1 - math.cos(math.pi * t)) / 2
        return self.start + t * (self.to - self.start)


class _Within:
    """Gives both ends of a ramp the limits of the number beside it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = get_args(source)[0]
        choice: Any = Annotated[
            Annotated[number, Tag(NUMBER)] | Annotated[_ramp_within(number), Tag(RAMP)], Discriminator(_form)
        ]
        return handler.generate_schema(choice)


@cache
def _ramp_within(number: Any) -> Any:
    """A ramp between such numbers. It is named for their limits, as a JSON Schema needs: Ramp_ge_0.

    It may begin or end at 0 where the number alone must be above 0: a warm-up, or a decay to the end.
    """
    limits = [Ge(0) if limit == Gt(0) else limit for limit in get_args(number)[1:]]
    bounds = [(name, value) for limit in limits for name, value in asdict(limit).items() if value is not None]
    name = "_".join(["Ramp", *(f"{name}_{value:g}" for name, value in bounds)])
    end = Annotated[float, *limits]
    ends: Any = {"start": (end, Field(alias="from")), "to": (end, ...)}
    return create_model(name, __base__=Ramp, __doc__=Ramp.__doc__, **ends)


def _form(value: Any) -> str:
    return RAMP if isinstance(value, dict | Ramp) else NUMBER


Scheduled: TypeAlias = Annotated[T | Ramp, _Within()]


def at(value: float | Ramp, images: float) -> float:
    """Return the value of a scheduled option after so many real images."""
    return value.at(images) if isinstance(value, Ramp) else value


def ramps(options: Any, path: str = "") -> dict[str, Ramp]:
    """Find the ramps among the values of a filled recipe, as `Node.dump` gives it, by their dotted paths."""
    if isinstance(options, dict):
        if {"from", "to", "kimg"} <= options.keys():
            return {path: Ramp.model_validate(options)}
        pairs = [(str(key), value) for key, value in options.items()]
    else:
        pairs = [(str(i), value) for i, value in enumerate(options)] if isinstance(options, list | tuple) else []
    return {name: ramp for key, value in pairs for name, ramp in ramps(value, f"{path}.{key}".lstrip(".")).items()}
