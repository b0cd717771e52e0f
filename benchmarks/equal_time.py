"""Recipes at equal processor minutes: SWD over minutes and over kimg, with several seeds each.

    python benchmarks/equal_time.py RECIPE [RECIPE ...] --data PHOTOS.zip|shapes --outdir DIR [--minutes 3] [--seeds 3]
                                    [--jobs 2] [--set KEY=VALUE] [--picture FILE.png] [--grid FILE.png] [--save NAME]

Each run is a process of one thread. Its clock counts processor seconds of training alone: neither measurements nor
start-up, and other load on the machine stops it. SWD is measured twice, evenly over the minutes, on 2,048 images
of the moving average. Runs that exist in DIR are not repeated; their order is shuffled, so that the state of the
machine falls on all recipes alike. At equal kimg, each recipe is read off at the kimg of the slowest.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import ready, save

from ganzoo.io import images

Point = dict[str, float]  # minutes, kimg, swd
TIMES = 2  # measurements of a run
SAMPLES = 32  # images of a run that are kept, from fixed latents
COLUMNS = 16  # of the grid


def train(recipe: str, settings: list[str], data: str, minutes: float, seed: int, out: Path) -> None:
    """Train for so many processor minutes; write points and samples to a file, and the generator beside it."""
    import torch

    from ganzoo.evaluation.evaluate import measure_generator
    from ganzoo.gan.trainer import Trainer
    from ganzoo.model import checkpoint
    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe import load
    from ganzoo.recipe.datasets import section
    from ganzoo.registry.lookup import registry
    from ganzoo.runs.dataset import open_data
    from ganzoo.training.labels import drawn_labels
    from ganzoo.training.loader import Loader

    source = section(data, registry())
    fixed = [f"dataset={json.dumps(source)}", f"training.seed={seed}", 'metrics=[{"use": "swd", "num": 2048}]']
    device = ready(1)
    torch.manual_seed(seed)
    node = load(recipe, [*settings, *fixed])
    experiment = build_experiment(node)
    trainer, dataset = Trainer(experiment, device), open_data(experiment)
    schedule, points, clock = experiment.training, [], 0.0
    with Loader(dataset, seed=seed, mirror=schedule.mirror, workers=0) as loader:
        while clock < minutes * 60:
            batch, count = trainer.batch(), trainer.real_batches
            real, label = loader.batch(trainer.images * count, batch * count)
            fake_label = drawn_labels(dataset, batch, seed, trainer.images)
            began = time.process_time()
            trainer.step(real, label, fake_label)
            clock += time.process_time() - began
            if clock >= (len(points) + 1) * minutes * 60 / TIMES:
                trainer.report()  # raises where it has diverged
                stage, swd = trainer.stage, float("nan")
                if stage.level == len(experiment.shape.sizes) - 1:  # grown
                    metrics = experiment.metrics(0)
                    (record,) = measure_generator(trainer.G_ema, stage, metrics, dataset, 0, device)
                    swd = record["results"]["swd"]
                points.append({"minutes": clock / 60, "kimg": trainer.images / 1000, "swd": swd})
                print(recipe, seed, points[-1], flush=True)
    header = checkpoint.Header("snapshot", node.dump(), trainer.images, trainer.iteration)
    checkpoint.write(out.with_suffix(".safetensors"), checkpoint.prefixed("G_ema", trainer.G_ema), header)
    samples = trainer.samples(dataset, SAMPLES).numpy()
    np.savez_compressed(out, samples=samples, points=json.dumps(points))


def at_kimg(points: list[Point], kimg: float) -> float:
    """SWD at so many kimg, linear between measurements."""
    known = [p for p in points if np.isfinite(p["swd"])]
    return float(np.interp(kimg, [p["kimg"] for p in known], [p["swd"] for p in known]))


def row(name: str, runs: list[list[Point]], kimg: float) -> dict[str, Any]:
    """Means and standard deviations over seeds."""

    def spread(values: list[float]) -> list[float]:
        return [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")]

    last = [run[-1] for run in runs]
    best = [min(p["swd"] for p in run if np.isfinite(p["swd"])) for run in runs]
    return {
        "recipe": name,
        "swd": spread([p["swd"] for p in last]),
        "best": spread(best),
        "kimg": spread([p["kimg"] for p in last]),
        "swd at equal kimg": spread([at_kimg(run, kimg) for run in runs]),
        "sec/kimg": spread([p["minutes"] * 60 / p["kimg"] for p in last]),
        "runs": runs,
    }


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """Mean SWD over minutes and over kimg, each seed thin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for i, each in enumerate(rows):
        for axis, unit in zip(axes, ("minutes", "kimg")):
            for run in each["runs"]:
                axis.plot([p[unit] for p in run], [p["swd"] for p in run], color=f"C{i}", alpha=0.35, linewidth=1)
            mean = [[statistics.mean(p[key] for p in points) for key in (unit, "swd")] for points in zip(*each["runs"])]
            axis.plot(*zip(*mean), color=f"C{i}", label=each["recipe"])
            axis.set_xlabel("processor minutes" if unit == "minutes" else "kimg")
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
    axes[0].set_ylabel("SWD x 1000")
    axes[0].legend(fontsize=8)
    figure.savefig(picture, dpi=100)


