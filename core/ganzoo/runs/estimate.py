"""What a training would need, measured: parameters, peak memory, seconds per kimg, and the plan of resolutions.

A few real iterations run on random images. Where a whole batch would take too long or too much memory, a small one is
measured and scaled up.
"""

import copy
import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import cast

import torch

from ganzoo.gan.trainer import AdversarialExperiment, NetworkName, Trainer
from ganzoo.interfaces import Experiment, Regularizer, Stage
from ganzoo.training import distributed
from ganzoo.training.device import choose_device, describe_precision, free_memory, keep_memory, peak_memory
from ganzoo.training.loader import Loader
from ganzoo.types import Size

SPREAD = 1.2  # memory of a longer training over that of a few iterations: a processor's heap gets holes (measured)
SMALL = 2  # images of the first measured iteration
PATIENCE = 2.0  # seconds that an iteration may take
SHARE = 0.7  # of the free memory that measuring, or training with parts of automatic size, may take


@dataclass(frozen=True)
class Phase:
    """A part of the training at one resolution."""

    start_kimg: float
    size: Size
    fading: bool
    batch: int
    lr: float
    kimg: float  # its length
    seconds_per_kimg: float


@dataclass(frozen=True)
class Estimate:
    """What a training would need."""

    parameters: dict[str, int]  # of each network
    device: str
    precision: str
    memory_gib: float
    scaled: bool  # from a smaller batch than the recipe's
    phases: list[Phase]

    @property
    def seconds_per_kimg(self) -> float:
        """At the last resolution of the training."""
        return self.phases[-1].seconds_per_kimg

    @property
    def seconds(self) -> float:
        """Of the whole training, without snapshots and metrics."""
        return sum(p.kimg * p.seconds_per_kimg for p in self.phases)


@dataclass(frozen=True)
class Cost:
    """Of one image at one resolution."""

    seconds: float
    memory_gib: float
    scaled: bool


class TimedTrainer(Trainer):
    """A trainer held at one resolution, with chosen lazy penalties due at each iteration."""

    level: int | None = None
    taken: tuple[Regularizer, ...] = ()

    def stage_at(self, images: int) -> Stage:
        """The level that is measured."""
        return super().stage_at(images) if self.level is None else Stage(self.level)

    def due(self, network: NetworkName, *, lazy: bool) -> list[Regularizer]:
        """The chosen lazy penalties, and those of every iteration."""
        return [reg for reg in self.taken if reg.on == network] if lazy else super().due(network, lazy=False)

    @property
    def lazy(self) -> tuple[Regularizer, ...]:
        """The penalties that are not computed at every iteration."""
        return tuple(reg for reg in cast(list[Regularizer], list(self.regularizers)) if reg.every > 1)

    def seconds(self, size: int, chosen: tuple[Regularizer, ...]) -> float:
        """How long one iteration on so many images takes with these lazy penalties."""
        self.taken = chosen
        shape, labels = self.experiment.shape, torch.zeros(size, self.experiment.labels)
        real = torch.randint(0, 256, (size, shape.channels, *shape.size), dtype=torch.uint8)
        self._wait()
        began = time.perf_counter()
        self.step(real, labels, labels)
        self._wait()
        self.stats.clear()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def estimate(experiment: Experiment, device: str = "auto") -> Estimate:
    """Measure what training an experiment needs. Writes nothing to disk."""
    where = choose_device(device)
    if where.type == "cpu":
        keep_memory()
    return (
        adversarial(experiment, where)
        if isinstance(experiment, AdversarialExperiment)
        else whole_steps(experiment, where)
    )


def whole_steps(experiment: Experiment, where: torch.device) -> Estimate:
    """Of a training whose steps are all alike: the second of two."""
    learner, schedule = experiment.learner(where), experiment.training
    shape, labels = experiment.shape, torch.zeros(schedule.batch, experiment.labels)
    seconds = 0.0
    for _ in range(2):
        real = torch.randint(0, 256, (schedule.batch, shape.channels, *shape.size), dtype=torch.uint8)
        began = time.perf_counter()
        learner.step(real, labels, labels)
        learner.report()
        seconds = (time.perf_counter() - began) / schedule.batch * 1000
    part = Phase(0, shape.size, False, schedule.batch, schedule.lr, schedule.kimg, seconds)
    return _estimate(experiment, where, peak_memory(where), False, [part])


def _estimate(experiment: Experiment, where: torch.device, memory: float, scaled: bool, found: list[Phase]) -> Estimate:
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in experiment.networks().items()}
    if where.type == "cpu" and (dataset := experiment.dataset()):  # else images are in another memory
        read = min(1.0, experiment.training.kimg * 1000 / len(dataset))
        memory += read * Loader(dataset, seed=0, workers=0).cache_bytes / 2**30
    return Estimate(counts, str(where), describe_precision(experiment.training.precision, where), memory, scaled, found)


