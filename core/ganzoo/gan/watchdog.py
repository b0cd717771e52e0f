"""A run notices that it goes wrong: pure functions of the statistics that it writes, so a resumed run says the same.

Each check looks at one number a tick. It raises an alarm where the number was bad for several ticks and well at none
of them, and drops it the other way round. Thresholds were chosen on runs made to fail: docs/watchdog.md.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.interfaces import Loss, Metric
from ganzoo.io.log import read_json_lines

Policy = Literal["warn", "stop", "off"]
Kind = Literal["mode collapse", "discriminator wins", "discriminator fails", "divergence"]

WARMUP = 2.0  # kimg within which nothing is judged
SAMPLES = 64  # images whose diversity is measured
SIDE = 32  # pixels to which they are shrunk for it
GAIN = math.log(1.25)  # by which a metric must have become better before it can be lost


@dataclass(frozen=True)
class Row:
    """What is known at a tick.

    Args:
        kimg: thousands of real images shown
        values: the means of stats.jsonl; "diversity" where it was measured; "lost" where a metric was, and from then
            on "behind": the same, but 1 where nothing was gained yet
    """

    kimg: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """What went wrong, in a sentence; what to do about it, in another; the kimg since when."""

    kind: Kind
    sentence: str
    advice: str
    since_kimg: float


# --- the numbers -----------------------------------------------------------------------------------------------------


def diversity(images: Tensor) -> float:
    """How far images are from their nearest neighbour among each other, on average: root mean square, 0 to 255.

    The nearest one, not all: a generator that makes a few images again and again is far from diverse, and the mean
    distance of all pairs would hardly show it.

    Args:
        images: [N, C, H, W], 0 to 255, at least two
    """
    flat = images.flatten(1).double()
    square = flat.square().sum(dim=1)
    distances = (square[:, None] + square[None] - 2 * flat @ flat.T).clamp(min=0)
    nearest = distances.fill_diagonal_(math.inf).amin(dim=1)
    return float((nearest / flat.shape[1]).sqrt().mean())


def relative_diversity(made: Tensor, real: Tensor) -> float | None:
    """Diversity of generated images over that of as many real ones, at one small size; None where the reals are alike.

    Args:
        made: uint8 [N, C, h, w]; while a GAN grows, of the size that it has reached
        real: uint8 [M, C, H, W]
    """
    count, size = min(len(made), len(real)), (min(SIDE, made.shape[2]), min(SIDE, made.shape[3]))
    if count < 2:
        return None
    ours, theirs = (F.interpolate(x[:count].float(), size, mode="area") for x in (made, real))
    reference = diversity(theirs)
    return diversity(ours) / reference if reference >= 1 else None  # less than a gray level: copies of one image


def chance_loss(loss: Loss) -> float:
    """The least loss of a discriminator that gives all images one score: 2 log 2 for the logistic loss."""
    scores = [torch.full((1, 1), c / 20) for c in range(-40, 41)]
    apart = copy.deepcopy(loss).cpu()  # the training's own stays where it is, and as it is
    with torch.no_grad():
        return min(float(apart.d(c, c)) for c in scores)


def relative_d_loss(row: Row, blind: float) -> float | None:
    """The discriminator's loss as a share of a blind one's: 0 where it is sure of all images, 1 where it sees nothing.

    None for losses that say nothing of the kind, such as Wasserstein's: a blind one's is 0.
    """
    loss = row.values.get("loss/d")
    return None if loss is None or blind <= 0 else loss / blind


def relative_d_loss_unless_best(row: Row, blind: float) -> float | None:
    """`sight`, or 1 while the metric is near its best: of a generator that learns, a sure discriminator is no fault."""
    return 1.0 if row.values.get("behind", 1.0) < 0.25 else relative_d_loss(row, blind)


def magnitude(row: Row) -> float | None:
    """The largest mean score or loss, absolute; infinite for what is no number."""
    found = [abs(v) for k, v in row.values.items() if k.startswith(("scores/", "loss/"))]
    return max((v if math.isfinite(v) else math.inf for v in found), default=None)


def lost_progress(values: Sequence[float]) -> float | None:
    """The share of what a run had gained that it has lost: 0 at its best, 1 at its first value, more where it is worse.

    In logarithms, so that an FID that rises from 4 to 40 counts. None where nothing much was gained yet: a metric may
    get worse before it gets better.

    Args:
        values: a metric's, in order, the smaller the better
    """
    least = max(abs(values[0]) / 1000, 1e-12)  # some metrics reach 0 and below
    logs = [math.log(max(v, least)) for v in values]
    gained = logs[0] - min(logs)
    return (logs[-1] - min(logs)) / gained if gained > GAIN else None


# --- the checks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One number a tick, and from where on it is bad.

    Args:
        kind: what it is called
        number: of a tick; None where the tick says nothing
        bad: as far from `well` as this or farther, the number is bad
        well: as far as this or farther, it is well; in between, it says nothing
        ticks: so many in a row, of those that say something
        sentence: what went wrong, with {value:...}
        advice: what to do
    """

    kind: Kind
    number: Callable[[Row], float | None]
    bad: float
    well: float
    ticks: int
    sentence: str
    advice: str

    def state(self, value: float) -> bool | None:
        """True for bad, False for well, None in between."""
        sign = 1 if self.bad > self.well else -1
        return True if sign * value >= sign * self.bad else False if sign * value <= sign * self.well else None


