"""One process and two on this machine's cores, one thread each, and a model of larger machines.

    python benchmarks/scaling.py [--recipe stylegan2-tiny] [--batch 16] [--iterations 24] [--save]
    python benchmarks/scaling.py --paper        the model alone

Whole iterations are measured, with lazy penalties, on random images. Time in communication is that inside all-reduces,
which includes waiting for the slower process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import ready, save

# (GPUs, GPUs of a machine): bandwidth between GPUs of a machine and between machines, GB/s a GPU and direction, as
# their makers state it: NVLink 4, 900 GB/s both ways; one 400 Gb/s link a GPU
NVLINK, LINK = 450.0, 50.0
REACHED = 0.7  # of the stated bandwidth, that large all-reduces get: an assumption
SECONDS_PER_IMAGE = 1 / 30  # of StyleGAN2 1024x1024 on one GPU of that kind: an assumption, not measured
BATCH_GPU = 4  # images of a GPU


def worker(args: argparse.Namespace) -> None:
    """Train some iterations in one process, and print their time and the time in communication."""
    import torch.distributed as dist

    from ganzoo.io import launch
    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe import load
    from ganzoo.training import distributed

    device = distributed.join_group(ready(1))
    waited, reduce = [0.0, 0], dist.all_reduce

    def timed(tensor, *rest, **named):
        began = time.perf_counter()
        reduce(tensor, *rest, **named)
        waited[0] += time.perf_counter() - began
        waited[1] += tensor.numel() * tensor.element_size()

    dist.all_reduce = timed
    torch.manual_seed(0)
    made = build_experiment(load(args.recipe, [f"training.batch={args.batch}", "dataset=shapes"])).learner(device)
    share, shape = args.batch // distributed.rank_and_world()[1], made.experiment.shape
    real, none = torch.randint(0, 256, (share, shape.channels, *shape.size), dtype=torch.uint8), torch.zeros(share, 0)
    made.step(real, none, none)
    made.iteration, waited[:] = 0, [0.0, 0]
    began = time.perf_counter()
    for _ in range(args.iterations):
        made.step(real, none, none)
        distributed.any_rank(False)
    took = time.perf_counter() - began
    if launch.is_first():
        images = args.iterations * args.batch
        found = {
            "processes": distributed.rank_and_world()[1],
            "sec_per_kimg": took / images * 1000,
            "communication": waited[0] / took,
            "bytes_per_iteration": waited[1] / args.iterations,
        }
        Path(args.out).write_text(json.dumps(found))
    distributed.leave_group()


def measured(args: argparse.Namespace, processes: int) -> dict:
    """Run the workers, and return the first one's result."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        start = [sys.executable]
        if processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        flags = ["--recipe", args.recipe, "--batch", str(args.batch), "--iterations", str(args.iterations)]
        command = [*start, __file__, "--worker", "--out", str(out), *flags]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())


def paper() -> dict:
    """Model StyleGAN2 1024x1024 on 8 and 64 GPUs: bytes of an iteration's all-reduces, and the efficiency.

    A ring all-reduce of B bytes over n GPUs moves 2 (n - 1) / n B over each GPU's slowest link. It does not overlap
    with computation: a phase's gradients are averaged after the phase.
    """
    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe import load

    with torch.device("meta"):
        made = build_experiment(load("stylegan2-f-1024"))
    counts = {"g": sum(p.numel() for p in made.G.parameters()), "d": sum(p.numel() for p in made.D.parameters())}
    runs = {who: 1 + sum(1 / r.every for r in made.regularizers if r.on == who and r.every > 1) for who in counts}
    total = sum(4 * counts[who] * runs[who] for who in counts)
    print(f"StyleGAN2 1024x1024: G {counts['g']:,} and D {counts['d']:,} parameters in float32;")
    print(f"phases an iteration: G {runs['g']:g}, D {runs['d']:g}; {total / 1e6:.0f} MB of all-reduces an iteration")
    rows = {}
    for gpus in (8, 64):
        link = (NVLINK if gpus <= 8 else LINK) * 1e9 * REACHED
        seconds, compute = 2 * (gpus - 1) / gpus * total / link, SECONDS_PER_IMAGE * BATCH_GPU
        rows[gpus] = {"communication_s": seconds, "compute_s": compute, "efficiency": compute / (compute + seconds)}
        print(
            f"{gpus:>3} GPUs, batch {gpus * BATCH_GPU:>3}: {seconds * 1e3:6.2f} ms of communication beside "
            f"{compute * 1e3:.0f} ms of computing: efficiency {rows[gpus]['efficiency']:.1%}"
        )
    return {"bytes_per_iteration": total, "gpus": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="stylegan2-tiny")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    model = paper()
    if args.paper:
        return None
    rows = [measured(args, count) for count in (1, 2)]
    print(f"\n{args.recipe}, batch {args.batch}, one thread a process")
    for row in rows:
        ratio = rows[0]["sec_per_kimg"] / row["sec_per_kimg"]
        print(
            f"{row['processes']} process{'es' * (row['processes'] > 1)}: {row['sec_per_kimg']:.2f} sec/kimg "
            f"({ratio:.2f}x), {row['communication']:.1%} in all-reduces of {row['bytes_per_iteration'] / 1e6:.2f} MB "
            f"an iteration"
        )
    if args.save:
        print(
            save(f"scaling-{args.recipe}", {"recipe": args.recipe, "batch": args.batch, "rows": rows, "paper": model})
        )
    return None


if __name__ == "__main__":
    main()
