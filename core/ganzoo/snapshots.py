"""What a run keeps: weights, state, sample grids, metrics and curves; and what it may forget."""

from collections.abc import Iterable
from pathlib import Path

import torch

import ganzoo
from ganzoo import checkpoint, evaluate, plot, state
from ganzoo.checkpoint import Header
from ganzoo.data import to_uint8
from ganzoo.errors import DataError, Diverged
from ganzoo.images import TILE, grid, grid_shape, save
from ganzoo.interfaces import Dataset, Stage
from ganzoo.log import Log, append_json, read_json_lines
from ganzoo.model import latents
from ganzoo.rundir import newest
from ganzoo.trainer import Trainer


class Keeper:
    """Writes a trainer's snapshots into a run directory."""

    def __init__(self, trainer: Trainer, dataset: Dataset, folder: Path, head: Header, log: Log) -> None:
        self.trainer, self.dataset, self.folder, self.head, self.log = trainer, dataset, folder, head, log
        self.columns, rows = grid_shape(*trainer.experiment.shape.size)
        self.seeds = range(self.columns * rows)
        self.saved_at = -1  # images seen at the last snapshot

    def snapshot(self, *, look: bool = True) -> None:
        """Weights first, then the state, so that a state never lacks its weights; samples, metrics and curves.

        Args:
            look: make what is for looking at; without, only what training continues from is written
        """
        trainer, name = self.trainer, self._name()
        if not all(bool(torch.isfinite(p).all()) for p in trainer.G_ema.parameters()):
            raise Diverged(f"training diverged at {trainer.images / 1000:.1f} kimg: weights are not finite; "
                           f"the last snapshot in {self.folder} is untouched.")  # fmt: skip
        at = {**vars(self.head), "images": trainer.images, "iteration": trainer.iteration}
        nets = {"G": trainer.G, "D": trainer.D, "G_ema": trainer.G_ema}
        weights = {k: v for prefix, net in nets.items() for k, v in checkpoint.prefixed(prefix, net).items()}
        checkpoint.write(self.folder / f"snapshot-{name}.safetensors", weights, Header(**at))
        kept = Header(**{**at, "kind": "state"})
        checkpoint.write(self.folder / f"state-{name}.safetensors", state.tensors(trainer), kept)
        self.saved_at = trainer.images
        if look:
            self.samples(f"fakes{name}.png")
            self.measure(f"snapshot-{name}.safetensors")
            self.curves()
        self.forget()

    def _name(self) -> str:
        """kimg in six digits; with decimals where ticks are shorter than 1 kimg."""
        kimg = self.trainer.images / 1000
        return f"{kimg:010.3f}" if self.trainer.options.tick_kimg < 1 else f"{round(kimg):06d}"

    def reals(self) -> None:
        """reals.png: as many real images as a sample grid has."""
        count = min(len(self.seeds), len(self.dataset))
        images = next(iter(evaluate.real_images(self.dataset, count, count)))
        save(grid(images.numpy(), self.columns, TILE), self.folder / "reals.png")

    @torch.inference_mode()
    def samples(self, name: str) -> None:
        """A grid from fixed latents, at the present stage of growth."""
        G, stage, device = self.trainer.G_ema, self.trainer.stage, self.trainer.device
        z = latents(self.seeds, G.z_dim).to(device)
        labels = evaluate.drawn_labels(self.dataset, len(z), 0).to(device) if G.labels else None
        with G.noise("const"):
            parts = [
                to_uint8(G(z[i : i + 32], None if labels is None else labels[i : i + 32], stage)[-1].cpu())
                for i in range(0, len(z), 32)
            ]
        height = max(self.trainer.experiment.shape.size[0], TILE)  # that of a generator which still grows, too
        about = {"recipe": checkpoint.recipe_hash(self.head.recipe), "kimg": self.trainer.images / 1000}
        picture = grid(torch.cat(parts).numpy(), self.columns, height)
        save(picture, self.folder / name, {**about, "ganzoo": ganzoo.__version__})

    def measure(self, snapshot: str | None) -> None:
        """The recipe's metrics, into metric-<name>.jsonl and the log; `snapshot` is None before the first step."""
        trainer, last = self.trainer, len(self.trainer.experiment.shape.sizes) - 1
        metrics = trainer.experiment.metrics(trainer.options.seed)
        if not metrics or (snapshot and trainer.stage.level < last):
            return  # a generator that still grows makes no images of the final size
        stage, kimg = trainer.stage if snapshot else Stage(last), trainer.images / 1000
        try:
            records = evaluate.generator(
                trainer.G_ema, stage, metrics, self.dataset, trainer.options.seed, trainer.device, self._progress
            )
        except DataError as err:  # a collapsed generator may be beyond measure; that is no reason to end its training
            self.log.say(f"kimg {kimg:.1f}: not measured: {err}")
            return
        for record in records:
            row = {**record, "kimg": kimg, "snapshot": snapshot}
            append_json(self.folder / f"metric-{record['metric']}.jsonl", row)
            values = ", ".join(f"{k} {v:.2f}" for k, v in record["results"].items())
            self.log.say(f"kimg {kimg:.1f}: {values} ({record['num_fake']} images)")

    def _progress(self, which: str, done: int, total: int) -> None:
        self.log.progress(self.trainer.images, f"measuring: {which} {done}/{total}")

    def curves(self) -> None:
        """progress.png. A plot that fails is a line in the log."""
        try:
            plot.draw(self.folder)
        except Exception as err:
            self.log.say(f"progress.png was not drawn: {type(err).__name__}: {err}")

    def forget(self) -> None:
        """Keep the newest snapshots, the best ones by the first metric, and the two newest states."""
        options = self.trainer.options
        snapshots, states = newest(self.folder, "snapshot"), newest(self.folder, "state")
        keep = {p.name for p in snapshots[: options.keep_last]} | self._best(options.keep_best, snapshots)
        for old in [*states[2:], *(p for p in snapshots if p.name not in keep)]:
            old.unlink(missing_ok=True)

    def _best(self, count: int, snapshots: Iterable[Path]) -> set[str]:
        """Names of the best snapshots that exist; all measured ones where no metric ranks them any more."""
        metric, there = self.trainer.experiment.ranking, {p.name for p in snapshots}
        if metric is None:
            files = self.folder.glob("metric-*.jsonl")
            return {row["snapshot"] for file in files for row in read_json_lines(file)} & there
        rows = {row["snapshot"]: row for row in read_json_lines(self.folder / f"metric-{metric.name}.jsonl")}
        ranked = [row for name, row in rows.items() if name in there]
        ranked.sort(key=lambda row: row["results"][row["primary"]], reverse=not metric.lower_is_better)
        return {row["snapshot"] for row in ranked[:count]}
