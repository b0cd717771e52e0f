"""Estimate of a training by measurement: parameters, peak memory, seconds per kimg, and the plan of resolutions.

A few real iterations run on random images. Where a whole batch would take too long or too much memory, a small one is
measured and scaled up.
"""

import copy
import time
from bisect import bisect_left
from dataclasses import dataclass

import torch

from ganzoo.gan.adversarial import AdversarialExperiment
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import Experiment, Learning, Regularizer, Stage
from ganzoo.registry.ramp import at
from ganzoo.training import distributed
from ganzoo.training.device import choose_device, describe_precision, free_memory, keep_memory, peak_memory
from ganzoo.training.loader import Loader
from ganzoo.types import Size

SPREAD = 1.2  # memory of a longer training over that of a few iterations: a processor's heap gets holes (measured)
SMALL = 2  # images of the first measured iteration
LIMIT = 2.0  # seconds that a measured iteration may take
SHARE = 0.7  # largest share of the free memory for measuring, and for training with parts of automatic size
ADAM = 3  # float32 numbers that training adds to each parameter: gradient, first and second moment


@dataclass(frozen=True)
class Phase:
    """A part of the training at one resolution and batch size.

    Args:
        start_kimg: thousands of images shown before it
        size: (height, width) of its images
        fading: whether its finest layers fade in
        batch: images of an iteration
        lr: the generator's learning rate
        kimg: its length in thousands of images
        seconds_per_kimg: as measured
    """

    start_kimg: float
    size: Size
    fading: bool
    batch: int
    lr: float
    kimg: float
    seconds_per_kimg: float


@dataclass(frozen=True)
class Estimate:
    """Needs of a training.

    Args:
        parameters: of each network
        device: as torch names it
        precision: of the feature maps, in words
        memory_gib: peak memory
        scaled: whether a smaller batch than the recipe's was measured
        phases: in order
    """

    parameters: dict[str, int]
    device: str
    precision: str
    memory_gib: float
    scaled: bool
    phases: list[Phase]

    @property
    def seconds_per_kimg(self) -> float:
        """Seconds per thousand images at the last resolution of the training."""
        return self.phases[-1].seconds_per_kimg

    @property
    def seconds(self) -> float:
        """Seconds of the whole training, without snapshots and metrics."""
        return sum(phase.kimg * phase.seconds_per_kimg for phase in self.phases)


@dataclass(frozen=True)
class Cost:
    """Cost of training at one resolution and batch size.

    Args:
        seconds: for each image
        memory_gib: peak, of a whole iteration
        scaled: whether a smaller batch was measured
    """

    seconds: float
    memory_gib: float
    scaled: bool


class TimedTrainer(Trainer):
    """A trainer held at one resolution, with chosen lazy penalties due at every iteration."""

    level: int | None = None  # level of all iterations; None for the schedule's
    chosen: tuple[Regularizer, ...] = ()  # the lazy penalties that are due

    def stage_at(self, images: int) -> Stage:
        """The level that is measured."""
        return super().stage_at(images) if self.level is None else Stage(self.level)

    def due(self, network: Learning, *, lazy: bool) -> list[Regularizer]:
        """The chosen lazy penalties, or those of every iteration."""
        return [reg for reg in self.chosen if reg.on == network] if lazy else super().due(network, lazy=False)

    @property
    def lazy(self) -> tuple[Regularizer, ...]:
        """The penalties that are not computed at every iteration."""
        return tuple(reg for reg in self.regularizers if reg.every > 1)

    def seconds(self, size: int, chosen: tuple[Regularizer, ...]) -> float:
        """Run one iteration on `size` random images with these lazy penalties, and return the seconds it took."""
        self.chosen = chosen
        shape, labels = self.experiment.shape, torch.zeros(size, self.experiment.labels)
        real = torch.randint(0, 256, (size, shape.channels, *shape.size), dtype=torch.uint8)
        self._synchronize()
        began = time.perf_counter()
        self.step(real, labels, labels)
        self._synchronize()
        self.stats.clear()
        return time.perf_counter() - began

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def estimate(experiment: Experiment, device: str = "auto") -> Estimate:
    """Measure what training an experiment needs. Writes nothing to disk."""
    target = choose_device(device)
    if target.type == "cpu":
        keep_memory()
    if isinstance(experiment, AdversarialExperiment):
        return estimate_gan(experiment, target)
    return estimate_uniform(experiment, target)


