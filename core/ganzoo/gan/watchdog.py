"""Faults of GAN training, found by pure functions of the statistics that a run writes: a resumed run finds the same.

Each check reads one number a tick. It raises an alarm where the number was bad at several ticks and good at none
between them, and ends it where it is the other way round. Thresholds were chosen on runs made to fail:
docs/watchdog.md.
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

from ganzoo.interfaces import Alarm, Dataset, Learner, Loss, Metric, Monitor
from ganzoo.io.log import read_json_lines
from ganzoo.training.loader import images_at, shuffled

Fault = Literal["mode collapse", "discriminator wins", "discriminator fails", "divergence"]

WARMUP = 2.0  # kimg within which nothing is judged
SAMPLES = 64  # images whose diversity is measured
SIDE = 32  # pixels of a side, to which they are shrunk for it
GAIN = math.log(1.25)  # improvement of a metric, in logarithms, before it can be lost
NEAR_BEST = 0.25  # share of a metric's gain; a generator that has lost less than this is learning


@dataclass(frozen=True)
class Row:
    """The numbers of one tick.

    Args:
        kimg: thousands of real images shown
        values: the means of stats.jsonl; "diversity" where it was measured; "lost" where a metric was, and from then
            on "behind": the same, but 1 where nothing was gained yet
    """

    kimg: float
    values: Mapping[str, float]


# --- the numbers -----------------------------------------------------------------------------------------------------


def diversity(images: Tensor) -> float:
    """Mean distance of each image to the nearest of the others: root mean square of the differences, 0 to 255.

    To the nearest, not to all: a generator that repeats a few images is far from diverse, and the mean distance of all
    pairs would hardly show it.

    Args:
        images: [N, C, H, W], 0 to 255, at least two
    """
    flat = images.flatten(1).double()
    square = flat.square().sum(dim=1)
    distances = (square[:, None] + square[None] - 2 * flat @ flat.T).clamp(min=0)
    nearest = distances.fill_diagonal_(math.inf).amin(dim=1)
    return float((nearest / flat.shape[1]).sqrt().mean())


def relative_diversity(fake: Tensor, real: Tensor) -> float | None:
    """Diversity of generated images over that of as many real ones, at one small size; None where the reals are alike.

    Args:
        fake: uint8 [N, C, h, w]; while a GAN grows, of the size that it has reached
        real: uint8 [M, C, H, W]
    """
    count, size = min(len(fake), len(real)), (min(SIDE, fake.shape[2]), min(SIDE, fake.shape[3]))
    if count < 2:
        return None
    small_fake, small_real = (F.interpolate(x[:count].float(), size, mode="area") for x in (fake, real))
    reference = diversity(small_real)
    return diversity(small_fake) / reference if reference >= 1 else None  # below a gray level: copies of one image


def chance_loss(loss: Loss) -> float:
    """The least loss of a discriminator that gives all images one score: 2 log 2 for the logistic loss."""
    scores = [torch.full((1, 1), score / 20) for score in range(-40, 41)]
    loss = copy.deepcopy(loss).cpu()  # the training's own keeps its device and its state
    with torch.no_grad():
        return min(float(loss.d(score, score)) for score in scores)


def relative_d_loss(row: Row, chance: float) -> float | None:
    """D's loss over the loss at chance: 0 where D is sure of all images, 1 where it is guessing.

    None for losses that are 0 at chance, such as Wasserstein's: they have no scale.
    """
    loss = row.values.get("loss/d")
    return None if loss is None or chance <= 0 else loss / chance


def relative_d_loss_unless_best(row: Row, chance: float) -> float | None:
    """`relative_d_loss`, or 1 while the metric is near its best: where G learns, a D that is sure is no fault."""
    return 1.0 if row.values.get("behind", 1.0) < NEAR_BEST else relative_d_loss(row, chance)


def magnitude(row: Row) -> float | None:
    """The largest absolute mean score or loss; infinite for one that is not finite, None without any."""
    values = [abs(value) for name, value in row.values.items() if name.startswith(("scores/", "loss/"))]
    return max((value if math.isfinite(value) else math.inf for value in values), default=None)


def lost_progress(values: Sequence[float]) -> float | None:
    """Share of its gain that a run has lost: 0 at its best, 1 at its first value, more where it is worse.

    In logarithms, so that an FID that rises from 4 to 40 counts. None where less than `GAIN` was gained: a metric may
    get worse before it gets better.

    Args:
        values: a metric's, in order, the smaller the better
    """
    floor = max(abs(values[0]) / 1000, 1e-12)  # some metrics reach 0 and below
    logs = [math.log(max(value, floor)) for value in values]
    gained = logs[0] - min(logs)
    return (logs[-1] - min(logs)) / gained if gained > GAIN else None


# --- the checks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """A fault, as a number that each tick gives and thresholds for it.

    Args:
        kind: name of the fault
        number: from a tick to its number; None where the tick has none
        bad: the number is bad at this value and beyond it, as seen from `good`
        good: the number is good at this value and beyond it, as seen from `bad`; it counts for neither in between
        ticks: length of the streak, of ticks that count, that raises or ends an alarm
        sentence: what went wrong, with {value:...} for the number
        advice: what to do about it
    """

    kind: Fault
    number: Callable[[Row], float | None]
    bad: float
    good: float
    ticks: int
    sentence: str
    advice: str

    def state(self, value: float) -> bool | None:
        """True for bad, False for good, None in between."""
        sign = 1 if self.bad > self.good else -1
        if sign * value >= sign * self.bad:
            return True
        return False if sign * value <= sign * self.good else None


def checks(chance: float) -> list[Check]:
    """Return all checks.

    Args:
        chance: the loss of a discriminator that is guessing, as `chance_loss` gives it
    """
    return [
        Check(
            "mode collapse",
            lambda row: row.values.get("diversity"),
            bad=0.2,
            good=0.3,
            ticks=4,
            sentence="generated images differ from each other only {value:.0%} as much as real ones",
            advice="Go on from an earlier state with a lower training.lr and a higher regularizers.*.gamma, and keep "
            "minibatch statistics on (discriminator.head.statistic).",
        ),
        Check(
            "discriminator wins",
            partial(relative_d_loss_unless_best, chance=chance),
            bad=0.05,
            good=0.1,
            ticks=8,
            sentence="the discriminator's loss is {value:.1%} of a blind one's: it is sure of every image",
            advice="Raise regularizers.*.gamma (or add r1), lower training.d_lr, or give it more to learn: more "
            "images, training.mirror, augment.",
        ),
        Check(
            "discriminator fails",
            partial(relative_d_loss, chance=chance),
            bad=0.99,
            good=0.97,
            ticks=4,
            sentence="the discriminator's loss is {value:.0%} of a blind one's: it cannot tell images apart",
            advice="Lower regularizers.*.gamma or training.lr, or raise training.d_lr.",
        ),
        Check(
            "divergence",
            magnitude,
            bad=1000,
            good=100,
            ticks=2,
            sentence="scores or losses have grown to {value:.2g}",
            advice="Go on from an earlier state with a lower training.lr or a higher regularizers.*.gamma; "
            "training.precision=fp32 rules out rounding.",
        ),
        Check(
            "divergence",
            lambda row: row.values.get("lost"),
            bad=0.6,
            good=0.4,
            ticks=3,
            sentence="by its metric, the generator has lost {value:.0%} of what it had learned",
            advice="Go on from an earlier state with a lower training.lr or a higher regularizers.*.gamma, and keep "
            "the best snapshots (training.keep_best).",
        ),
    ]


def judge(history: Sequence[Row], chance: float) -> list[Alarm]:
    """Return the alarms that are on after the last tick.

    Args:
        history: all ticks of a run, in order
        chance: the loss of a discriminator that is guessing, as `chance_loss` gives it
    """
    past = [row for row in history if row.kimg >= WARMUP]
    return [alarm for check in checks(chance) if (alarm := _judge(check, past))]


def _judge(check: Check, history: Sequence[Row]) -> Alarm | None:
    """Return the alarm of one check after the last tick, if it is on."""
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
        sentence = f"{check.sentence.format(value=value)}."
        alarm = Alarm(check.kind, sentence, check.advice, streak[0].kimg) if alarm is None else None
        streak = []
    return alarm


# --- the files -------------------------------------------------------------------------------------------------------


def history(folder: Path, metric: type[Metric] | None = None) -> list[Row]:
    """Read all ticks of a run from its files. A measurement belongs to the tick that comes after it.

    Args:
        folder: the run's directory
        metric: the one that ranks its snapshots, if it has one
    """
    measured = read_json_lines(folder / f"metric-{metric.name}.jsonl") if metric else []
    values = [(row["kimg"], row["results"][row["primary"]]) for row in measured]
    if metric and not metric.lower_is_better:
        values = [(kimg, 1 / max(value, 1e-12)) for kimg, value in values]
    rows: list[Row] = []
    count, behind = 0, {}  # measurements until the tick, and how far the last one is behind the best
    for record in read_json_lines(folder / "stats.jsonl"):
        numbers = dict(record["means"])
        if record.get("diversity") is not None:
            numbers["diversity"] = record["diversity"]
        before, count = count, sum(kimg < record["kimg"] for kimg, _ in values)
        if count > before:
            lost = lost_progress([value for _, value in values[:count]])
            numbers |= {} if lost is None else {"lost": lost}
            behind = {"behind": 1.0 if lost is None else lost}
        rows.append(Row(record["kimg"], numbers | behind))
    return rows


class Watchdog(Monitor):
    """Gives the alarms that are new at each tick. All that it knows stands in the run's files.

    Args:
        loss: of the GAN
        metric: the one that ranks snapshots, if there is one
    """

    def __init__(self, loss: Loss, metric: type[Metric] | None = None) -> None:
        self.chance, self.metric = chance_loss(loss), metric
        self._real: Tensor | None = None  # real images that samples are compared with

    def values(self, learner: Learner, dataset: Dataset) -> dict[str, float | None]:
        """Diversity of fixed samples as a share of that of as many real images; None where those are alike."""
        count = min(SAMPLES, len(dataset))
        first = self._real is None
        if self._real is None:
            self._real = images_at(dataset, shuffled(dataset)[:count])
        share = relative_diversity(learner.samples(dataset, count), self._real)
        if first and share is None:
            learner.notice(
                "watchdog: the real images are too few or too alike to judge the diversity of samples by: a generator "
                "memorises such images."
            )
        return {"diversity": share}

    def alarms(self, folder: Path) -> list[Alarm]:
        """Return the alarms that the last tick raised, each once, until it is over; a resumed run repeats none."""
        rows = history(folder, self.metric)
        before = judge(rows[:-1], self.chance)
        return [alarm for alarm in judge(rows, self.chance) if alarm not in before]
