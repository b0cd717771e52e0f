"""Curves of a run as a picture: losses, scores, penalties and metrics over kimg."""

from pathlib import Path
from typing import Any

from ganzoo.io.log import read_json_lines


def draw(folder: Path) -> None:
    """Write progress.png from stats.jsonl and metric-*.jsonl; nothing where there is no tick yet."""
    from matplotlib.figure import Figure

    stats = read_json_lines(folder / "stats.jsonl")
    if not stats:
        return
    found = _metrics(folder)
    panels = [
        (title, names)
        for title, prefix in (("losses", "loss/"), ("discriminator", "s"), ("penalties", "penalty/"))
        if (names := sorted({n for row in stats for n in row["means"] if n.startswith(prefix)}))
    ]
    figure = Figure(figsize=(6 * (len(panels) + len(found)), 4), layout="constrained")
    axes = figure.subplots(1, len(panels) + len(found), squeeze=False)[0]
    for axis, (title, names) in zip(axes, panels):
        for name in names:
            points = [(row["kimg"], row["means"][name]) for row in stats if name in row["means"]]
            axis.plot(*zip(*points), label=name)
        axis.set_title(title)
    for axis, (name, rows) in zip(axes[len(panels) :], found.items()):
        _history(axis, name, rows)
    _finish(figure, axes, folder / "progress.png")


def metrics(folder: Path, picture: Path) -> None:
    """Every metric of a run over kimg, a panel each."""
    from matplotlib.figure import Figure

    found = _metrics(folder)
    figure = Figure(figsize=(6 * len(found), 4), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (name, rows) in zip(axes, found.items()):
        _history(axis, name, rows)
    _finish(figure, axes, picture)


def _metrics(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {p.stem.removeprefix("metric-"): read_json_lines(p) for p in sorted(folder.glob("metric-*.jsonl"))}


def _history(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    for key in rows[-1]["results"] if rows else []:
        points = [(row["kimg"], row["results"][key]) for row in rows if key in row["results"]]
        axis.plot(*zip(*points), label=key, marker=".", linewidth=2 if key == name else 1)
    axis.set_title(name)
    axis.set_ylim(bottom=0)


def _finish(figure: Any, axes: Any, picture: Path) -> None:
    for axis in axes:
        axis.set_xlabel("kimg")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(picture, dpi=100)
