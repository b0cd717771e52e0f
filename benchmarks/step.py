"""Seconds per kimg of a training step, phase by phase, beside the convolution peak of the same run.

    python benchmarks/step.py --preset tiny|32|64|progan [--precision fp32|bf16] [--batch 8] [--threads 2] [--save]

Each phase is timed alone and weighted by how often it runs. GF are counted by torch's formulas on the same phase.
"""

import argparse
from functools import partial

import torch
from machine import convolution_peak, save, seconds
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo import recipe
from ganzoo.device import choose, dtype, keep_memory, peak_memory
from ganzoo.model import experiment
from ganzoo.trainer import Trainer

PRESETS = {
    "tiny": ["stylegan2-tiny"],
    "32": ["stylegan2-e-32", "generator.channel_max=128", "discriminator.channel_max=128", "generator.mapping.depth=2"],
    "64": ["stylegan2-e-64", "generator.mapping.depth=2"],
    "progan": ["progan-64", "growth=null"],
}


class Flops(TorchDispatchMode):
    """Counts what torch's FLOP formulas know: convolutions and matrix products, in double backward too."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def phases(trainer: Trainer, batch: int):
    """{name: (work, how often it runs per iteration)}"""
    size, channels = trainer.experiment.shape.size, trainer.experiment.shape.channels
    real, none = torch.randint(0, 256, (batch, channels, *size), dtype=torch.uint8), torch.zeros(batch, 0)
    turns = trainer.turns(real, none, none)

    def main(who):
        trainer.descend(who, "main", batch, partial(trainer.objective, who, turns))

    def lazy(reg):
        trainer.descend(reg.on, reg.name, batch, partial(trainer.lazily, reg, turns))

    found = {"G": (lambda: main("g"), 1.0), "D": (lambda: main("d"), 1.0)}
    for reg in trainer.regularizers:
        if reg.every > 1:
            found[reg.name] = (lambda reg=reg: lazy(reg), 1 / reg.every)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = choose(args.device)
    if device.type == "cpu":
        keep_memory()
    name, *overrides = PRESETS[args.preset]
    node = recipe.load(
        name, ["dataset=shapes", f"training.batch={args.batch}", f"training.precision={args.precision}", *overrides]
    )
    trainer = Trainer(experiment(node), device)
    used = dtype(trainer.options.precision, device)
    peak = convolution_peak(used, device.type)

    rows, total, work_total = {}, 0.0, 0.0
    for phase, (work, share) in phases(trainer, args.batch).items():
        work()
        with Flops() as counter:
            work()
        gf, s = counter.total / 1e9, seconds(work, args.repeats, device.type)
        rows[phase] = {"seconds": s, "per_iteration": share, "gf": gf, "gf_per_s": gf / s, "of_peak": gf / s / peak}
        total, work_total = total + s * share, work_total + gf * share
    sec_per_kimg = total / args.batch * 1000
    print(
        f"{args.preset}, batch {args.batch}, {used}, {device}, {torch.get_num_threads()} threads; "
        f"convolution peak {peak:.0f} GF/s"
    )
    print(f"{'phase':<14}{'runs/iter':>10}{'seconds':>10}{'GF':>9}{'GF/s':>8}{'of peak':>9}{'of time':>9}")
    for phase, r in rows.items():
        print(
            f"{phase:<14}{r['per_iteration']:>10.3f}{r['seconds']:>10.4f}{r['gf']:>9.1f}{r['gf_per_s']:>8.0f}{r['of_peak']:>9.0%}"
            f"{r['seconds'] * r['per_iteration'] / total:>9.0%}"
        )
    floor = work_total / peak / args.batch * 1000
    print(
        f"{sec_per_kimg:.1f} sec/kimg; {work_total / args.batch:.1f} GF an image; floor {floor:.1f} "
        f"sec/kimg, reached {sec_per_kimg / floor:.1f}x; "
        f"peak memory {peak_memory(device):.2f} GiB"
    )
    if args.save:
        result = {
            "preset": args.preset,
            "batch": args.batch,
            "dtype": str(used),
            "peak_gf_per_s": peak,
            "phases": rows,
            "sec_per_kimg": sec_per_kimg,
            "floor_sec_per_kimg": floor,
            "memory_gib": peak_memory(device),
        }
        print(save(f"step-{args.preset}-{str(used).removeprefix('torch.')}", result))


if __name__ == "__main__":
    main()
