"""Snapshots of a run: weights, state, sample grids, metrics and curves; and which of them are kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import DataError, Diverged
from ganzoo.evaluation import evaluate
from ganzoo.interfaces import Dataset, Learner, Stage
from ganzoo.io import hashes, launch
from ganzoo.io.images import TILE, grid, grid_shape, save
from ganzoo.io.log import Log, append_json, read_json_lines
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.runs import plot, state
from ganzoo.runs.folder import newest
from ganzoo.runs.loggers import Loggers
from ganzoo.training.loader import images_at, shuffled
from ganzoo.version import __version__

STATES = 2  # newest states that are kept


class SnapshotWriter:
    """Writes a learner's snapshots into a run directory. Of several processes, the first one writes.

    Args:
        learner: the training
        dataset: its images
        folder: the run's directory
        header: of snapshots and states, but for kind and counters
        log: takes lines about measurements
        loggers: take their numbers, and sample grids
    """

    def __init__(
        self, learner: Learner, dataset: Dataset, folder: Path, header: Header, log: Log, loggers: Loggers
    ) -> None:
        self.learner = learner
        self.dataset = dataset
        self.folder = folder
        self.header = header
        self.log = log
        self.loggers = loggers
        self.columns, self.rows = grid_shape(*learner.experiment.shape.size)  # images of a sample grid
        self.saved_at = -1  # images seen at the last snapshot

    def write(self, *, full: bool = True, measured: bool = True) -> None:
        """Write weights first, then the state, so that a state never lacks its weights; then samples, metrics, curves.

        Args:
            full: without, only what training continues from is written
            measured: without, no metrics, which may take minutes

        Raises Diverged where a weight is not finite.
        """
        self.saved_at = self.learner.images
        self._require_finite()
        statistics = state.logged_by_all(self.learner)
        if launch.is_first():
            self._write_checkpoints(statistics)
            if full:
                self.save_samples(f"fakes{self._kimg()}.png")
        if full and measured:
            self.measure_present()
        if launch.is_first():
            if full:
                self.draw_curves()
            self.prune()

    def _require_finite(self) -> None:
        """Raise Diverged where a weight is not finite; all processes have the same weights."""
        weights = (t for net in self.learner.weights().values() for t in net.state_dict().values())
        if not all(bool(torch.isfinite(t).all()) for t in weights if t.is_floating_point()):
            raise Diverged(
                f"training diverged at {self.learner.images / 1000:.1f} kimg: weights are not finite; the last "
                f"snapshot in {self.folder} is untouched."
            )

    def _write_checkpoints(self, statistics: checkpoint.Tensors) -> None:
        learner, kimg = self.learner, self._kimg()
        prefixed = [checkpoint.prefixed(prefix, net) for prefix, net in learner.weights().items()]
        weights = {name: tensor for tensors in prefixed for name, tensor in tensors.items()}
        fields = {**vars(self.header), "images": learner.images, "iteration": learner.iteration}
        checkpoint.write(self.folder / f"snapshot-{kimg}.safetensors", weights, Header(**fields))
        state_header = Header(**{**fields, "kind": "state"})
        checkpoint.write(self.folder / f"state-{kimg}.safetensors", state.tensors(learner, statistics), state_header)

    def _kimg(self) -> str:
        """kimg in six digits, as in names of files; with decimals where ticks are shorter than 1 kimg."""
        kimg = self.learner.images / 1000
        return f"{kimg:010.3f}" if self.learner.schedule.tick_kimg < 1 else f"{round(kimg):06d}"

    # --- pictures -----------------------------------------------------------------------------------------------------

    def save_reals(self) -> None:
        """Write reals.png: as many real images as a sample grid has."""
        count = min(self.columns * self.rows, len(self.dataset))
        images = images_at(self.dataset, shuffled(self.dataset)[:count])
        save(grid(images.numpy(), self.columns, TILE), self.folder / "reals.png")

    def save_samples(self, name: str) -> None:
        """Write a grid of the learner's samples."""
        learner = self.learner
        height = max(learner.experiment.shape.size[0], TILE)  # in pixels; the same while a generator still grows
        metadata = {"recipe": hashes.recipe_hash(self.header.recipe), "kimg": learner.images / 1000}
        samples = learner.samples(self.dataset, self.columns * self.rows)
        picture = grid(samples.numpy(), self.columns, height)
        save(picture, self.folder / name, {**metadata, "ganzoo": __version__})
        self.loggers.picture("fakes", self.folder / name)

    def draw_curves(self) -> None:
        """Write progress.png. An error in drawing is logged and ends nothing."""
        try:
            plot.draw(self.folder, self.header.recipe)
        except Exception as err:
            self.log.say(f"progress.png was not drawn: {type(err).__name__}: {err}")

    # --- metrics ------------------------------------------------------------------------------------------------------

    def is_unmeasured(self) -> bool:
        """Whether the present snapshot has no measurement by any of the metrics that have measured earlier ones."""
        kimg = self.learner.images / 1000
        histories = [read_json_lines(file) for file in self.folder.glob("metric-*.jsonl")]
        exists = (self.folder / f"snapshot-{self._kimg()}.safetensors").is_file()
        return exists and bool(histories) and all(rows and rows[-1]["kimg"] < kimg for rows in histories)

    def measure_present(self) -> None:
        """Measure the snapshot of the present weights."""
        self.measure(f"snapshot-{self._kimg()}.safetensors")

    def measure(self, snapshot: str | None) -> None:
        """Write the recipe's metrics to metric-<name>.jsonl and the log. All processes measure together.

        Args:
            snapshot: name of the snapshot that is measured; None before the first step
        """
        kimg = self.learner.images / 1000
        try:
            records = self._records()
        except DataError as err:  # a collapsed generator may be beyond measure; that is no reason to end its training
            self.log.say(f"kimg {kimg:.1f}: not measured: {err}")
            return
        for record in records if launch.is_first() else []:
            row = {**record, "kimg": kimg, "snapshot": snapshot}
            append_json(self.folder / f"metric-{record['metric']}.jsonl", row)
            self.loggers.log({"kimg": kimg, "metric": record["results"]})
            values = ", ".join(f"{name} {value:.2f}" for name, value in record["results"].items())
            self.log.say(f"kimg {kimg:.1f}: {values} ({record['num_fake']} images)")

    def _records(self) -> list[dict[str, Any]]:
        """Measure. A generator that still grows has no records, as it makes no images of the final size."""
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

    def _progress(self, images: str, done: int, total: int) -> None:
        self.log.progress(self.learner.images, f"measuring: {images} {done}/{total}")

    # --- what is kept -------------------------------------------------------------------------------------------------

    def prune(self) -> None:
        """Keep the newest snapshots, the best ones by the ranking metric, and the newest states; delete the others."""
        schedule = self.learner.schedule
        snapshots, states = newest(self.folder, "snapshot"), newest(self.folder, "state")
        kept = {path.name for path in snapshots[: schedule.keep_last]} | self._best(schedule.keep_best, snapshots)
        for path in [*states[STATES:], *(path for path in snapshots if path.name not in kept)]:
            path.unlink(missing_ok=True)

    def _best(self, count: int, snapshots: Iterable[Path]) -> set[str]:
        """Names of the best snapshots that exist; all measured ones where no metric ranks them any more."""
        metric, existing = self.learner.experiment.ranking, {path.name for path in snapshots}
        if metric is None:
            files = self.folder.glob("metric-*.jsonl")
            return {row["snapshot"] for file in files for row in read_json_lines(file)} & existing
        rows = {row["snapshot"]: row for row in read_json_lines(self.folder / f"metric-{metric.name}.jsonl")}
        ranked = [row for name, row in rows.items() if name in existing]
        ranked.sort(key=lambda row: row["results"][row["primary"]], reverse=not metric.lower_is_better)
        return {row["snapshot"] for row in ranked[:count]}