def adversarial(experiment: AdversarialExperiment, where: torch.device) -> Estimate:
    """Of a GAN, at each size that it grows through, with penalties that are not due at every iteration."""
    probe = TimedTrainer(experiment, where)
    trained = sum(p.numel() for net in probe.nets.values() for p in net.parameters())
    fixed = peak_memory(where) + 3 * 4 * trained / 2**30  # gradients and Adam's moments come with the first iteration
    plan = phases(probe)
    pairs = {(stage.level, batch) for _, stage, batch in plan}
    costs = {
        pair: cost(probe, *pair) for pair in sorted(pairs, reverse=True)
    }  # the finest first: memory is not given back
    ends = [start / 1000 for start, _, _ in plan[1:]] + [experiment.training.kimg]
    found = []
    for (start, stage, batch), end in zip(plan, ends):
        lr = experiment.growth.lr(stage, experiment.training.lr) if experiment.growth else experiment.training.lr
        seconds = costs[stage.level, batch].seconds * 1000
        found.append(
            Phase(
                start / 1000,
                experiment.shape.sizes[stage.level],
                stage.alpha < 1,
                batch,
                lr,
                end - start / 1000,
                seconds,
            )
        )
    memory, scaled = max(c.memory_gib for c in costs.values()), any(c.scaled for c in costs.values())
    if where.type == "cpu":
        memory += (SPREAD - 1) * max(0.0, memory - fixed)
    return _estimate(experiment, where, memory, scaled, found)


def phases(trainer: Trainer) -> list[tuple[int, Stage, int]]:
    """(first image, stage, batch size) of each part of the training; one part without growth."""
    growth, batch = trainer.experiment.growth, trainer.options.batch
    if not growth:
        return [(0, trainer.stage_at(0), batch)]

    def place(images: int) -> tuple[int, bool]:
        stage = growth.stage(images)
        return stage.level, stage.alpha < 1

    total = round(trainer.options.kimg * 1000)
    step, starts = max(1, total // 10_000), [0]
    for images in range(step, total, step):
        if place(images) != place(starts[-1]):
            starts.append(bisect_left(range(images), True, starts[-1], key=lambda i: place(i) != place(starts[-1])))
    return [(start, growth.stage(start), growth.batch(growth.stage(start), batch)) for start in starts]


def cost(probe: TimedTrainer, level: int, batch: int) -> Cost:
    """Of one image at a level, with lazy penalties spread over the iterations they serve; and an iteration's memory."""
    part = min(probe.micro_batch or batch, batch)
    probe.level, size, slope = level, min(part, SMALL), 0.0
    took, peak = probe.seconds(size, probe.lazy), peak_memory(probe.device)  # makes Adam's moments too
    while size < part and (size == SMALL or _affordable(took, slope * size, probe.device)):
        larger = min(2 * size, part)
        took, now = probe.seconds(larger, probe.lazy), peak_memory(probe.device)
        slope, size, peak = (now - peak) / (larger - size), larger, now
    again = took < PATIENCE  # a quick iteration is measured once more; a slow one is precise enough
    base = min([*([] if probe.lazy else [took]), *(probe.seconds(size, ()) for _ in range(bool(probe.lazy) + again))])
    extra = sum(max(probe.seconds(size, (reg,)) - base, 0.0) / reg.every for reg in probe.lazy)
    return Cost((base + extra) / size, peak + slope * (part - size), size < part)


def largest_micro_batch(experiment: Experiment, where: torch.device) -> tuple[int | None, str]:
    """Images computed at once where `batch_gpu` is "auto", and a sentence that says so; None for all.

    A GPU is tried with all images. A processor's memory cannot be tried: the memory of two small steps of a copy is
    measured, at the finest size of the training, in a process that has done little before.
    """
    if where.type != "cpu":
        return None, "batch_gpu auto: beginning with all images at once, with half as many where memory runs out."
    if not isinstance(experiment, AdversarialExperiment):
        return None, "batch_gpu auto: beginning with all images at once."
    return _measured_part(copy.deepcopy(experiment), where)


def _measured_part(experiment: AdversarialExperiment, where: torch.device) -> tuple[int | None, str]:
    """How many images a processor may compute at once so that its memory holds them; None for all; and a sentence."""
    probe, count = TimedTrainer(experiment, where), distributed.rank_and_world()[1]
    growth, finest, batch = experiment.growth, probe.stage_at(round(probe.options.kimg * 1000)), probe.options.batch
    probe.level, share = finest.level, max(1, (growth.batch(finest, batch) if growth else batch) // count)
    free, before, sizes = free_memory(where) / count, peak_memory(where), (SMALL, 2 * SMALL)
    peaks = []
    for size in sizes:
        probe.seconds(size, probe.lazy)
        peaks.append(peak_memory(where) - before)
    slope = (peaks[1] - peaks[0]) / SMALL

    def needed(part: int) -> float:
        return peaks[0] + slope * max(part - SMALL, 0)

    part = share
    while part > 1 and needed(part) > SHARE * free:
        part = (part + 1) // 2
    part = -distributed.all_max(-part)
    need = f"{needed(part):.2f} of {free:.2f} GiB"
    return None if part == share else part, f"batch_gpu auto: {part} of {share} images at once, which need {need}."


def _affordable(seconds: float, gib: float, device: torch.device) -> bool:
    """Whether twice the batch can be measured; `gib` is what it would take more."""
    return 2 * seconds < PATIENCE and gib < SHARE * free_memory(device)
