"""A training run: its directory, and the loop that fills it."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import ganzoo
from ganzoo import checkpoint, evaluate, plot, state
from ganzoo.build import Experiment
from ganzoo.checkpoint import Header
from ganzoo.data import Loader, class_labels, to_uint8
from ganzoo.device import choose, dtype, keep_memory, peak_memory
from ganzoo.errors import DataError, Interrupted, UsageError
from ganzoo.images import TILE, grid, grid_shape, save
from ganzoo.interfaces import Dataset, Metric
from ganzoo.log import Log, append_json, duration, read_json_lines
from ganzoo.model import experiment as build
from ganzoo.model import fakes, latents
from ganzoo.recipe import Node
from ganzoo.registry import registry
from ganzoo.rundir import Options, environment, new_folder, newest, require_same_recipe, resume_from
from ganzoo.source import to_yaml
from ganzoo.trainer import Trainer, seed_of


def train(node: Node, options: Options) -> Path:
    """Train what a checked recipe describes, and return the run directory.

    Raises DataError, CheckpointError, UsageError, Diverged, and Interrupted after a signal.
    """
    torch.manual_seed(node.value("training").seed)  # initial weights; every step is seeded anew
    experiment = build(node)
    dataset = open_data(experiment)
    device = choose(options.device)
    if device.type == "cpu":
        keep_memory()
    trainer = Trainer(experiment, device)
    recipe = node.dump()
    start = resume_from(options, recipe, dataset)
    folder = start.parent if start else new_folder(options, dataset)
    head = Header(
        "snapshot",
        recipe,
        0,
        data={"title": dataset.title, "images": len(dataset), "fingerprint": dataset.fingerprint()},
        versions=versions(node),
    )
    if start:
        before = checkpoint.header(start)
        require_same_recipe(before, recipe, start)
        state.restore(trainer, start)
    with Log(folder / "log.txt", round(experiment.training.kimg * 1000), trainer.images) as log:
        run = Run(trainer, dataset, folder, head, log)
        if start:
            log.say(f"Continuing {folder} from {trainer.images / 1000:.1f} kimg.")
            if before.data.get("fingerprint") != head.data["fingerprint"]:
                log.say(
                    f"The images are not those of {start.name}: training goes on, but not as it would have gone on."
                )
        else:
            run.begin(options)
        run.loop(options.workers)
    return folder


def open_data(experiment: Experiment) -> Dataset:
    """The training images, checked file by file. Raises DataError that names what cannot be used."""
    dataset = experiment.dataset()
    if dataset is None:
        raise UsageError(
            "the recipe names no images: add --data PATH (a folder, a .zip, or 'shapes'), or a 'dataset:' section."
        )
    fatal = [f for f in dataset.check() if f.fatal]
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


def drawn_labels(dataset: Dataset, count: int, *seed: int) -> torch.Tensor:
    """Labels [N, K] of images drawn from the set, the same for the same seed."""
    return class_labels(dataset, count, torch.Generator().manual_seed(seed_of(*seed)))


class Run:
    """The loop, and what it writes at each tick and snapshot."""

    def __init__(self, trainer: Trainer, dataset: Dataset, folder: Path, head: Header, log: Log) -> None:
        self.trainer, self.dataset, self.folder, self.head, self.log = trainer, dataset, folder, head, log
        self.options = trainer.options
        self.columns, rows = grid_shape(*trainer.experiment.shape.size)
        self.grid_seeds = range(self.columns * rows)
        self.started = self.tick_started = time.monotonic()
        self.tick_images, self.maintenance = trainer.images, 0.0

    def loop(self, workers: int) -> None:
        """Train until kimg is reached or a signal comes."""
        trainer, total = self.trainer, round(self.options.kimg * 1000)
        loader = Loader(self.dataset, seed=self.options.seed, mirror=self.options.mirror, workers=workers)
        try:
            with _signals() as stop:
                while trainer.images < total and not stop:
                    before, count = trainer.images, trainer.batch()
                    real, label = loader.batch(before, count)
                    trainer.step(real, label, drawn_labels(self.dataset, count, self.options.seed, before))
                    self.log.progress(trainer.images, f"{trainer.images / 1000:.1f} kimg")
                    done = trainer.images >= total or bool(stop)
                    if self._tick_of(trainer.images) > self._tick_of(before) or done:
                        self.tick(self._tick_of(trainer.images), loader, done)
                if stop:
                    raise Interrupted(
                        f"stopped by {signal.Signals(stop[0]).name} at {trainer.images / 1000:.1f} kimg; "
                        "the state is written: "
                        f"continue with --resume {self.folder}."
                    )
        finally:
            loader.close()

    def _tick_of(self, images: int) -> int:
        return int(images / 1000 / self.options.tick_kimg)

    def begin(self, options: Options) -> None:
        """Write what is known before the first step: recipe, environment, reals, first samples, first metrics."""
        (self.folder / "recipe.yaml").write_text(options.text or to_yaml(self.head.recipe), encoding="utf-8")
        (self.folder / "recipe.resolved.yaml").write_text(to_yaml(self.head.recipe), encoding="utf-8")
        (self.folder / "environment.json").write_text(
            json.dumps(environment(self.trainer.device, options.command), indent=1), encoding="utf-8"
        )
        indices = range(min(len(self.grid_seeds), len(self.dataset)))
        reals = next(evaluate.real_images(self.dataset, len(indices), len(indices)))
        save(grid(reals.numpy(), self.columns, TILE), self.folder / "reals.png")
        self.samples("init")
        G, D = (sum(p.numel() for p in net.parameters()) for net in (self.trainer.G, self.trainer.D))
        precision = str(dtype(self.options.precision, self.trainer.device)).removeprefix("torch.")
        self.log.say(
            f"{self.folder}: {len(self.dataset)} images of {self.dataset.title}, generator {G:,} and "
            f"discriminator {D:,} parameters, "
            f"{self.trainer.device} {precision}."
        )
        self.measure()
        self.maintenance += time.monotonic() - self.tick_started

    def tick(self, number: int, loader: Loader, done: bool) -> None:
        """The status line, and a snapshot where one is due."""
        now, trainer = time.monotonic(), self.trainer
        means = trainer.report()
        spent, images = now - self.tick_started - self.maintenance, trainer.images - self.tick_images
        record = {
            "kimg": trainer.images / 1000,
            "iteration": trainer.iteration,
            "level": trainer.stage.level,
            "alpha": trainer.stage.alpha,
            "seconds": now - self.started,
            "sec_per_kimg": spent / max(images, 1) * 1000,
            "memory_gib": peak_memory(trainer.device),
            "waited": loader.waited,
            "means": means,
        }
        append_json(self.folder / "stats.jsonl", record)
        self.log.say(
            f"tick {number:<5d} kimg {record['kimg']:<8.1f} time {duration(now - self.started):<12s} "
            f"sec/tick {spent:<7.1f} "
            f"sec/kimg {record['sec_per_kimg']:<7.2f} maintenance {self.maintenance:<6.1f} mem "
            f"{record['memory_gib']:<5.2f} "
            f"{self._growth()}loss G {means.get('loss/g', 0):.3f} D {means.get('loss/d', 0):.3f}"
        )
        due = self.options.snapshot_ticks and (number % self.options.snapshot_ticks == 0 or number == 1)
        if due or done:
            self.snapshot(final=done)
        self.maintenance, self.tick_started, self.tick_images = time.monotonic() - now, now, trainer.images

    def _growth(self) -> str:
        if not self.trainer.experiment.growth:
            return ""
        height, width = self.trainer.experiment.shape.sizes[self.trainer.stage.level]
        return f"size {height}x{width} alpha {self.trainer.stage.alpha:.2f} "

    def snapshot(self, final: bool) -> None:
        """State first, then weights, samples, metrics and curves; then forget what need not be kept."""
        trainer, name = self.trainer, f"{round(self.trainer.images / 1000):06d}"
        at = {**vars(self.head), "images": trainer.images, "iteration": trainer.iteration}
        checkpoint.write(
            self.folder / f"state-{name}.safetensors", state.tensors(trainer), Header(**{**at, "kind": "state"})
        )
        weights = {
            k: v
            for prefix, net in (("G", trainer.G), ("D", trainer.D), ("G_ema", trainer.G_ema))
            for k, v in checkpoint.prefixed(prefix, net).items()
        }
        checkpoint.write(self.folder / f"snapshot-{name}.safetensors", weights, Header(**at))
        self.samples(name)
        self.measure(name)
        plot.draw(self.folder)
        self.forget()

    @torch.inference_mode()
    def samples(self, name: str) -> None:
        """A grid from fixed latents, at the present stage of growth."""
        G, stage, device = self.trainer.G_ema, self.trainer.stage, self.trainer.device
        z = latents(list(self.grid_seeds), G.z_dim).to(device)
        labels = drawn_labels(self.dataset, len(z), 0).to(device) if G.labels else None
        with G.noise("const"):
            parts = [
                to_uint8(G(z[i : i + 32], None if labels is None else labels[i : i + 32], stage)[-1].cpu())
                for i in range(0, len(z), 32)
            ]
        height = max(self.trainer.experiment.shape.size[0], TILE)  # that of a generator which still grows, too
        about = {
            "recipe": checkpoint.recipe_hash(self.head.recipe),
            "kimg": self.trainer.images / 1000,
            "ganzoo": ganzoo.__version__,
        }
        save(
            grid(torch.cat(parts).numpy(), self.columns, height),
            self.folder / f"fakes{'_' if name == 'init' else ''}{name}.png",
            about,
        )

    def measure(self, name: str = "") -> None:
        """The recipe's metrics, into metric-<name>.jsonl and the log."""
        experiment, began = self.trainer.experiment, time.monotonic()
        metrics = experiment.metrics(self.options.seed)
        if not metrics or (self.trainer.stage.level < len(experiment.shape.sizes) - 1 and name):
            return  # a generator that still grows makes no images of the final size
        try:
            self._measure(metrics, name, began)
        except DataError as err:  # a collapsed generator may be beyond measure; that is no reason to end its training
            self.log.say(f"kimg {self.trainer.images / 1000:.1f}: not measured: {err}")

    def _measure(self, metrics: list[Metric], name: str, began: float) -> None:
        experiment, kimg = self.trainer.experiment, self.trainer.images / 1000
        evaluate.limit(metrics, len(self.dataset))
        num = max(m.num for m in metrics)
        labels = drawn_labels(self.dataset, num, 1).numpy() if experiment.labels else None
        made = fakes(self.trainer.G_ema, num, 32, self.options.seed, self.trainer.device, labels)
        values = evaluate.measure(
            metrics,
            made,
            evaluate.real_images(self.dataset, num, 64, self.options.seed),
            lambda which, i, n: self.log.progress(self.trainer.images, f"measuring: {which} {i}/{n}"),
        )
        for metric in metrics:
            about = {
                "kimg": kimg,
                "snapshot": f"snapshot-{name}.safetensors" if name else None,
                "seed": self.options.seed,
                "data": self.head.data,
                "ema": True,
                "psi": 1.0,
                "noise": "random",
                "seconds": time.monotonic() - began,
            }
            append_json(
                self.folder / f"metric-{metric.name}.jsonl", evaluate.provenance(metric, values[metric.name], **about)
            )
            self.log.say(
                f"kimg {kimg:.1f}: "
                + ", ".join(f"{k} {v:.2f}" for k, v in values[metric.name].items())
                + f" ({metric.num} images)"
            )

    def forget(self) -> None:
        """Keep the newest and the best snapshots, and the two newest states."""
        keep = {p.name for p in newest(self.folder, "snapshot")[: self.options.keep_last]}
        rank = sorted(self.folder.glob("metric-*.jsonl"))
        first = next((m for m in self.trainer.experiment.metrics(0)), None)
        if first and self.options.keep_best and rank:
            rows = [r for r in read_json_lines(self.folder / f"metric-{first.name}.jsonl") if r["snapshot"]]
            rows.sort(key=lambda r: r["results"][first.primary], reverse=not first.lower_is_better)
            keep |= {r["snapshot"] for r in rows[: self.options.keep_best]}
        for old in [
            *newest(self.folder, "state")[2:],
            *(p for p in newest(self.folder, "snapshot") if p.name not in keep),
        ]:
            old.unlink()


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