def estimate_uniform(experiment: Experiment, device: torch.device) -> Estimate:
    """Estimate a training whose steps are all alike, by the second of two."""
    learner, schedule = experiment.learner(device), experiment.training
    shape, labels = experiment.shape, torch.zeros(schedule.batch, experiment.labels)
    seconds = 0.0
    for _ in range(2):
        real = torch.randint(0, 256, (schedule.batch, shape.channels, *shape.size), dtype=torch.uint8)
        began = time.perf_counter()
        learner.step(real, labels, labels)
        learner.report()
        seconds = (time.perf_counter() - began) / schedule.batch * 1000
    phase = Phase(
        start_kimg=0,
        size=shape.size,
        fading=False,
        batch=schedule.batch,
        lr=at(schedule.lr, 0),
        kimg=schedule.kimg,
        seconds_per_kimg=seconds,
    )
    return _summarize(experiment, device, peak_memory(device), False, [phase])


def _summarize(
    experiment: Experiment, device: torch.device, memory: float, scaled: bool, phases: list[Phase]
) -> Estimate:
    """Count parameters, and add the decoded images that stay in memory."""
    if device.type == "cpu" and (dataset := experiment.dataset()):  # elsewhere, images are not in the device's memory
        share_read = min(1.0, experiment.training.kimg * 1000 / len(dataset))
        memory += share_read * Loader(dataset, seed=0, workers=0).cache_bytes / 2**30
    return Estimate(
        parameters={name: sum(p.numel() for p in net.parameters()) for name, net in experiment.networks().items()},
        device=str(device),
        precision=describe_precision(experiment.training.precision, device),
        memory_gib=memory,
        scaled=scaled,
        phases=phases,
    )


def estimate_gan(experiment: AdversarialExperiment, device: torch.device) -> Estimate:
    """Estimate a GAN's training, at each size that it grows through, with the penalties of its lazy iterations."""
    trainer = TimedTrainer(experiment, device)
    parameters = sum(p.numel() for net in trainer.nets.values() for p in net.parameters())
    fixed = peak_memory(device) + ADAM * 4 * parameters / 2**30  # Adam's share comes with the first iteration

    # Measure each pair of level and batch once, the finest level first: memory is not given back.
    plan = phases(trainer)
    pairs = sorted({(stage.level, batch) for _, stage, batch in plan}, reverse=True)
    costs = {pair: cost(trainer, *pair) for pair in pairs}

    measured = []
    starts = [start / 1000 for start, _, _ in plan]
    for start, end, (_, stage, batch) in zip(starts, [*starts[1:], experiment.training.kimg], plan):
        lr = at(experiment.training.lr, start * 1000)
        phase = Phase(
            start_kimg=start,
            size=experiment.shape.sizes[stage.level],
            fading=stage.alpha < 1,
            batch=batch,
            lr=experiment.growth.lr(stage, lr) if experiment.growth else lr,
            kimg=end - start,
            seconds_per_kimg=costs[stage.level, batch].seconds * 1000,
        )
        measured.append(phase)

    memory, scaled = max(c.memory_gib for c in costs.values()), any(c.scaled for c in costs.values())
    if device.type == "cpu":
        memory += (SPREAD - 1) * max(0.0, memory - fixed)
    return _summarize(experiment, device, memory, scaled, measured)


