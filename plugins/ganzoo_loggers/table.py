"""A run's statistics as a table for spreadsheets."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.interfaces import Logger
from ganzoo.interfaces.logger import numbers
from ganzoo.io.files import atomic_write


class Table(Logger, name="csv"):
    """stats.csv in the run's directory, with a row for each logged kimg and a column for each statistic."""

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin a table, or continue that of a resumed run without its later rows."""
        self.path = folder / "stats.csv"
        self.rows: dict[float, dict[str, Any]] = {}
        if resumed_at_kimg is not None and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [(float(row.pop("kimg")), row) for row in csv.DictReader(file)]
            self.rows = {kimg: row for kimg, row in rows if kimg <= resumed_at_kimg}

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row and rewrite the table, since a row may bring new columns, as metrics do."""
        self.rows.setdefault(row["kimg"], {}).update(numbers(row))
        names = sorted({name for values in self.rows.values() for name in values})
        with atomic_write(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["kimg", *names], restval="")
            writer.writeheader()
            writer.writerows({"kimg": kimg, **values} for kimg, values in self.rows.items())

    def picture(self, name: str, path: Path) -> None:
        """Ignore it: a table holds no pictures."""
