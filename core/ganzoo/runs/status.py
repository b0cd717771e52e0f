"""Sentences about a run: the line of each tick, whether images stay in memory, and what an interrupt has lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganzoo.errors import Interrupted
from ganzoo.interfaces import Learner
from ganzoo.io.files import quoted
from ganzoo.io.log import duration
from ganzoo.runs.folder import newest
from ganzoo.training.loader import CACHE_BYTES, Loader


@dataclass(frozen=True)
class TickTimes:
    """Where the time of a tick went, in seconds.

    Args:
        training: spent on training since the last tick
        maintenance: spent on all else since then
        waiting: those of training in which it waited for images
        left: until the end of the training, estimated
    """

    training: float
    maintenance: float
    waiting: float
    left: float


def status_line(learner: Learner, row: Mapping[str, Any], tick: int, times: TickTimes) -> str:
    """Return the line of a tick: how far the training is of how much, how long it takes, and its losses.

    Args:
        learner: the training
        row: the tick's row of stats.jsonl
        tick: number of the tick
        times: of the tick
    """
    waiting = times.waiting / max(times.training, 1e-9)
    decimals = 1 if learner.schedule.tick_kimg >= 0.1 else 3
    progress = f"{row['kimg']:.{decimals}f} of {learner.schedule.kimg:g}"
    return (
        f"tick {tick:<5d} kimg {progress:<18s} "
        f"time {duration(row['seconds']):<12s} left {duration(times.left):<12s} sec/tick {times.training:<7.1f} "
        f"sec/kimg {row['sec_per_kimg']:<7.2f} maintenance {times.maintenance:<6.1f} data {waiting:<4.0%} "
        f"mem {row['memory_gib']:<5.2f} {_size_and_alpha(learner)}loss {_losses(row['means'])}"
    )


def _size_and_alpha(learner: Learner) -> str:
    """'size 8x8 alpha 0.25 ' of a training that grows."""
    if not learner.grows:
        return ""
    height, width = learner.experiment.shape.sizes[learner.stage.level]
    return f"size {height}x{width} alpha {learner.stage.alpha:.2f} "


def _losses(means: Mapping[str, float]) -> str:
    """'D 0.123 G 4.567'."""
    losses = [(name.removeprefix("loss/"), value) for name, value in means.items() if name.startswith("loss/")]
    return " ".join(f"{name.upper() if len(name) == 1 else name} {value:.3f}" for name, value in losses)


def cache_notice(loader: Loader) -> str:
    """A sentence on whether decoded images stay in memory."""
    needed, most = f"{loader.decoded_bytes / 2**30:.2f} GiB", f"{CACHE_BYTES / 2**30:.0f} GiB"
    if loader.cache_bytes:
        return f"Images stay in memory once they are decoded: {needed}, up to {most} may."
    return f"Images are decoded each time: {needed} are more than the {most} that may stay in memory."


def interrupted_at_once(folder: Path) -> Interrupted:
    """The error of a second signal, which ends a run in the midst of its work: it says what is lost."""
    states = newest(folder, "state")
    if not states:
        return Interrupted(
            f"interrupted before the first state was written: nothing can be continued, and {folder} may be removed."
        )
    return Interrupted(
        f"interrupted: what came after {states[0].name} is lost; 'gz train --resume {quoted(folder)}' "
        f"continues from there."
    )
