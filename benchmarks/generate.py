"""Images per second of `gz generate`, against the generator's forward in the same process. Goal: within 1.4x.

    python benchmarks/generate.py [--full] [--images 64] [--rounds 5] [--threads 2] [--device cuda] [--save]

Sizes are 32x32 and 256x256, with `--full` also 1024x1024. The command's whole path is measured in this process, from
seeds to PNGs on disk; the lower bound is the forward of one image at a time, without a file. They alternate, so that
other load slows both; a ratio is of one round, and its median, least and greatest are printed. Seconds are wall-clock
time, since encoding runs in parallel; `cpu` is the same ratio in processor seconds, which depends least on other load
and counts encoding in full.

Weights are random, and no bias or noise strength is zero, so that images have grain and PNGs a realistic size.

`batched` is the time per image in batches of 8 over that of single images. `gz generate` computes images one by one, so
that a seed always gives the same image: another batch size changes the order of sums and the kernels of matrix
products and convolutions, and so the last bits (`batched_same` tells whether it did here). On a CPU a batch takes a
quarter of the time at 32x32, where overhead dominates, nine tenths at 256x256, and more at 1024x1024; `--batch` of the
command allows it.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import ready, save

from ganzoo import recipe
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.model import Model, load
from ganzoo.model.restore import build_experiment
from ganzoo.training.device import peak_memory
from ganzoo.training.seeds import latents
from ganzoo_cli.commands import generate
from ganzoo_cli.host.drawing import Drawing

GOAL = 1.4
RECIPES = {32: "stylegan2-tiny", 256: "stylegan2-f-256", 1024: "stylegan2-f-1024"}
BATCH = 8
DRAWING = Drawing(trunc=0.7)


def model(name: str, folder: Path, device: str) -> Model:
    """Load an untrained generator from a snapshot."""
    node = recipe.load(name)
    torch.manual_seed(0)
    G = build_experiment(node).G
    with torch.no_grad():
        for tensor in G.parameters():
            if not tensor.any():
                tensor.normal_(std=0.1)
    path = folder / f"{name}.safetensors"
    checkpoint.write(path, checkpoint.prefixed("G_ema", G), Header("snapshot", node.dump(), 0))
    return load(path, device)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(wall-clock seconds, processor seconds) of a function."""
    wait(device)
    clock, processor = time.perf_counter(), time.process_time()
    work()
    wait(device)
    return time.perf_counter() - clock, time.process_time() - processor


def works(made: Model, count: int, folder: Path) -> dict[str, Callable[[], object]]:
    """{name: function} of the command, the forward of single images, and the forward in batches.

    The command writes into a new folder each time, since replacing files is slower.
    """
    z = latents(range(count), made.G.z_dim).to(made.device)

    def command() -> None:
        outdir = Path(tempfile.mkdtemp(dir=folder))
        with contextlib.redirect_stdout(io.StringIO()):
            generate.draw(made, [(None, seed) for seed in range(count)], DRAWING, outdir)

    @torch.no_grad()
    def forward(size: int) -> None:
        with made.G.noise("const"):
            for i in range(0, count, size):
                made.G(z[i : i + size])

    return {"generate": command, "forward": lambda: forward(1), "batched": lambda: forward(BATCH)}


@torch.no_grad()
def same(made: Model) -> bool:
    """Whether images computed in a batch equal those computed separately."""
    z = latents(range(BATCH), made.G.z_dim).to(made.device)
    with made.G.noise("const"):
        return torch.equal(made.G(z)[-1], torch.cat([made.G(one[None])[-1] for one in z]))


def middle(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(made: Model, count: int, rounds: int, folder: Path) -> dict[str, Any]:
    found = works(made, count, folder)
    for work in found.values():  # warms up, and is not counted
        work()
    batches = [{name: timed(work, made.device) for name, work in found.items()} for _ in range(rounds)]
    files = list(folder.glob("*/*.png"))
    return {
        "images": count,
        "images_per_second": middle([count / batch["generate"][0] for batch in batches]),
        "ratio": middle([batch["generate"][0] / batch["forward"][0] for batch in batches]),
        "ratio_cpu": middle([batch["generate"][1] / batch["forward"][1] for batch in batches]),
        "batched": middle([batch["batched"][0] / batch["forward"][0] for batch in batches]),
        "batched_cpu": middle([batch["batched"][1] / batch["forward"][1] for batch in batches]),
        "batched_same": same(made),
        "png_bytes": sum(file.stat().st_size for file in files) // len(files),
        "memory_gib": peak_memory(made.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1024x1024 too: minutes on a processor")
    parser.add_argument("--size", type=int, choices=RECIPES, action="append", help="only this side; repeatable")
    parser.add_argument("--images", type=int, help="in a turn; else about as many as take some seconds on a processor")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    device = ready(args.threads, args.device)
    print(
        f"{device}, {torch.get_num_threads()} threads compute, {generate.WRITERS} write; load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"{'side':>4} {'images/s':>9} {'ratio':>6} {'least..most':>12} {'cpu':>5} {'batched':>8} {'cpu':>5} {'PNG':>8}"
    )
    rows = {}
    for side in args.size or [side for side in RECIPES if args.full or side <= 256]:
        with tempfile.TemporaryDirectory(prefix="ganzoo-generate-") as folder:
            count = args.images or max(BATCH, 64 * 32 // side if device.type == "cpu" else 64)
            made = model(RECIPES[side], Path(folder), args.device)
            row = rows[side] = {"recipe": RECIPES[side], **measure(made, count, args.rounds, Path(folder))}
        ratio = row["ratio"]
        print(
            f"{side:4d} {row['images_per_second']['median']:9.2f} {ratio['median']:6.2f} "
            f"{ratio['min']:5.2f}..{ratio['max']:<5.2f} {row['ratio_cpu']['median']:5.2f} "
            f"{row['batched']['median']:8.2f} {row['batched_cpu']['median']:5.2f} {row['png_bytes'] / 1024:5.0f} KiB",
            flush=True,
        )
    if args.save:
        about = {"device": device.type, "writers": generate.WRITERS, "goal": GOAL, "load": os.getloadavg()[0]}
        print(save(f"generate-{device.type}", {**about, "rows": rows}))


if __name__ == "__main__":
    main()