def draw_grid(names: list[str], outdir: Path, picture: Path) -> None:
    """Samples of the first seed from fixed latents, a row for each recipe."""
    samples = [np.load(file(outdir, name, 0))["samples"][:COLUMNS] for name in names]
    images.save(images.figure(np.concatenate(samples), [""] * COLUMNS, names), picture)


def file(outdir: Path, recipe: str, seed: int) -> Path:
    """Where a run's result lies."""
    return outdir / f"{Path(recipe).stem}-{seed}.npz"


def main() -> None:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--outdir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="for all recipes")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--save", help="name of a file in benchmarks/results")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # run one seed in this process
    args = parser.parse_args()
    if args.one is not None:
        (recipe,) = args.recipes
        return train(recipe, args.set, args.data, args.minutes, args.one, file(args.outdir, recipe, args.one))

    args.outdir.mkdir(parents=True, exist_ok=True)
    wanted = [(r, s) for s in range(args.seeds) for r in args.recipes if not file(args.outdir, r, s).exists()]
    random.Random(0).shuffle(wanted)
    running: list[subprocess.Popen[bytes]] = []
    while wanted or running:
        if any(process.poll() for process in running):
            raise SystemExit("a run failed, as it says above: mend or leave out its recipe, and start anew.")
        running = [process for process in running if process.poll() is None]
        if wanted and len(running) < args.jobs:
            recipe, seed = wanted.pop(0)
            flags = ["--data", args.data, "--outdir", str(args.outdir), "--minutes", str(args.minutes)]
            sets = [word for each in args.set for word in ("--set", each)]
            command = [sys.executable, __file__, recipe, *flags, *sets, "--one", str(seed)]
            running.append(subprocess.Popen(command))
        time.sleep(0.5)

    runs = {
        name: [
            json.loads(str(np.load(path)["points"]))
            for s in range(args.seeds)
            if (path := file(args.outdir, name, s)).exists()
        ]
        for name in args.recipes
    }
    kimg = min(run[-1]["kimg"] for each in runs.values() for run in each)
    rows = sorted((row(name, each, kimg) for name, each in runs.items() if each), key=lambda r: r["swd"][0])
    print(f"{args.data}, {args.minutes:g} processor minutes, {args.seeds} seeds; equal kimg: {kimg:.1f}")
    print(f"{'recipe':24s} {'SWD':>14s} {'SWD, equal kimg':>16s} {'kimg':>7s} {'sec/kimg':>9s}")
    for r in rows:
        swd, equal = (f"{r[key][0]:.1f} ± {r[key][1]:.1f}" for key in ("swd", "swd at equal kimg"))
        print(f"{r['recipe']:24s} {swd:>14s} {equal:>16s} {r['kimg'][0]:7.1f} {r['sec/kimg'][0]:9.2f}")
    if args.picture:
        draw(rows, args.picture)
    if args.grid:
        draw_grid([r["recipe"] for r in rows], args.outdir, args.grid)
    if args.save:
        save(args.save, {"data": Path(args.data).name, "minutes": args.minutes, "equal kimg": kimg, "rows": rows})
    return None


if __name__ == "__main__":
    main()
