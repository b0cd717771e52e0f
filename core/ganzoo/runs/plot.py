"""Curves of a run as a picture: losses, scores, penalties and metrics over kimg."""

from pathlib import Path
from typing import Any

from ganzoo.io.log import read_json_lines
from ganzoo.registry.ramp import Ramp, ramps
from ganzoo.version import __version__

PANELS = (("losses", "loss/"), ("discriminator", "s"), ("penalties", "penalty/"))  # title, prefix of statistics' names


def draw(folder: Path, recipe: dict[str, Any]) -> None:
    """Write progress.png from stats.jsonl, metric-*.jsonl and a filled recipe; nothing where there is no tick yet."""
    from matplotlib.figure import Figure

    stats = read_json_lines(folder / "stats.jsonl")
    if not stats:
        return
    histories, schedules = _histories(folder), ramps(recipe)
    known = sorted({name for row in stats for name in row["means"]})
    panels = [(title, [name for name in known if name.startswith(prefix)]) for title, prefix in PANELS]
    panels = [(title, names) for title, names in panels if names]
    count = len(panels) + len(histories) + bool(schedules)
    figure = Figure(figsize=(6 * count, 4), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis, (title, names) in zip(axes, panels):
        for name in names:
            points = [(row["kimg"], row["means"][name]) for row in stats if name in row["means"]]
            axis.plot(*zip(*points), label=name, marker="" if points[1:] else "o")  # one point makes no line
        axis.set_title(title)
    for axis, (name, rows) in zip(axes[len(panels) :], histories.items()):
        _plot_history(axis, name, rows)
    if schedules:
        _plot_schedules(axes[-1], schedules, stats[-1]["kimg"])
    _save(figure, axes, folder / "progress.png")


def metrics(folder: Path, picture: Path) -> None:
    """Write every metric of a run over kimg, a panel each, as a picture."""
    from matplotlib.figure import Figure

    histories = _histories(folder)
    figure = Figure(figsize=(6 * len(histories), 4), layout="constrained")
    axes = figure.subplots(1, len(histories), squeeze=False)[0]
    for axis, (name, rows) in zip(axes, histories.items()):
        _plot_history(axis, name, rows)
    _save(figure, axes, picture)


def _histories(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All measurements of a run, by metric."""
    return {path.stem.removeprefix("metric-"): read_json_lines(path) for path in sorted(folder.glob("metric-*.jsonl"))}


def _plot_schedules(axis: Any, schedules: dict[str, Ramp], kimg: float) -> None:
    """Plot ramps, by path, up to now; each as a share of its largest value, since their units differ."""
    times = [kimg * i / 100 for i in range(101)]
    for path, ramp in schedules.items():
        largest = max(abs(ramp.start), abs(ramp.to)) or 1.0
        shares = [ramp.at(time * 1000) / largest for time in times]
        axis.plot(times, shares, label=f"{path} ({ramp.start:g} to {ramp.to:g})")
    axis.set_title("schedules, as a share of the largest value")
    axis.set_ylim(bottom=0)


def _plot_history(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    for key in rows[-1]["results"] if rows else []:
        points = [(row["kimg"], row["results"][key]) for row in rows if key in row["results"]]
        axis.plot(*zip(*points), label=key, marker=".", linewidth=2 if key == name else 1)
    axis.set_title(name)
    axis.set_ylim(bottom=0)


def _save(figure: Any, axes: Any, picture: Path) -> None:
    for axis in axes:
        axis.set_xlabel("kimg")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(picture, dpi=100, metadata={"ganzoo": __version__})
