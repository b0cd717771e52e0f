"""A run's numbers as one table for spreadsheets."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganzoo.interfaces import Logger
from ganzoo.interfaces.logger import numbers
from ganzoo.io.files import atomic_write


class Table(Logger, name="csv"):
    """stats.csv in the run's directory: a line for each kimg, a column for each number."""

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Take up the table where the run goes on; later lines go."""
        self.path = folder / "stats.csv"
        self.rows: dict[float, dict[str, Any]] = {}
        if resumed_at_kimg is not None and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                found = [(float(row.pop("kimg")), row) for row in csv.DictReader(file)]
            self.rows = {kimg: row for kimg, row in found if kimg <= resumed_at_kimg}

    def log(self, row: Mapping[str, Any]) -> None:
        """Write the whole table anew: columns may come later, as those of metrics do."""
        self.rows.setdefault(row["kimg"], {}).update(numbers(row))
        names = sorted({name for line in self.rows.values() for name in line})
        with atomic_write(self.path) as half, half.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, ["kimg", *names], restval="")
            lines.writeheader()
            lines.writerows({"kimg": kimg, **line} for kimg, line in self.rows.items())

    def picture(self, name: str, path: Path) -> None:
        """Nothing: a table holds no pictures."""
