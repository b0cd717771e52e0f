"""Results to stdout, notes to stderr."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo.io.launch import is_first
from ganzoo.text import one_line, printable

if TYPE_CHECKING:
    from ganzoo.recipe.node import Node
    from ganzoo.recipe.source import Source
    from ganzoo.registry.lookup import Registry


WIDE = 10_000  # columns of the output where it is no terminal: a row stays one line
_warned: set[str] = set()


def say(text: str) -> None:
    """Print a result on stdout; control characters, which a file's text may hold, become "?"."""
    print(printable(text))


def note(text: str) -> None:
    """Print a note on stderr, in the first of several processes only; control characters become "?"."""
    if is_first():
        with suppress(OSError):  # whoever read stderr has gone: no reason to stop
            print(printable(text), file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """Print a result for programs on stdout, as JSON."""
    print(json.dumps(value, indent=1))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """A table on stdout, in which control characters of a file's text become "?"; `right` names columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else WIDE, highlight=False)
    grid = Table(box=SIMPLE_HEAD, show_header=any(columns), show_edge=False, pad_edge=False)
    for column in columns:
        grid.add_column(plain(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(plain(cell) for cell in row))
    if terminal:
        return console.print(grid)
    with console.capture() as text:
        console.print(grid)
    return print("\n".join(line.rstrip() for line in text.get().splitlines()))


def plain(value: Any) -> str:
    """A value as one line of a table, without control characters; what looks like rich's markup stays as it is."""
    from rich.markup import escape

    if value is None or value == "":
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(one_line(str(value)))


def known() -> "Registry":
    """The registry; broken plugins are named once, on stderr."""
    from ganzoo.registry.lookup import registry

    installed = registry()
    for name, problem in installed.problems.items():
        if name not in _warned:
            _warned.add(name)
            note(f"warning: {problem}")
    return installed


def note_namesake(source: str, flag: str = "") -> None:
    """Say on stderr that a built-in dataset was taken, where a file or folder has its name too.

    Args:
        source: a path or the name of a dataset
        flag: that gave it, as "--data "
    """
    if Path(source).exists() and any(
        cls.kind == "dataset" and cls.name == source and not getattr(cls, "needs_path", True) for cls in known()
    ):
        what = "folder" if Path(source).is_dir() else "file"
        note(f"{flag}{source}: this is the built-in dataset; the {what} of that name is {flag}./{source}.")


def note_cautions(node: "Node", source: "Source") -> None:
    """Warn on stderr of mixes in a recipe that can be trained, and are seldom meant."""
    from ganzoo.gan.rules import cautions

    for caution in cautions(node):
        note(f"warning: {source.locate(caution, caution.path)}")


def write_text(path: Path, text: str, *, new: bool = False) -> None:
    """Write a text file; with `new`, never over another. Raises UsageError."""
    from ganzoo.errors import UsageError

    try:
        with path.open("x" if new else "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError("exists already", place=str(path), cure="choose another name, or remove it") from None
    except OSError as err:
        raise UsageError(f"cannot be written ({err.strerror or err})", place=str(path)) from None


def free_name(path: Path, *suffixes: str) -> Path:
    """Return a name under which no file is written over, as `free_names` does for several."""
    return free_names([path], *suffixes)[path]


def free_names(paths: Iterable[Path], *suffixes: str) -> dict[Path, Path]:
    """Return for each path one under which no file is written over: itself, or NAME-1, NAME-2, ...; noted on stderr.

    Args:
        paths: wanted names
        suffixes: of files that are written beside them and must not exist either, as ".npz"
    """
    from ganzoo.io.files import unused

    names = {path: unused(path, *suffixes) for path in paths}
    taken = [path for path, name in names.items() if path != name]
    if len(taken) == 1:
        note(f"{taken[0]} exists and is kept: writing {names[taken[0]]}.")
    elif taken:
        others = f"{taken[0]} and {len(taken) - 1:,} others exist and are"
        note(f"{others} kept: the new files have a number, as {names[taken[0]]}.")
    return names


def pairs(items: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """KEY=VALUE words of a flag as options of a component. Raises UsageError, which begins with the flag."""
    from ganzoo.errors import UsageError
    from ganzoo.recipe.source import parse_key, parse_value

    options: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key or key == "use":
            raise UsageError(place=f"{flag} {item}", cure="write it as option=value")
        steps = parse_key(key, f"{flag} {item}", "write it as option=value")
        options[".".join(map(str, steps))] = parse_value(text, f"{flag} {item}")
    return options


def width_by_height(flag: str, text: str) -> tuple[int, int]:
    """'64x32' as (height, width). Raises UsageError."""
    from ganzoo.errors import UsageError

    match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)
    if not match:
        raise UsageError(place=f"{flag} {text}", cure="write it as width x height, as 32x32")
    return int(match[2]), int(match[1])
