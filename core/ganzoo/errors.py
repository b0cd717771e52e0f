"""The errors a user can meet. Each prints as one sentence; none prints a traceback.

An error is data: place, fault and cure. Code that catches one adds a place (`at`) or takes another cure (`statement`);
only `str(err)` makes the sentence, and nothing edits it.

ZooError                      exit 1
├── UsageError                exit 2   a flag or an argument
│   ├── ArgumentError         exit 2   an argument in Python, of a type that the function does not take
│   └── RecipeError           exit 2   a recipe: wrong option, wrong value, a mix that cannot work
│       ├── UnknownComponent  exit 2   no component of that name
│       └── OptionError       exit 2   an option given in Python that a component cannot take
├── PluginError               exit 3   a plugin is missing or broken
│   └── DuplicateComponent    exit 3   two plugins claim one name
├── DataError                 exit 1   images: missing, unreadable, of the wrong shape
├── CheckpointError           exit 1   a weights or state file: damaged, foreign
├── RankLost                  exit 1   another process of a training has ended
├── Diverged                  exit 4   training produced NaN or infinity
└── Interrupted               exit 130 stopped by a signal, after the state was written
"""

from collections.abc import Iterable, Sequence
from copy import copy
from difflib import get_close_matches
from typing import Self


class ZooError(Exception):
    """Everything a user can fix; the command line prints it without a traceback.

    `str(err)` is "place fault: cure.", without what is empty; after a fault that ends in a full stop, the cure is a
    sentence of its own. A fault without place and cure is given as it is.

    Args:
        fault: what is wrong, with the value
        place: subject of the sentence, such as a path or a flag; it ends in a colon where the fault has its own subject
        cure: what to do about it, without a full stop
    """

    exit_code = 1
    on_all_ranks = False  # whether all processes of a training raise it: then there is no use in starting them anew

    def __init__(self, fault: str = "", *, place: str = "", cure: str = "") -> None:
        super().__init__(fault)
        self.fault, self.place, self.cure = fault, place, cure

    def __str__(self) -> str:
        if not (self.place or self.cure):
            return self.fault
        if not (self.cure and self.statement):
            return f"{self.statement or self.cure}."
        if self.fault.endswith("."):
            return f"{self.statement}. {self.cure[:1].upper()}{self.cure[1:]}."
        return f"{self.statement}: {self.cure}."

    @property
    def statement(self) -> str:
        """Place and fault, without the cure and without a full stop, to stand inside another sentence."""
        return " ".join(filter(None, (self.place, self.fault))).rstrip(".")

    def at(self, place: str) -> Self:
        """The same error with a place before its own."""
        placed = copy(self)
        placed.place = " ".join(filter(None, (place, self.place)))
        return placed


class UsageError(ZooError):
    """A flag or an argument that cannot be used."""

    exit_code = 2


class ArgumentError(UsageError, TypeError):
    """An argument of a function for users, of a type that it does not take."""


class RecipeError(UsageError):
    """A recipe that cannot be built; the sentence names file, line, value and cure.

    Args:
        fault: what is wrong, with the value
        place: subject of the sentence
        cure: what to do about it, without a full stop
        origin: where the value was written, as 'file:line' or '--set KEY=VALUE'
        path: keys and indices that lead to the value from the recipe's top level
        faults: several faults, in place of one; a line each
        also: paths of other values that take part in the fault, of which the user may have written one
    """

    def __init__(
        self,
        fault: str = "",
        *,
        place: str = "",
        cure: str = "",
        origin: str = "",
        path: tuple[str | int, ...] = (),
        faults: "Sequence[RecipeError]" = (),
        also: tuple[tuple[str | int, ...], ...] = (),
    ) -> None:
        super().__init__(fault or "; ".join(each.statement for each in faults), place=place, cure=cure)
        self.origin, self.path, self.also, self._faults = origin, path, also, tuple(faults)

    def __str__(self) -> str:
        if self._faults:
            return "\n".join(map(str, self._faults))
        where = (self.origin, ".".join(map(str, self.path)))
        return " ".join([*(f"{part}:" for part in where if part), super().__str__()])

    @property
    def faults(self) -> "tuple[RecipeError, ...]":
        """Each fault as an error of its own."""
        return self._faults or (self,)


class UnknownComponent(RecipeError):
    """No component of this kind and name is registered."""


class OptionError(RecipeError, TypeError):
    """An option given to a component in Python that it does not have, needs, or cannot take."""


class PluginError(ZooError):
    """A plugin is missing or broken."""

    exit_code = 3


class DuplicateComponent(PluginError):
    """Two plugins register the same kind and name."""


class DataError(ZooError):
    """Training or reference images that cannot be used."""


class CheckpointError(ZooError):
    """A safetensors file that cannot be used."""


class RankLost(ZooError):
    """Another process of this training has ended."""


class Diverged(ZooError):
    """Training produced a number that is not finite."""

    exit_code = 4
    on_all_ranks = True


class Interrupted(ZooError):
    """Training was stopped by a signal; its state has been written."""

    exit_code = 130
    on_all_ranks = True


def is_interrupt(err: BaseException) -> bool:
    """Whether an error is an interrupt (Ctrl-C), or came from one: an import may turn it into an error of its own."""
    chain: list[BaseException] = [err]
    for each in chain:
        chain += [e for e in (each.__cause__, each.__context__) if e is not None and e not in chain]
    return any(isinstance(each, KeyboardInterrupt) for each in chain)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say " Did you mean 'x'?", or nothing where no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
