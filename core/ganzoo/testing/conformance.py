"""Conformance: what every component of every plugin must do.

A plugin's whole test file may be

    from ganzoo.testing import conformance

    def test_conformance() -> None:
        conformance("my_plugin")

Nonconforming then says what is wrong, a line for each fault.
"""

import inspect
import tempfile
from collections.abc import Callable, Container, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, get_origin

from ganzoo.errors import PluginError
from ganzoo.interfaces import Dataset
from ganzoo.recipe.contents import help_of
from ganzoo.registry import plugin as plugins
from ganzoo.registry.component import Component, default_of, described, option_parameters, options, slots, summary
from ganzoo.registry.lookup import Registry, registry
from ganzoo.testing.cases import CASES
from ganzoo.testing.kinds import CHECKS, example
from ganzoo.testing.modules import check_module

SIZES = ((8, 8), (12, 8))  # each component is built for a square and for another size


class Nonconforming(AssertionError):
    """The faults of a plugin, one line each."""


def conformance(plugin: str) -> None:
    """Check every component and command of a plugin. Raises Nonconforming with all faults.

    A package that brings commands alone is named by its module.
    """
    known = registry()
    if problems := [str(problem) for name, problem in known.problems.items() if name.partition(" (")[0] == plugin]:
        raise Nonconforming("\n".join(problems))
    classes = [cls for cls in known if known.owner(cls) == plugin]
    module = next((p.module for p in plugins.installed() if p.name == plugin), plugin)
    commands = [c for c in plugins.commands() if c.target.partition(":")[0].partition(".")[0] == module]
    if not (classes or commands):
        raise Nonconforming(
            f"no installed plugin '{plugin}' registers a component or a command. Installed: "
            f"{', '.join(known.versions) or 'none'}."
        )
    with tempfile.TemporaryDirectory() as folder:
        faults = [
            f"{cls.kind} '{cls.name}': {fault}" for cls in classes for fault in faults_of(cls, known, Path(folder))
        ]
    faults += [f"command '{command.name}': {fault}" for command in commands for fault in _command(command)]
    if faults:
        raise Nonconforming("\n".join(faults))


def faults_of(cls: type[Component], known: Registry, folder: Path) -> Iterator[str]:
    """Everything that one class does wrong; `folder` is for files."""
    try:
        yield from _declaration(cls)
        if getattr(cls, "needs_weights", False):
            return  # it cannot be tried without its file
        source = {"path": example(cls, folder)} if issubclass(cls, Dataset) and cls.needs_path else {}
        make = partial(
            cls, **source, **cls.example, **default_slots(cls, known, {"path", *cls.example}), **_extractors(cls, known)
        )
    except LookupError as err:
        yield str(err)
        return
    except Exception as err:
        yield f"its signature cannot be read: {type(err).__name__}: {err}"
        return
    try:
        check = trial(cls)
    except (LookupError, ImportError, AttributeError) as err:
        yield f"its kind '{cls.kind}' cannot be tried: {err}"
        return
    for size in SIZES:
        try:
            yield from (f"{fault} (size {size[0]}x{size[1]})" for fault in check(make, cls, size))
        except Exception as err:
            yield f"{type(err).__name__} at size {size[0]}x{size[1]}: {err}"


def _command(command: plugins.Command) -> Iterator[str]:
    """It can be imported, and has a line of help."""
    try:
        if not help_of(command):
            yield "has no help: its docstring's first line stands in 'gz --help'"
    except PluginError as err:
        yield str(err)


def trial(cls: type[Component]) -> Callable[..., Iterator[str]]:
    """The check of a class's kind: that which the kind brings (`Component.trial`), or one of core's.

    Raises LookupError for a kind without one.
    """
    if cls.trial:
        module, _, name = cls.trial.partition(":")
        check: Callable[..., Iterator[str]] = getattr(import_module(module), name)
        return check
    if found := [check for base, check in CHECKS.items() if issubclass(cls, base)]:
        return found[0]
    if cls.kind in CASES:
        return check_module
    raise LookupError("let its base class name a check, as trial = 'module:function'")


def _declaration(cls: type[Component]) -> Iterator[str]:
    if not summary(cls):
        yield "has no docstring: its first sentence stands in 'gz components list'"
    for base in cls.__mro__:
        for name, annotation in inspect.get_annotations(base).items():
            origin: Any = get_origin(annotation)
            if origin is ClassVar and not hasattr(cls, name):
                yield f"does not say what '{name}' is: set it in the class body, as {base.__name__} declares it"
    texts = described(cls)
    for p in option_parameters(cls).values():
        if p.name not in texts:
            yield f"option '{p.name}' is not described: add it to the docstring's 'Args:'"
        if p.annotation in (p.empty, Any):
            yield f"option '{p.name}' has no type"


def default_slots(cls: type[Component], known: Registry, given: Container[str] = ()) -> dict[str, Any]:
    """Some component for each required slot of a class, of its own plugin where there is one."""
    found: dict[str, Any] = {}
    for name, slot in slots(cls).items():
        if slot.optional or slot.many or name in given:
            continue
        if preset := default_of(options(cls).model_fields[name].default):
            if inner := default_slots(preset[0], known, preset[1]):  # the default has slots of its own to fill
                found[name] = partial(preset[0], **preset[1], **inner)
            continue
        candidates = [c for c in known if c.kind == slot.kind and not c.__name__.startswith("_")]
        candidates.sort(key=lambda c: (known.owner(c) != known.owner(cls), *_convenience(c), c.name))
        if not candidates:
            raise LookupError(f"its slot '{name}' needs a {slot.kind}, and none is installed")
        found[name] = partial(candidates[0], **default_slots(candidates[0], known))
    missing = [
        n for n, f in options(cls).model_fields.items() if f.is_required() and n not in slots(cls) and n not in given
    ]
    if missing:
        raise LookupError(f"its option '{missing[0]}' has no default, so it cannot be tried: give it one")
    return found


def _convenience(cls: Any) -> tuple[bool, bool, bool]:
    """Sorts parts that fit any parent first: styled ones, mappings to codes of any length, images of any size."""
    return not getattr(cls, "styled", True), getattr(cls, "keeps_size", False), getattr(cls, "square", False)


def _extractors(cls: type[Component], known: Registry) -> dict[str, Any]:
    """In each slot for an extractor, one that needs no file, where there is one."""
    chosen = {}
    for name, slot in slots(cls).items():
        free = [c for c in known if c.kind == slot.kind and getattr(c, "needs_weights", None) is False]
        if free:
            chosen[name] = partial(free[0])
    return chosen