def checks(blind: float) -> list[Check]:
    """All there are, for a discriminator whose loss is `blind` where it sees nothing."""
    return [
        Check(
            "mode collapse",
            lambda row: row.values.get("diversity"),
            bad=0.2,
            well=0.3,
            ticks=4,
            sentence="generated images differ from each other only {value:.0%} as much as real ones",
            advice="Go on from an earlier state with a lower training.lr and a higher regularizers.*.gamma, and keep "
            "minibatch statistics on (discriminator.head.statistic).",
        ),
        Check(
            "discriminator wins",
            partial(relative_d_loss_unless_best, blind=blind),
            bad=0.05,
            well=0.1,
            ticks=8,
            sentence="the discriminator's loss is {value:.1%} of a blind one's: it is sure of every image",
            advice="Raise regularizers.*.gamma (or add r1), lower training.d_lr, or give it more to learn: more "
            "images, training.mirror, augment.",
        ),
        Check(
            "discriminator fails",
            partial(relative_d_loss, blind=blind),
            bad=0.99,
            well=0.97,
            ticks=4,
            sentence="the discriminator's loss is {value:.0%} of a blind one's: it cannot tell images apart",
            advice="Lower regularizers.*.gamma or training.lr, or raise training.d_lr.",
        ),
        Check(
            "divergence",
            magnitude,
            bad=1000,
            well=100,
            ticks=2,
            sentence="scores or losses have grown to {value:.2g}",
            advice="Go on from an earlier state with a lower training.lr or a higher regularizers.*.gamma; "
            "training.precision=fp32 rules out rounding.",
        ),
        Check(
            "divergence",
            lambda row: row.values.get("lost"),
            bad=0.6,
            well=0.4,
            ticks=3,
            sentence="by its metric, the generator has lost {value:.0%} of what it had learned",
            advice="Go on from an earlier state with a lower training.lr or a higher regularizers.*.gamma, and keep "
            "the best snapshots (training.keep_best).",
        ),
    ]


def judge(history: Sequence[Row], blind: float) -> list[Alarm]:
    """The alarms that are on after the last tick.

    Args:
        history: all ticks of a run, in order
        blind: the loss of a discriminator that sees nothing, `blind(loss)`
    """
    past = [row for row in history if row.kimg >= WARMUP]
    return [alarm for check in checks(blind) if (alarm := _episode(check, past))]


def _episode(check: Check, history: Sequence[Row]) -> Alarm | None:
    """The alarm of one check after the last tick, if it is on."""
    alarm: Alarm | None = None
    streak: list[Row] = []  # ticks that speak for a change, with none against it among them
    for row in history:
        value = check.number(row)
        bad = None if value is None else check.state(value)
        if value is None or bad is None:
            continue
        streak = [*streak, row] if bad is (alarm is None) else []
        if len(streak) < check.ticks:
            continue
        said = check.sentence.format(value=value)
        alarm = Alarm(check.kind, f"{said}.", check.advice, streak[0].kimg) if alarm is None else None
        streak = []
    return alarm


# --- the files -------------------------------------------------------------------------------------------------------


def history(folder: Path, metric: type[Metric] | None = None) -> list[Row]:
    """All ticks of a run, from its files. A measurement belongs to the tick that comes after it.

    Args:
        folder: the run's directory
        metric: the one that ranks its snapshots, if it has one
    """
    measured = read_json_lines(folder / f"metric-{metric.name}.jsonl") if metric else []
    values = [(row["kimg"], row["results"][row["primary"]]) for row in measured]
    if metric and not metric.lower_is_better:
        values = [(kimg, 1 / max(value, 1e-12)) for kimg, value in values]
    rows, seen, behind = [], 0, {}
    for record in read_json_lines(folder / "stats.jsonl"):
        known = dict(record["means"])
        if record.get("diversity") is not None:
            known["diversity"] = record["diversity"]
        until = sum(kimg < record["kimg"] for kimg, _ in values)
        if until > seen:
            share = lost_progress([value for _, value in values[:until]])
            known |= {} if share is None else {"lost": share}
            behind = {"behind": 1.0 if share is None else share}
        rows.append(Row(record["kimg"], known | behind))
        seen = until
    return rows


class Watchdog:
    """Asked at each tick of a run, it gives the alarms that are new; all that it knows stands in the run's files."""

    def __init__(self, folder: Path, loss: Loss, metric: type[Metric] | None = None) -> None:
        self.folder, self.blind, self.metric = folder, chance_loss(loss), metric

    def tick(self) -> list[Alarm]:
        """Alarms that the last tick raised. An alarm is given once, until it is over; a resumed run repeats none."""
        rows = history(self.folder, self.metric)
        before = judge(rows[:-1], self.blind)
        return [alarm for alarm in judge(rows, self.blind) if alarm not in before]
