"""The loop over iterations: what it says at each tick, what it keeps, and what it does when something goes wrong."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ganzoo.errors import DataError, Diverged, Interrupted
from ganzoo.gan.watchdog import Policy, Watchdog
from ganzoo.interfaces import Dataset, Learner, Loss
from ganzoo.io import launch
from ganzoo.io.log import Log, append_json, duration
from ganzoo.model.checkpoint import Header
from ganzoo.model.inherit import Report
from ganzoo.recipe.source import to_yaml
from ganzoo.runs import state
from ganzoo.runs.folder import RunOptions, environment, forget_launch, newest, set_back
from ganzoo.runs.keeper import SnapshotWriter
from ganzoo.runs.loggers import Loggers
from ganzoo.training import distributed
from ganzoo.training.device import describe_precision, peak_memory
from ganzoo.training.labels import drawn_labels
from ganzoo.training.learner import Reload
from ganzoo.training.loader import CACHE_BYTES, Loader

T = TypeVar("T")
UNREADABLE = 1 << 16  # above all signals: a process cannot read its images
RELOADS = 3  # times in a row that training goes back to one state


class Run:
    """The loop over iterations, and what it says at each tick."""

    def __init__(
        self, learner: Learner, dataset: Dataset, folder: Path, head: Header, log: Log, policy: Policy = "off"
    ) -> None:
        self.learner, self.dataset, self.folder, self.head, self.log = learner, dataset, folder, head, log
        experiment, loss = learner.experiment, getattr(learner.experiment, "loss", None)
        self.loggers = Loggers(experiment.loggers() if launch.first() else [], log.say)
        self.schedule = learner.schedule
        self.keeper = SnapshotWriter(learner, dataset, folder, head, log, self.loggers)
        self.watchdog: Watchdog | None = None
        if policy != "off" and isinstance(loss, Loss):  # what it looks for are the faults of GANs
            self.watchdog = Watchdog(folder, loss, experiment.ranking)
        self.policy = policy
        self.started = self.tick_started = time.monotonic()
        self.tick_images, self.maintenance = learner.images, 0.0
        self.waited = 0.0  # for images, until the last tick
        self.reloaded: list[int] = []  # images seen at the states that training went back to
        learner.notice = log.say

    def loop(self, workers: int, stop: list[int]) -> None:
        """Train until kimg is reached, or until `stop` holds a signal, in any process."""
        learner, total, schedule = self.learner, round(self.schedule.kimg * 1000), self.schedule
        if learner.images >= total:
            self.log.say(f"{self.folder} already has {learner.images / 1000:.1f} kimg: raise --kimg to go on.")
            return
        loader = Loader(self.dataset, seed=schedule.seed, mirror=schedule.mirror, workers=workers)
        self.log.say(_kept(loader))
        try:
            while True:
                try:
                    caught = self._train_until(total, loader, stop)
                    break
                except Reload as err:
                    self._reload(str(err))
            if self.keeper.saved_at != learner.images:
                self.keeper.snapshot(look=not caught)
        except DataError as err:  # a file that was there is gone, or broken
            self.keeper.snapshot(look=False)
            found = DataError(
                f"{err} Training stopped at {learner.images / 1000:.1f} kimg and its state is written: repair the "
                f"images and continue with 'gz train --resume {self.folder}'."
            )
            found.on_all_ranks = True
            raise found from None
        finally:
            loader.close()
        if caught:
            if launch.first():
                forget_launch(self.folder.parent)
            raise Interrupted(
                f"stopped by {signal.Signals(caught).name} at {learner.images / 1000:.1f} kimg; the state is written: "
                f"continue with 'gz train --resume {self.folder}'."
            )

    def _train_until(self, total: int, loader: Loader, stop: list[int]) -> int:
        """Train until so many images were seen, or a signal came; returns its number, or 0."""
        learner, caught = self.learner, 0
        while learner.images < total and not caught:
            before = learner.images
            caught = self._iterate(loader, stop)
            self.log.progress(learner.images, f"{learner.images / 1000:.1f} kimg")
            if self._ticks(learner.images) > self._ticks(before):
                self.tick(loader.waited)
                if self._due(before):
                    self._as_maintenance(self.keeper.snapshot)
        if self.tick_images != learner.images:
            self.tick(loader.waited)
        return caught

    def _iterate(self, loader: Loader, stop: list[int]) -> int:
        """One step on this process's share of the batch that comes next, unless a signal came to any process.

        Returns the signal's number, or 0. Raises DataError, in all processes, where one cannot read its images.
        """
        learner, (rank, count) = self.learner, distributed.rank_and_world()
        at, batch = learner.images, learner.batch()
        share = batch // count
        first = at + rank * share
        fault, found = "", None
        try:
            found = loader.batch(first, share, following=first + batch)
        except DataError as err:
            fault = str(err)
        caught = distributed.all_max(UNREADABLE if fault else stop[0] if stop else 0)
        if found is None or caught == UNREADABLE:
            raise DataError(fault or "another process cannot read its images.")
        if caught:
            return caught
        real, label = found
        drawn = drawn_labels(self.dataset, batch, self.schedule.seed, at)[rank * share :][:share]
        learner.step(real, label, drawn)
        return 0

    def _reload(self, why: str) -> None:
        """Go back to the last state, and draw anew from there."""
        learner, states = self.learner, newest(self.folder, "state")
        again, nowhere = learner.reloads + 1, "there is no state to go back to"
        if states:
            state.restore(learner, states[0])
            learner.reloads = again
            self.reloaded.append(learner.images)
            nowhere = f"going back to {states[0].name} did not help, {RELOADS} times"
        if not states or self.reloaded.count(learner.images) > RELOADS:
            raise Diverged(f"training diverged: {why}, and {nowhere}; what was written before is untouched.")
        if launch.first():
            set_back(self.folder, learner.images)
        self.loggers.close()
        self.loggers.start(self.folder, self.head.recipe, learner.images / 1000)
        learner.stats.clear()
        self.tick_images = self.keeper.saved_at = learner.images
        self.log.say(f"{why}: back to {states[0].name}, {learner.images / 1000:.1f} kimg, with other random numbers.")

    def _ticks(self, images: int) -> int:
        return int(images / 1000 / self.schedule.tick_kimg)

    def _due(self, before: int) -> bool:
        """Whether a snapshot belongs to the tick that just ended: the first one, and each so many."""
        each, ticks = self.schedule.snapshot_ticks, (self._ticks(before), self._ticks(self.learner.images))
        return each > 0 and (ticks[0] == 0 or ticks[0] // each < ticks[1] // each)

    def describe(self, options: RunOptions) -> None:
        """Write down the recipe and what the run runs on; say so."""
        if not launch.first():
            return
        given, device = self.folder / "recipe.yaml", self.learner.device
        if not given.exists():
            given.write_text(options.text or to_yaml(self.head.recipe), encoding="utf-8")
        (self.folder / "recipe.resolved.yaml").write_text(to_yaml(self.head.recipe), encoding="utf-8")
        about = json.dumps(environment(device, options.command), indent=1)
        (self.folder / "environment.json").write_text(about, encoding="utf-8")
        nets = self.learner.experiment.networks().items()
        sizes = " and ".join(f"{name} {sum(p.numel() for p in net.parameters()):,}" for name, net in nets)
        precision = describe_precision(self.schedule.precision, device)
        count = distributed.rank_and_world()[1]
        several = f" in {count} processes" if count > 1 else ""
        self.log.say(
            f"{self.folder}: {len(self.dataset)} images of {self.dataset.title}, {sizes} parameters, {device} "
            f"{precision}{several}."
        )

    def begin(self, inherited: Report | None = None) -> None:
        """What there is to see before the first step, and what the weights of another run gave."""
        if inherited and launch.first():
            (self.folder / "inherited.json").write_text(json.dumps(inherited.record(), indent=1), encoding="utf-8")
            for net, matched, resized, fresh, skipped, copied, total in inherited.rows():
                self.log.say(
                    f"{net}: {copied:,} of {total:,} numbers from {inherited.path}: {matched} tensors matched, "
                    f"{resized} resized, {fresh} fresh; {skipped} of its own skipped."
                )
            for note in inherited.notes:
                self.log.say(note)
        if launch.first():
            self._as_maintenance(self.keeper.reals)
            self._as_maintenance(lambda: self.keeper.samples("fakes_init.png"))
        self._as_maintenance(lambda: self.keeper.measure(None))

    def _as_maintenance(self, work: Callable[[], T]) -> T:
        """Do work that is not training, and count its time apart."""
        began = time.monotonic()
        result = work()
        self.maintenance += time.monotonic() - began
        return result

    def tick(self, waited: float) -> None:
        """The status line. Its maintenance is the time since the last one that was not spent training."""
        learner = self.learner
        means, images = learner.report(), learner.images - self.tick_images  # waits for the device
        diverse = {"diversity": self._as_maintenance(self._diversity)} if self.watchdog and launch.first() else {}
        now = time.monotonic()
        spent = now - self.tick_started - self.maintenance
        record = {
            "kimg": learner.images / 1000,
            "iteration": learner.iteration,
            "level": learner.stage.level,
            "alpha": learner.stage.alpha,
            "seconds": now - self.started,
            "sec_per_kimg": spent / max(images, 1) * 1000,
            "memory_gib": peak_memory(learner.device),
            "waited": waited,
            "means": means,
            **diverse,
        }
        if launch.first():
            append_json(self.folder / "stats.jsonl", record)
            self.loggers.log(record)
        self.log.say(
            f"tick {self._ticks(learner.images):<5d} kimg {record['kimg']:<8.1f} "
            f"time {duration(now - self.started):<12s} "
            f"sec/tick {spent:<7.1f} sec/kimg {record['sec_per_kimg']:<7.2f} maintenance {self.maintenance:<6.1f} "
            f"data {(waited - self.waited) / max(spent, 1e-9):<4.0%} mem {record['memory_gib']:<5.2f} {self._growth()}"
            f"loss {_losses(means)}"
        )
        self.maintenance, self.tick_started, self.tick_images, self.waited = 0.0, now, learner.images, waited
        if self.watchdog:
            self._as_maintenance(self._check_watchdog)

    def _diversity(self) -> float | None:
        """Of samples, for the watchdog; where real images have none to compare with, that is said once."""
        found = self.keeper.diversity()
        if found is None and self.tick_images == 0:
            self.log.say(
                "watchdog: the real images are too few or too alike to say whether samples are diverse: a generator "
                "learns these by heart."
            )
        return found

    def _check_watchdog(self) -> None:
        """Say what the watchdog noticed. Raises Diverged, after the state was written, where that ends the training."""
        alarms = self.watchdog.tick() if self.watchdog and launch.first() else []
        for alarm in alarms:
            self.log.say(f"watchdog: {alarm.kind} since {alarm.since_kimg:.1f} kimg: {alarm.sentence} {alarm.advice}")
        said = distributed.broadcast_text(
            f"{alarms[0].kind}: {alarms[0].sentence} {alarms[0].advice}" if alarms else ""
        )
        if said and self.policy == "stop":
            if self.keeper.saved_at != self.learner.images:
                self.keeper.snapshot()
            raise Diverged(
                f"training was stopped at {self.learner.images / 1000:.1f} kimg by --watchdog stop: {said} The state "
                f"is written: 'gz train --resume {self.folder}' goes on."
            )

    def _growth(self) -> str:
        if not self.learner.grows:
            return ""
        height, width = self.learner.experiment.shape.sizes[self.learner.stage.level]
        return f"size {height}x{width} alpha {self.learner.stage.alpha:.2f} "


def _kept(loader: Loader) -> str:
    """Whether decoded images stay in memory."""
    needed, most = f"{loader.decoded_bytes / 2**30:.2f} GiB", f"{CACHE_BYTES / 2**30:.0f} GiB"
    if loader.cache_bytes:
        return f"Images stay in memory once they are decoded: {needed}, up to {most} may."
    return f"Images are decoded each time: {needed} are more than the {most} that may stay in memory."


def _losses(means: dict[str, float]) -> str:
    """'D 0.123 G 4.567'."""
    found = [(name.removeprefix("loss/"), value) for name, value in means.items() if name.startswith("loss/")]
    return " ".join(f"{name.upper() if len(name) == 1 else name} {value:.3f}" for name, value in found)
