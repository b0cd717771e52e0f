"""Options that several commands share, and groups of options that a command receives as one object."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

Result = TypeVar("Result")
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Sets = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change any value of the recipe, as training.lr=1e-3; repeatable."),
]


def with_groups(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command an option for each field of its parameters that are dataclasses; it is called with objects.

    typer reads a command's signature, so the wrapper has one in which the fields, typed `Annotated[type, Option(...)]`,
    stand in the place of the parameter.

        @with_groups
        def walk(ckpt: Checkpoint, drawing: Drawing, fps: int = 30) -> None: ...
    """
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation) and isinstance(parameter.annotation, type):
            groups[parameter.name] = parameter.annotation
            parameters += _options(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))  # defaults may stand before others

    @wraps(command)
    def run(**values: Any) -> Result:
        objects = {
            name: group(**{f.name: values.pop(f.name) for f in fields(group) if f.name in values})
            for name, group in groups.items()
        }
        return command(**values, **objects)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a command."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


FOLDERS = "folders"  # value of --labels that makes class folders labels


def parse_labels(text: str | None) -> tuple[int | None, bool]:
    """Read --labels: (number of labels, None where it gives none; whether folders are classes). Raises UsageError."""
    from ganzoo.errors import UsageError

    if text is None:
        return None, False
    if text == FOLDERS:
        return None, True
    if not re.fullmatch(r"\d{1,7}", text):
        cure = "give the number of classes, or of a vector's entries, or the word folders"
        raise UsageError(place=f"--labels {text}", cure=cure)
    return int(text), False
