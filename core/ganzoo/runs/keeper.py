"""What a run keeps: weights, state, sample grids, metrics and curves; and what it may forget."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import DataError, Diverged
from ganzoo.evaluation import evaluate
from ganzoo.evaluation.images import real_images
from ganzoo.gan.watchdog import SAMPLES, relative_diversity
from ganzoo.interfaces import Dataset, Learner, Stage
from ganzoo.io import hashes, launch
from ganzoo.io.images import TILE, grid, grid_shape, save
from ganzoo.io.log import Log, append_json, read_json_lines
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.runs import plot, state
from ganzoo.runs.folder import newest
from ganzoo.runs.loggers import Loggers
from ganzoo.version import __version__


class SnapshotWriter:
    """Writes a learner's snapshots into a run directory. Of several processes, the first one writes."""

    def __init__(
        self, learner: Learner, dataset: Dataset, folder: Path, head: Header, log: Log, loggers: Loggers
    ) -> None:
        self.learner, self.dataset, self.folder, self.head, self.log = learner, dataset, folder, head, log
        self.loggers = loggers
        self.some: torch.Tensor | None = None  # real images that diversity is compared with
        self.columns, rows = grid_shape(*learner.experiment.shape.size)
        self.count = self.columns * rows
        self.saved_at = -1  # images seen at the last snapshot

    def snapshot(self, *, look: bool = True) -> None:
        """Weights first, then the state, so that a state never lacks its weights; samples, metrics and curves.

        Args:
            look: make what is for looking at; without, only what training continues from is written
        """
        self.saved_at = self.learner.images
        self._require_finite()
        if launch.first():
            self._write()
            if look:
                self.samples(f"fakes{self._name()}.png")
        if look:
            self.measure(f"snapshot-{self._name()}.safetensors")
        if launch.first():
            if look:
                self.curves()
            self.forget()

    def _require_finite(self) -> None:
        """Raise Diverged where a weight is not finite; all processes have the same."""
        weights = (t for net in self.learner.weights().values() for t in net.state_dict().values())
        if not all(bool(torch.isfinite(t).all()) for t in weights if t.is_floating_point()):
            raise Diverged(
                f"training diverged at {self.learner.images / 1000:.1f} kimg: weights are not finite; the last "
                f"snapshot in {self.folder} is untouched."
            )

    def _write(self) -> None:
        learner, name = self.learner, self._name()
        weights = {
            k: v for prefix, net in learner.weights().items() for k, v in checkpoint.prefixed(prefix, net).items()
        }
        at = {**vars(self.head), "images": learner.images, "iteration": learner.iteration}
        checkpoint.write(self.folder / f"snapshot-{name}.safetensors", weights, Header(**at))
        kept = Header(**{**at, "kind": "state"})
        checkpoint.write(self.folder / f"state-{name}.safetensors", state.tensors(learner), kept)

    def _name(self) -> str:
        """kimg in six digits; with decimals where ticks are shorter than 1 kimg."""
        kimg = self.learner.images / 1000
        return f"{kimg:010.3f}" if self.learner.schedule.tick_kimg < 1 else f"{round(kimg):06d}"

    def reals(self) -> None:
        """reals.png: as many real images as a sample grid has."""
        count = min(self.count, len(self.dataset))
        images = next(iter(real_images(self.dataset, count, count)))
        save(grid(images.numpy(), self.columns, TILE), self.folder / "reals.png")

    def samples(self, name: str) -> None:
        """A grid of what the learner shows of itself."""
        learner = self.learner
        height = max(learner.experiment.shape.size[0], TILE)  # that of a generator which still grows, too
        about = {"recipe": hashes.recipe_hash(self.head.recipe), "kimg": learner.images / 1000}
        picture = grid(learner.samples(self.dataset, self.count).numpy(), self.columns, height)
        save(picture, self.folder / name, {**about, "ganzoo": __version__})
        self.loggers.picture("fakes", self.folder / name)

    def diversity(self) -> float | None:
        """Of fixed samples, as a share of that of as many real images; None where those are alike."""
        count = min(SAMPLES, len(self.dataset))
        if self.some is None:
            self.some = next(iter(real_images(self.dataset, count, count)))
        return relative_diversity(self.learner.samples(self.dataset, count), self.some)

    def measure(self, snapshot: str | None) -> None:
        """The recipe's metrics, into metric-<name>.jsonl and the log; `snapshot` is None before the first step.

        All processes measure together.
        """
        kimg = self.learner.images / 1000
        try:
            records = self._measured()
        except DataError as err:  # a collapsed generator may be beyond measure; that is no reason to end its training
            self.log.say(f"kimg {kimg:.1f}: not measured: {err}")
            return
        for record in records if launch.first() else []:
            row = {**record, "kimg": kimg, "snapshot": snapshot}
            append_json(self.folder / f"metric-{record['metric']}.jsonl", row)
            self.loggers.log({"kimg": kimg, "metric": record["results"]})
            values = ", ".join(f"{k} {v:.2f}" for k, v in record["results"].items())
            self.log.say(f"kimg {kimg:.1f}: {values} ({record['num_fake']} images)")

    def _measured(self) -> list[dict[str, Any]]:
        """A record a metric; none of a generator that still grows: it makes no images of the final size."""
        learner, experiment = self.learner, self.learner.experiment
        last, seed = len(experiment.shape.sizes) - 1, learner.schedule.seed
        if learner.generator is None or (learner.images and learner.stage.level < last):
            return []
        metrics = experiment.metrics(seed)
        if not metrics:
            return []
        stage = learner.stage if learner.images else Stage(last)
        return evaluate.measure_generator(
            learner.generator, stage, metrics, self.dataset, seed, learner.device, self._progress
        )

    def _progress(self, which: str, done: int, total: int) -> None:
        self.log.progress(self.learner.images, f"measuring: {which} {done}/{total}")

    def curves(self) -> None:
        """progress.png. A plot that fails is a line in the log."""
        try:
            plot.draw(self.folder)
        except Exception as err:
            self.log.say(f"progress.png was not drawn: {type(err).__name__}: {err}")

    def forget(self) -> None:
        """Keep the newest snapshots, the best ones by the first metric, and the two newest states."""
        options = self.learner.schedule
        snapshots, states = newest(self.folder, "snapshot"), newest(self.folder, "state")
        keep = {p.name for p in snapshots[: options.keep_last]} | self._best(options.keep_best, snapshots)
        for old in [*states[2:], *(p for p in snapshots if p.name not in keep)]:
            old.unlink(missing_ok=True)

    def _best(self, count: int, snapshots: Iterable[Path]) -> set[str]:
        """Names of the best snapshots that exist; all measured ones where no metric ranks them any more."""
        metric, there = self.learner.experiment.ranking, {p.name for p in snapshots}
        if metric is None:
            files = self.folder.glob("metric-*.jsonl")
            return {row["snapshot"] for file in files for row in read_json_lines(file)} & there
        rows = {row["snapshot"]: row for row in read_json_lines(self.folder / f"metric-{metric.name}.jsonl")}
        ranked = [row for name, row in rows.items() if name in there]
        ranked.sort(key=lambda row: row["results"][row["primary"]], reverse=not metric.lower_is_better)
        return {row["snapshot"] for row in ranked[:count]}
