"""The loop over iterations: what it writes at each tick, and what it does when something goes wrong.

Read `Run.loop` first.
"""

import json
import signal
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ganzoo.errors import DataError, Diverged, Interrupted
from ganzoo.interfaces import Dataset, Learner
from ganzoo.io import launch
from ganzoo.io.files import quoted
from ganzoo.io.log import Log, append_json, read_json_lines
from ganzoo.model.checkpoint import Header
from ganzoo.model.inherit import Report
from ganzoo.runs import state
from ganzoo.runs.folder import Policy, cut_stopped_ticks, forget_launch, newest, set_back
from ganzoo.runs.keeper import SnapshotWriter
from ganzoo.runs.loggers import Loggers
from ganzoo.runs.status import TickTimes, cache_notice, interrupted_at_once, status_line
from ganzoo.training import distributed
from ganzoo.training.device import peak_memory
from ganzoo.training.gradients import Reload
from ganzoo.training.labels import drawn_labels
from ganzoo.training.loader import Loader

P = ParamSpec("P")
T = TypeVar("T")
DATA_ERROR = 1 << 16  # in place of a signal's number, and larger than any, so that all_max() prefers it
RELOADS = 3  # times in a row that training goes back to one state


def _interruptible(method: Callable[Concatenate["Run", P], T]) -> Callable[Concatenate["Run", P], T]:
    """Make a method say what is lost where a second signal ends the training at once; the first one is only noted."""

    @wraps(method)
    def wrapped(run: "Run", /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(run, *args, **kwargs)
        except KeyboardInterrupt:
            raise interrupted_at_once(run.folder) from None

    return wrapped


class Run:
    """A run in progress: its loop over iterations, and what it writes into its directory.

    Args:
        learner: the training
        dataset: its images
        folder: the run's directory
        header: of its snapshots and states
        log: takes its lines
        policy: what happens at a monitor's alarm: "warn" logs it, "stop" ends the training too, "off" has no monitors
    """

    def __init__(
        self, learner: Learner, dataset: Dataset, folder: Path, header: Header, log: Log, policy: Policy = "off"
    ) -> None:
        self.learner = learner
        self.dataset = dataset
        self.folder = folder
        self.header = header
        self.log = log
        self.policy = policy
        self.schedule = learner.schedule
        self.loggers = Loggers(learner.experiment.loggers() if launch.is_first() else [], log.say)
        self.monitors = learner.experiment.monitors() if policy != "off" else []
        self.snapshots = SnapshotWriter(learner, dataset, folder, header, log, self.loggers)
        self.started = time.monotonic()
        self.first_images = learner.images  # images seen when this process began to train
        self.tick_started = self.started
        self.tick_images = learner.images  # images seen at the last tick, or when this process began to train
        self.maintenance = 0.0  # seconds since the last tick that were not spent training
        self.waited = 0.0  # seconds that training had waited for images at the last tick
        self.reloaded: list[int] = []  # images seen at each state that training went back to
        learner.notice = log.say

    @_interruptible
    def loop(self, workers: int, stop: list[int]) -> None:
        """Train until kimg is reached, or until `stop` holds the number of a signal, in any process.

        Args:
            workers: threads that read images
            stop: empty until a signal comes

        Raises Interrupted after a signal, and DataError where images cannot be read, both once the state is written;
        Diverged where numbers are not finite.
        """
        learner, schedule = self.learner, self.schedule
        total = round(schedule.kimg * 1000)
        self._measure_missed(total)
        if learner.images >= total:
            self.log.say(f"{self.folder} already has {learner.images / 1000:.1f} kimg: raise --kimg to go on.")
            return
        if launch.is_first():
            cut_stopped_ticks(self.folder)

        # Train, and write the end.
        with Loader(self.dataset, seed=schedule.seed, mirror=schedule.mirror, workers=workers) as loader:
            self.log.say(cache_notice(loader))
            try:
                caught = self._train_until(total, loader, stop)
                if self.snapshots.saved_at != learner.images:
                    self.snapshots.write(measured=not caught)
            except DataError as err:  # a file has vanished, or was damaged, since all were checked
                self.snapshots.write(full=False)
                error = DataError(
                    f"{err} Training stopped at {learner.images / 1000:.1f} kimg and its state is written: repair the "
                    f"images and continue with 'gz train --resume {quoted(self.folder)}'."
                )
                error.on_all_ranks = True
                raise error from None

        # Say which signal ended the training.
        if caught:
            if launch.is_first():
                forget_launch(self.folder.parent)
            raise Interrupted(
                f"stopped by {signal.Signals(caught).name} at {learner.images / 1000:.1f} kimg; the state is written: "
                f"continue with 'gz train --resume {quoted(self.folder)}'."
            )

    def _train_until(self, total: int, loader: Loader, stop: list[int]) -> int:
        """Train until `total` images were seen, or a signal came. Returns its number, or 0.

        Where a gradient is not finite and the recipe says so, training goes back to the last state.
        """
        while True:
            try:
                return self._iterate_until(total, loader, stop)
            except Reload as err:
                self._reload(str(err))

    def _iterate_until(self, total: int, loader: Loader, stop: list[int]) -> int:
        """Like `_train_until`. Raises Reload."""
        learner, caught = self.learner, 0
        while learner.images < total and not caught:
            # One iteration.
            before = learner.images
            caught = self._iterate(loader, stop)
            self.log.progress(learner.images, f"{learner.images / 1000:.1f} kimg")

            # A status line at each tick, and a snapshot at some.
            if self._ticks(learner.images) > self._ticks(before):
                self.tick(loader.waited)
                if self._snapshot_due(before):
                    self._as_maintenance(self.snapshots.write)

        # The end of training seldom falls on a tick.
        if self.tick_images != learner.images or state.logged(learner):
            self.tick(loader.waited, ended=False)
        return caught

    def _iterate(self, loader: Loader, stop: list[int]) -> int:
        """Take one step on this process's share of the next batch, unless a signal came to any process.

        Returns the signal's number, or 0. Raises DataError, in all processes, where one cannot read its images.
        """
        # Read this process's share of the batch that comes next, or of the batches, where a step takes several.
        learner, (rank, world) = self.learner, distributed.rank_and_world()
        start, batch = learner.images, learner.batch()
        share, count = batch // world, learner.real_batches
        position = (start + rank * share) * count
        fault, images = "", None
        try:
            images = loader.batch(position, share * count, following=position + batch * count)
        except DataError as err:
            fault = str(err)

        # Agree with the other processes on whether to go on.
        stopped = distributed.all_max(DATA_ERROR if fault else stop[0] if stop else 0)
        if images is None or stopped == DATA_ERROR:
            raise DataError(fault or "another process cannot read its images.")
        if stopped:
            return stopped

        # Step. Labels of generated images are drawn for the whole batch, alike in all processes.
        real, label = images
        fake_label = drawn_labels(self.dataset, batch, self.schedule.seed, start)[rank * share :][:share]
        learner.step(real, label, fake_label)
        return 0

    def _reload(self, reason: str) -> None:
        """Go back to the last state; what is drawn from there on is new. Raises Diverged where that did not help."""
        learner, states = self.learner, newest(self.folder, "state")
        if not states:
            raise Diverged(
                f"training diverged: {reason}, and there is no state to go back to; what was written before is "
                f"untouched."
            )
        reloads = learner.reloads + 1
        state.restore(learner, states[0])
        learner.reloads = reloads
        self.reloaded.append(learner.images)
        if self.reloaded.count(learner.images) > RELOADS:
            raise Diverged(
                f"training diverged: {reason}, and going back to {states[0].name} did not help, {RELOADS} times; what "
                f"was written before is untouched."
            )
        if launch.is_first():
            set_back(self.folder, learner.images)
        self.loggers.close()
        self.loggers.start(self.folder, self.header.recipe, learner.images / 1000)
        self.tick_images = self.snapshots.saved_at = learner.images
        self.log.say(
            f"{reason}: back to {states[0].name}, {learner.images / 1000:.1f} kimg, with other random numbers."
        )

    def _ticks(self, images: int) -> int:
        """Number of ticks that have ended after so many images."""
        return int(images / 1000 / self.schedule.tick_kimg)

    def _snapshot_due(self, before: int) -> bool:
        """Whether a snapshot belongs to the tick that just ended: the first one, and every `snapshot_ticks`-th."""
        interval, ticks = self.schedule.snapshot_ticks, (self._ticks(before), self._ticks(self.learner.images))
        return interval > 0 and (ticks[0] == 0 or ticks[0] // interval < ticks[1] // interval)

    def _measure_missed(self, total: int) -> None:
        """Measure the snapshot that training continues from, where it ended before that snapshot was measured."""

        def missed() -> str | None:
            rows = read_json_lines(self.folder / "stats.jsonl")
            ticks = [round(row["kimg"] * 1000) for row in rows if not row.get("stopped")]
            images = self.learner.images
            due = images >= total or (images in ticks[-1:] and self._snapshot_due(ticks[-2] if ticks[1:] else 0))
            return "yes" if due and self.snapshots.is_unmeasured() else None

        if distributed.on_first(missed):
            self._as_maintenance(self.snapshots.measure_present)

    def _as_maintenance(self, work: Callable[[], T]) -> T:
        """Do work that is not training, and count its time as maintenance."""
        began = time.monotonic()
        result = work()
        self.maintenance += time.monotonic() - began
        return result

    # --- before the first step ----------------------------------------------------------------------------------------

    @_interruptible
    def begin(self, inherited: Report | None = None) -> None:
        """Log what came from another run's weights; save real images and first samples, and measure the beginning."""
        if inherited and launch.is_first():
            (self.folder / "inherited.json").write_text(json.dumps(inherited.record(), indent=1), encoding="utf-8")
            for net, matched, resized, fresh, skipped, copied, total in inherited.rows():
                self.log.say(
                    f"{net}: {copied:,} of {total:,} numbers from {inherited.path}: {matched} tensors matched, "
                    f"{resized} resized, {fresh} fresh; {skipped} of its own skipped."
                )
            for note in inherited.notes:
                self.log.say(note)
        if launch.is_first():
            self._as_maintenance(self.snapshots.save_reals)
            self._as_maintenance(lambda: self.snapshots.save_samples("fakes_init.png"))
        self._as_maintenance(lambda: self.snapshots.measure(None))

    # --- at each tick -------------------------------------------------------------------------------------------------

    def tick(self, waited: float, *, ended: bool = True) -> None:
        """Write the row and the status line of the tick that ended, and have the monitors judge it.

        Args:
            waited: seconds that training has waited for images so far
            ended: without, training stops within the tick: its statistics are kept for the state, and the row is
                marked, since a training that goes on from there writes the row of the whole tick in its place
        """
        # What happened since the last tick; to read the means waits for the device.
        learner = self.learner
        logged = {} if ended else state.logged(learner)
        means = learner.report()
        state.log_again(learner, logged)
        monitored = self._as_maintenance(self._monitored)
        now, images = time.monotonic(), learner.images - self.tick_images
        spent = now - self.tick_started - self.maintenance

        # A row of stats.jsonl.
        row: dict[str, Any] = {
            "kimg": learner.images / 1000,
            "iteration": learner.iteration,
            "level": learner.stage.level,
            "alpha": learner.stage.alpha,
            "seconds": now - self.started,
            "sec_per_kimg": spent / max(images, 1) * 1000,
            "memory_gib": peak_memory(learner.device),
            "waited": waited,
            "means": means,
            **monitored,
            **({} if ended else {"stopped": True}),
        }
        if launch.is_first():
            append_json(self.folder / "stats.jsonl", row)
            if ended or learner.images >= round(self.schedule.kimg * 1000):  # else the whole tick comes on a resume
                self.loggers.log({name: value for name, value in row.items() if name != "stopped"})

        # The status line. Maintenance is the time since the last one that was not spent training.
        times = TickTimes(
            training=spent,
            maintenance=self.maintenance,
            waiting=waited - self.waited,
            left=self._seconds_left(row),
        )
        self.log.say(status_line(learner, row, self._ticks(learner.images), times))

        # The next tick begins. Its maintenance includes the monitors' judgement of this one.
        self.maintenance = 0.0
        self.tick_started = now
        self.tick_images = learner.images
        self.waited = waited
        if self.monitors:
            self._as_maintenance(self._check_monitors)

    def _seconds_left(self, row: Mapping[str, Any]) -> float:
        """Estimate the seconds until the end, by this process's mean pace; by the last tick's where images grow."""
        images, total = self.learner.images, self.schedule.kimg * 1000
        pace = row["seconds"] / max(images - self.first_images, 1)  # seconds per image
        return max(total - images, 0.0) * (row["sec_per_kimg"] / 1000 if self.learner.grows else pace)

    def _monitored(self) -> dict[str, float | None]:
        """Numbers that the monitors add to the tick's row."""
        values: dict[str, float | None] = {}
        for monitor in self.monitors if launch.is_first() else []:
            values |= monitor.values(self.learner, self.dataset)
        return values

    def _check_monitors(self) -> None:
        """Log new alarms. Raises Diverged in all processes, once the state is written, where they end the training."""
        alarms = (
            [alarm for monitor in self.monitors for alarm in monitor.alarms(self.folder)] if launch.is_first() else []
        )
        for alarm in alarms:
            self.log.say(f"watchdog: {alarm.kind} since {alarm.since_kimg:.1f} kimg: {alarm.sentence} {alarm.advice}")
        reason = distributed.broadcast_text(
            f"{alarms[0].kind}: {alarms[0].sentence} {alarms[0].advice}" if alarms else None
        )
        if reason and self.policy == "stop":
            if self.snapshots.saved_at != self.learner.images:
                self.snapshots.write()
            raise Diverged(
                f"training was stopped at {self.learner.images / 1000:.1f} kimg by --watchdog stop: {reason} The state "
                f"is written: 'gz train --resume {quoted(self.folder)}' goes on."
            )
