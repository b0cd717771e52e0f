"""The log of a run: lines on stderr and in log.txt, a progress bar on terminals, and JSON lines for programs."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ganzoo.text import printable


def duration(seconds: float) -> str:
    """Write a duration as '4s', '2m 03s', '1h 02m 03s' or '1d 02h 03m'."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60:02}s"
    if s < 86400:
        return f"{s // 3600}h {s // 60 % 60:02}m {s % 60:02}s"
    return f"{s // 86400}d {s // 3600 % 24:02}h {s // 60 % 60:02}m"


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to a .jsonl file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a .jsonl file, none where there is no file; lines that are damaged are left out."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [record for line in lines if (record := _json_object(line)) is not None]


def _json_object(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None for a blank or cut line, bytes that are no UTF-8, or another value."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class _Console(Console):
    """A console on stderr that falls silent where stderr can no longer be written."""

    def on_broken_pipe(self) -> None:
        """Fall silent. What others write to stderr, Python itself at its end too, is discarded."""
        self.quiet = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    @contextmanager
    def ignoring_errors(self) -> Iterator[None]:
        """Fall silent within the block where stderr cannot be written for another reason, such as a full disk."""
        try:
            yield
        except OSError:
            self.on_broken_pipe()


class Log:
    """Lines to stderr and to a file, with a progress bar under them where stderr is a terminal.

    Where stderr can no longer be written, as when its reader has ended, the work goes on without it.

    Args:
        file: takes the lines too; None for none
        total: steps of the progress bar
        done: steps that are done already
        silent: write nothing, as all but the first of several processes do
    """

    def __init__(self, file: Path | None, total: int, done: int = 0, *, silent: bool = False) -> None:
        self.file = None if silent else file
        self.console = _Console(stderr=True, highlight=False, soft_wrap=True, quiet=silent)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=silent or not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task("", total=total, completed=done)

    def __enter__(self) -> "Log":
        with self.console.ignoring_errors():
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.console.ignoring_errors():
            self.bar.stop()

    def say(self, text: str) -> None:
        """Write one line to stderr and to the file; control characters, as of a data set's title, become "?"."""
        text = printable(text)
        with self.console.ignoring_errors():
            self.console.print(text, markup=False)
        if self.file:
            with self.file.open("a", encoding="utf-8", errors="backslashreplace") as out:
                out.write(text + "\n")

    def progress(self, done: int, text: str = "") -> None:
        """Move the progress bar to `done` steps."""
        with self.console.ignoring_errors():
            self.bar.update(self.task, completed=done, description=printable(text))
