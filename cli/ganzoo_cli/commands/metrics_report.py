"""The output of `gz metrics`: records as a table or JSON, how they were measured, and what was left out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ganzoo_cli.host.console import free_name, note, say_json, table, write_text

if TYPE_CHECKING:
    from ganzoo.errors import ZooError
    from ganzoo.evaluation.score import Score

Records = list[dict[str, Any]]


def report(metrics: Sequence[Records], out: Path | None, as_json: bool) -> None:
    """Print the records of each metric, one a seed, as a table or as JSON."""
    from ganzoo.evaluation import score

    scores = [score.summarise(records) for records in metrics]
    values = [s.record() for s in scores]
    result = values[0] if len(values) == 1 else values
    if out:
        write_text(free_name(out), json.dumps(result, indent=1) + "\n")
    if as_json:
        return say_json(result)
    return _show(scores)


def _show(scores: "Sequence[Score]") -> None:
    rows, repeated = [], any(s.spread for s in scores)
    for s in scores:
        rows += [
            [key, f"{value:.4f}", *([f"± {s.spread[key]:.4f}"] if repeated else [])] for key, value in s.mean.items()
        ]
    table(["metric", "value", *(["spread"] if repeated else [])], rows, right=["value"])
    for s in scores:
        note(_line(s))


def _line(score: "Score") -> str:
    """Describe on one line what was measured."""
    record = score.records[0]
    real, fake = record["num_real"], record["num_fake"]
    number = f"{fake:,} images" if real == 0 else f"{fake:,} images, {real:,} real ones"
    sides = {"real halves": "real against real", "model": f"{record.get('kimg', 0):g} kimg"}.get(
        record["compared"], record["compared"]
    )
    extractor = record["extractor"]
    through = f", {extractor['name']} {extractor['sha256'][:12]}" if extractor else ""
    data = f", {record['data']['title']}" if record["data"] else ""
    to = f" to {score.records[-1]['seed']}" if len(score.records) > 1 else ""
    return f"{record['metric']} of {number}, {sides}{data}{through}, seed {record['seed']}{to}"


def say_left_out(left_out: "Mapping[str, ZooError]") -> None:
    """Say which metrics were not measured, and why; then exit with code 1."""
    for name, err in left_out.items():
        note(f"left out: {name}: {err}")
    if left_out:
        raise typer.Exit(1)
