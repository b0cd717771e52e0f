"""What a run says: a status line a tick, a bar where someone watches, and files for programs."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def duration(seconds: float) -> str:
    """'1d 02h 03m', '2m 03s' or '4s'."""
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
    """All whole lines of a .jsonl file; a last line that a crash cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


class _Console(Console):
    """stderr for as long as somebody reads it; then it is silent, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Say no more. What others write to stderr, Python itself at its end too, goes nowhere."""
        self.quiet = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    @contextmanager
    def heedless(self) -> Iterator[None]:
        """Go on where stderr cannot be written for another reason, such as a full disk."""
        try:
            yield
        except OSError:
            self.on_broken_pipe()


class Log:
    """Lines to stderr and to log.txt, with a progress bar under them where stderr is a terminal.

    One that is silent does nothing: of several processes, one speaks. Where stderr can no longer be written, as one
    whose reader has gone, the work goes on.
    """

    def __init__(self, file: Path | None, total: int, done: int = 0, *, silent: bool = False) -> None:
        self.file, self.started = None if silent else file, time.monotonic()
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
        with self.console.heedless():
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.console.heedless():
            self.bar.stop()

    def say(self, text: str) -> None:
        """One line, everywhere."""
        with self.console.heedless():
            self.console.print(text, markup=False)
        if self.file:
            with self.file.open("a", encoding="utf-8") as out:
                out.write(text + "\n")

    def progress(self, done: int, text: str = "") -> None:
        """Move the bar."""
        with self.console.heedless():
            self.bar.update(self.task, completed=done, description=text)
