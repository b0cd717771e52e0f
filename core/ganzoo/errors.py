"""The errors a user can meet. Each prints as one sentence; none prints a traceback.

ZooError                      exit 1
├── UsageError                exit 2   a flag or an argument
│   └── RecipeError           exit 2   a recipe: wrong option, wrong value, a mix that cannot work
│       └── UnknownComponent  exit 2   no component of that name
├── PluginError               exit 3   a plugin is missing or broken
│   └── DuplicateComponent    exit 3   two plugins claim one name
├── DataError                 exit 1   images: missing, unreadable, of the wrong shape
├── CheckpointError           exit 1   a weights or state file: damaged, foreign
├── Lost                      exit 1   another process of a training has ended
├── Diverged                  exit 4   training produced NaN or infinity
└── Interrupted               exit 130 stopped by a signal, after the state was written
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ZooError(Exception):
    """Everything a user can fix; the command line prints it without a traceback."""

    exit_code = 1
    on_all_ranks = False  # whether all processes of a training raise it: then there is no use in starting them anew


class UsageError(ZooError):
    """A flag or an argument that cannot be used."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be built; the sentence names file, line, value and cure."""


class UnknownComponent(RecipeError):
    """No component of this kind and name is registered."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say " Did you mean 'x'?", or nothing where no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
