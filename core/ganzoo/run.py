"""A training run: the loop, its ticks, and the signals it minds."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import ganzoo
from ganzoo import checkpoint, state
from ganzoo.build import Experiment
from ganzoo.checkpoint import Header
from ganzoo.data import Loader
from ganzoo.device import choose, dtype, keep_memory, peak_memory
from ganzoo.errors import DataError, Interrupted, UsageError, ZooError
from ganzoo.evaluate import drawn_labels
from ganzoo.interfaces import Dataset
from ganzoo.log import Log, append_json, duration
from ganzoo.model import experiment as build
from ganzoo.recipe import Node
from ganzoo.registry import registry
from ganzoo.rundir import Options, environment, new_folder, require_same_recipe, resume_from, set_back, writable
from ganzoo.snapshots import Keeper
from ganzoo.source import to_yaml
from ganzoo.trainer import Trainer


def train(node: Node, options: Options) -> Path:
    """Train what a checked recipe describes, and return the run directory.

    Raises DataError, CheckpointError, UsageError, Diverged, and Interrupted after a signal.
    """
    device = choose(options.device)
    writable(options.outdir)
    if device.type == "cpu":
        keep_memory()
    torch.manual_seed(node.value("training").seed)  # initial weights; every step is seeded anew
    experiment = build(node)
    dataset = open_data(experiment)
    trainer = Trainer(experiment, device)
    data = {"title": dataset.title, "images": len(dataset), "fingerprint": dataset.fingerprint()}
    head = Header("snapshot", node.dump(), 0, data=data, versions=versions(node))
    start = resume_from(options, head)
    if start:
        before = checkpoint.header(start)
        require_same_recipe(before, head.recipe, start)
        state.restore(trainer, start)
        set_back(start.parent, trainer.images)
    folder = start.parent if start else new_folder(options, dataset)
    with Log(folder / "log.txt", round(experiment.training.kimg * 1000), trainer.images) as log:
        run = Run(trainer, dataset, folder, head, log)
        if start:
            log.say(f"Continuing {folder} from {trainer.images / 1000:.1f} kimg.")
            if before.data.get("fingerprint") != data["fingerprint"]:
                log.say(f"The images are not those of {start.name}: training goes on, but not as it would have.")
        try:
            with _signals() as stop:
                run.describe(options)
                if not start:
                    run.begin()
                run.loop(options.workers, stop)
        except OSError as err:
            raise ZooError(
                f"{err.filename or folder} cannot be written: {err.strerror or err}. Free some space or choose another "
                "--outdir; what was written before is whole."
            ) from None
    return folder


def open_data(experiment: Experiment) -> Dataset:
    """The training images, checked file by file. Raises DataError that names what cannot be used."""
    dataset = experiment.dataset()
    if dataset is None:
        raise UsageError(
            "the recipe names no images: add --data PATH (a folder, a .zip, or 'shapes'), or a 'dataset:' section."
        )
    with Log(None, len(dataset)) as log:
        findings = dataset.check(lambda done, total: log.progress(done, f"checking {total} images"))
        fatal = [f for f in findings if f.fatal]
        odd = [f for f in findings if not f.fatal]
        if odd and not fatal:
            log.say(f"{len(odd)} of {len(dataset)} images are odd, such as {odd[0].file}: {odd[0].problem}")
    if fatal:
        some = "; ".join(f"{f.file}: {f.problem}" for f in fatal[:5])
        more = f"; and {len(fatal) - 5} more" if len(fatal) > 5 else ""
        raise DataError(
            f"{len(fatal)} of {len(dataset)} images cannot be used: {some}{more}. Remove or repair them "
            "('gz data doctor' lists all)."
        )
    return dataset


def versions(node: Node) -> dict[str, str]:
    """{'ganzoo': version, plugin: 'distribution version'} of everything a recipe uses."""
    known = registry()
    owners = {known.owner(n.cls) for n in node.walk()} - {"core"}
    return {"ganzoo": ganzoo.__version__} | {o: " ".join(known.versions[o]) for o in sorted(owners)}


class Run:
    """The loop over iterations, and what it says at each tick."""

    def __init__(self, trainer: Trainer, dataset: Dataset, folder: Path, head: Header, log: Log) -> None:
        self.trainer, self.dataset, self.folder, self.head, self.log = trainer, dataset, folder, head, log
        self.options, self.keeper = trainer.options, Keeper(trainer, dataset, folder, head, log)
        self.started = self.tick_started = time.monotonic()
        self.tick_images, self.maintenance = trainer.images, 0.0

    def loop(self, workers: int, stop: list[int]) -> None:
        """Train until kimg is reached, or until `stop` holds a signal."""
        trainer, total, options = self.trainer, round(self.options.kimg * 1000), self.options
        if trainer.images >= total:
            self.log.say(f"{self.folder} already has {trainer.images / 1000:.1f} kimg: raise --kimg to go on.")
            return
        loader = Loader(self.dataset, seed=options.seed, mirror=options.mirror, workers=workers)
        try:
            while trainer.images < total and not stop:
                before, count = trainer.images, trainer.batch()
                real, label = loader.batch(before, count)
                trainer.step(real, label, drawn_labels(self.dataset, count, options.seed, before))
                self.log.progress(trainer.images, f"{trainer.images / 1000:.1f} kimg")
                if self._ticks(trainer.images) > self._ticks(before):
                    self.tick(loader.waited)
                    if self._due(before):
                        self._aside(self.keeper.snapshot)
            if self.tick_images != trainer.images:
                self.tick(loader.waited)
            if self.keeper.saved_at != trainer.images:
                self.keeper.snapshot(look=not stop)
        finally:
            loader.close()
        if stop:
            raise Interrupted(
                f"stopped by {signal.Signals(stop[0]).name} at {trainer.images / 1000:.1f} kimg; the state is written: "
                f"continue with 'gz train --resume {self.folder}'."
            )

    def _ticks(self, images: int) -> int:
        return int(images / 1000 / self.options.tick_kimg)

    def _due(self, before: int) -> bool:
        """Whether a snapshot belongs to the tick that just ended: the first one, and each so many."""
        each, ticks = self.options.snapshot_ticks, (self._ticks(before), self._ticks(self.trainer.images))
        return each > 0 and (ticks[0] == 0 or ticks[0] // each < ticks[1] // each)

    def describe(self, options: Options) -> None:
        """Write down the recipe and what the run runs on; say so."""
        given = self.folder / "recipe.yaml"
        if not given.exists():
            given.write_text(options.text or to_yaml(self.head.recipe), encoding="utf-8")
        (self.folder / "recipe.resolved.yaml").write_text(to_yaml(self.head.recipe), encoding="utf-8")
        about = json.dumps(environment(self.trainer.device, options.command), indent=1)
        (self.folder / "environment.json").write_text(about, encoding="utf-8")
        G, D = (sum(p.numel() for p in net.parameters()) for net in (self.trainer.G, self.trainer.D))
        precision = str(dtype(self.options.precision, self.trainer.device)).removeprefix("torch.")
        self.log.say(
            f"{self.folder}: {len(self.dataset)} images of {self.dataset.title}, generator {G:,} and discriminator "
            f"{D:,} parameters, {self.trainer.device} {precision}."
        )

    def begin(self) -> None:
        """What there is to see before the first step."""
        self._aside(self.keeper.reals)
        self._aside(lambda: self.keeper.samples("fakes_init.png"))
        self._aside(lambda: self.keeper.measure(None))

    def _aside(self, work: Callable[[], None]) -> None:
        """Do work that is not training, and count its time apart."""
        began = time.monotonic()
        work()
        self.maintenance += time.monotonic() - began

    def tick(self, waited: float) -> None:
        """The status line. Its maintenance is the time since the last one that was not spent training."""
        trainer = self.trainer
        means, images = trainer.report(), trainer.images - self.tick_images  # waits for the device
        now = time.monotonic()
        spent = now - self.tick_started - self.maintenance
        record = {
            "kimg": trainer.images / 1000,
            "iteration": trainer.iteration,
            "level": trainer.stage.level,
            "alpha": trainer.stage.alpha,
            "seconds": now - self.started,
            "sec_per_kimg": spent / max(images, 1) * 1000,
            "memory_gib": peak_memory(trainer.device),
            "waited": waited,
            "means": means,
        }
        append_json(self.folder / "stats.jsonl", record)
        self.log.say(
            f"tick {self._ticks(trainer.images):<5d} kimg {record['kimg']:<8.1f} "
            f"time {duration(now - self.started):<12s} "
            f"sec/tick {spent:<7.1f} sec/kimg {record['sec_per_kimg']:<7.2f} maintenance {self.maintenance:<6.1f} "
            f"mem {record['memory_gib']:<5.2f} {self._growth()}"
            f"loss G {means.get('loss/g', 0):.3f} D {means.get('loss/d', 0):.3f}"
        )
        self.maintenance, self.tick_started, self.tick_images = 0.0, now, trainer.images

    def _growth(self) -> str:
        if not self.trainer.experiment.growth:
            return ""
        height, width = self.trainer.experiment.shape.sizes[self.trainer.stage.level]
        return f"size {height}x{width} alpha {self.trainer.stage.alpha:.2f} "


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM within the block; a second one acts at once."""
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