def phases(trainer: Trainer) -> list[tuple[int, Stage, int]]:
    """(first image, stage, batch size) of each part of the training; one part without growth."""
    growth, batch = trainer.experiment.growth, trainer.schedule.batch
    if not growth:
        return [(0, trainer.stage_at(0), batch)]

    def part(images: int) -> tuple[int, bool]:
        stage = growth.stage(images)
        return stage.level, stage.alpha < 1

    def end_of_part(start: int, later: int) -> int:
        """The first image of the next part, which is no later than `later`."""
        return bisect_left(range(later), True, start, key=lambda images: part(images) != part(start))

    total = round(trainer.schedule.kimg * 1000)
    step, starts = max(1, total // 10_000), [0]
    for images in range(step, total, step):
        if part(images) != part(starts[-1]):
            starts.append(end_of_part(starts[-1], images))
    return [(start, growth.stage(start), growth.batch(growth.stage(start), batch)) for start in starts]


def cost(trainer: TimedTrainer, level: int, batch: int) -> Cost:
    """Measure the cost of an image at a level, lazy penalties spread over the iterations between them, and memory.

    The number of images doubles for as long as time and memory allow.
    """
    device = trainer.device
    part = min(trainer.micro_batch or batch, batch)
    trainer.level = level

    # Memory: its growth from one size to the next gives that of a whole part.
    size, slope = min(part, SMALL), 0.0  # slope in GiB per image
    seconds, peak = trainer.seconds(size, trainer.lazy), peak_memory(device)  # makes Adam's moments too
    while size < part and (size == SMALL or _affordable(seconds, slope * size, device)):
        larger = min(2 * size, part)
        seconds, larger_peak = trainer.seconds(larger, trainer.lazy), peak_memory(device)
        slope, size, peak = (larger_peak - peak) / (larger - size), larger, larger_peak

    # Time: an iteration without lazy penalties, the fastest of several, and what each lazy penalty adds.
    times = [] if trainer.lazy else [seconds]
    repeats = bool(trainer.lazy) + (seconds < LIMIT)  # one slow iteration is precise enough
    times += [trainer.seconds(size, ()) for _ in range(repeats)]
    base = min(times)
    extra = sum(max(trainer.seconds(size, (reg,)) - base, 0.0) / reg.every for reg in trainer.lazy)
    return Cost(seconds=(base + extra) / size, memory_gib=peak + slope * (part - size), scaled=size < part)


def largest_micro_batch(experiment: Experiment, device: torch.device) -> tuple[int | None, str]:
    """Images computed at once where `batch_gpu` is "auto", None for all, and a sentence that says so.

    A GPU is tried with all images. A processor's memory cannot be tried: the memory of two small steps of a copy is
    measured, at the finest size of the training, in a process that has done little before.
    """
    if device.type != "cpu":
        return None, "batch_gpu auto: beginning with all images at once, with half as many where memory runs out."
    if not isinstance(experiment, AdversarialExperiment):
        return None, "batch_gpu auto: beginning with all images at once."
    return _micro_batch_in_ram(copy.deepcopy(experiment), device)


def _micro_batch_in_ram(experiment: AdversarialExperiment, device: torch.device) -> tuple[int | None, str]:
    """Halve this process's share of the finest batch until its memory, as two small steps foretell it, is there."""
    trainer, world = TimedTrainer(experiment, device), distributed.rank_and_world()[1]
    finest = trainer.stage_at(round(trainer.schedule.kimg * 1000))
    batch = trainer.schedule.batch
    batch = experiment.growth.batch(finest, batch) if experiment.growth else batch
    trainer.level, share = finest.level, max(1, batch // world)

    free, before = free_memory(device) / world, peak_memory(device)
    peaks = []
    for size in (SMALL, 2 * SMALL):
        trainer.seconds(size, trainer.lazy)
        peaks.append(peak_memory(device) - before)
    slope = (peaks[1] - peaks[0]) / SMALL  # GiB per image

    def needed(images: int) -> float:
        return peaks[0] + slope * max(images - SMALL, 0)

    part = share
    while part > 1 and needed(part) > SHARE * free:
        part = (part + 1) // 2
    part = -distributed.all_max(-part)  # the smallest of all processes
    notice = f"batch_gpu auto: {part} of {share} images at once, which need {needed(part):.2f} of {free:.2f} GiB."
    return None if part == share else part, notice


def _affordable(seconds: float, gib: float, device: torch.device) -> bool:
    """Whether twice the batch can be measured, after one that took `seconds`; `gib` is the memory it would add."""
    return 2 * seconds < LIMIT and gib < SHARE * free_memory(device)
