"""Seconds per kimg of a training step, phase by phase, and the convolution peak of the same process.

    python benchmarks/step.py --preset tiny|32|64|progan|stylegan|r3gan|stylegan3-t|stylegan3-r
                              [--precision fp32|bf16] [--batch 8] [--batch-gpu N]
                              [--threads 2] [--repeats 5] [--against FILE] [--save]

Each phase is timed separately and weighted by how often it runs. Phases alternate, so that other load slows all; the
median, least and greatest time are printed. GF are counted by torch's formulas, double backward included. For a
discriminator whose convolutions take F in a forward, R1 takes 6 F: forward, gradient, two for the gradient's backward,
two for the forward's, which the minibatch statistic requires.

`--against` names a stored result and prints the ratio to it, phase by phase: of seconds; of processor seconds, which
depend least on other load (compare runs of one thread); and of the share of the peak, which separates changes of the
code from changes of the machine.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import convolution_peak, ready, save
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganzoo.gan.trainer import Trainer
from ganzoo.model.restore import build_experiment
from ganzoo.recipe import load
from ganzoo.training.device import dtype, peak_memory

# those that have 64x64 are whole networks of their papers at that size, without growth, as peers' were measured
PRESETS = {
    "tiny": ["stylegan2-tiny"],
    "32": ["stylegan2-e-32", "generator.channel_max=128", "discriminator.channel_max=128", "generator.mapping.depth=2"],
    "64": ["stylegan2-e-64", "generator.mapping.depth=2"],
    "progan": ["progan-64", "growth=null"],
    "stylegan": ["stylegan-128", "image.size=64", "growth=null"],
    "r3gan": ["r3gan-tiny"],
    "stylegan3-t": ["stylegan3-t-tiny"],
    "stylegan3-r": ["stylegan3-r-tiny"],
}


class Flops(TorchDispatchMode):
    """Counts the FLOPs of convolutions and matrix products, for which torch has formulas, in double backward too."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def phases(trainer: Trainer, batch: int):
    """{name of a phase: (function, how often it runs per iteration)}."""
    size, channels = trainer.experiment.shape.size, trainer.experiment.shape.channels
    real, none = torch.randint(0, 256, (batch, channels, *size), dtype=torch.uint8), torch.zeros(batch, 0)
    batches = trainer.batch_factory(real, none, none)

    def main(who):
        trainer.optimize(who, "main", batch, partial(trainer.main_loss, who, batches))

    def lazy(reg):
        trainer.optimize(reg.on, reg.name, batch, partial(trainer.lazy_loss, reg, batches))

    found = {"G": (lambda: main("g"), 1.0), "D": (lambda: main("d"), 1.0)}
    for reg in trainer.regularizers:
        if reg.every > 1:
            found[reg.name] = (lambda reg=reg: lazy(reg), 1 / reg.every)
    return found


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(wall-clock seconds, processor seconds) of a function."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - processor


def measure(trainer: Trainer, batch: int, repeats: int) -> dict[str, Any]:
    """Measure all phases and their sum, with the peak before and after them."""
    device, used = trainer.device, dtype(trainer.schedule.precision, trainer.device)
    peaks = [convolution_peak(used, device.type)]
    works, gf = phases(trainer, batch), {}
    for name, (work, _) in works.items():
        work()  # warms up
        with Flops() as counter:
            work()
        gf[name] = counter.total / 1e9
    timings = [{name: timed(work, device) for name, (work, _) in works.items()} for _ in range(repeats)]
    peaks.append(convolution_peak(used, device.type))
    peak, rows = max(peaks), {}
    for name, (_, share) in works.items():
        clock = [timing[name][0] for timing in timings]
        middle = statistics.median(clock)
        rows[name] = {"seconds": middle, "min": min(clock), "max": max(clock)}
        rows[name] |= {"cpu_seconds": statistics.median(timing[name][1] for timing in timings)}
        rows[name] |= {"per_iteration": share, "gf": gf[name], "gf_per_s": gf[name] / middle}
        rows[name] |= {"of_peak": gf[name] / middle / peak}
    total = [sum(timing[name][0] * share for name, (_, share) in works.items()) / batch * 1000 for timing in timings]
    work_total = sum(gf[name] * share for name, (_, share) in works.items())
    return {
        "dtype": str(used),
        "peak_gf_per_s": peak,
        "peaks": peaks,
        "phases": rows,
        "sec_per_kimg": sum(row["seconds"] * row["per_iteration"] for row in rows.values()) / batch * 1000,
        "sec_per_kimg_min": min(total),
        "sec_per_kimg_max": max(total),
        "cpu_sec_per_kimg": sum(row["cpu_seconds"] * row["per_iteration"] for row in rows.values()) / batch * 1000,
        "gf_per_image": work_total / batch,
        "floor_sec_per_kimg": work_total / peak / batch * 1000,
        "memory_gib": peak_memory(device),
    }


def show(found: dict[str, Any]) -> None:
    rows, total = found["phases"], found["sec_per_kimg"] * found["batch"] / 1000
    floor = found["floor_sec_per_kimg"]
    print(f"convolution peak {' and '.join(f'{peak:.0f}' for peak in found['peaks'])} GF/s, before and after")
    print(
        f"{'phase':<14}{'runs/iter':>10}{'seconds':>10}{'min..max':>16}{'cpu':>9}{'GF':>9}{'GF/s':>8}"
        f"{'of peak':>9}{'of time':>9}"
    )
    for phase, r in rows.items():
        spread = f"{r['min']:.4f}..{r['max']:.4f}"
        print(
            f"{phase:<14}{r['per_iteration']:>10.3f}{r['seconds']:>10.4f}{spread:>16}{r['cpu_seconds']:>9.4f}"
            f"{r['gf']:>9.1f}{r['gf_per_s']:>8.0f}{r['of_peak']:>9.0%}{r['seconds'] * r['per_iteration'] / total:>9.0%}"
        )
    print(
        f"{found['sec_per_kimg']:.1f} sec/kimg ({found['sec_per_kimg_min']:.1f}..{found['sec_per_kimg_max']:.1f}; "
        f"{found['cpu_sec_per_kimg']:.1f} of the processor); {found['gf_per_image']:.1f} GF an image; floor "
        f"{floor:.1f} sec/kimg, reached {found['sec_per_kimg'] / floor:.1f}x; "
        f"peak memory {found['memory_gib']:.2f} GiB"
    )


def compare(found: dict[str, Any], path: Path) -> None:
    """Print the ratio to a stored result. Refuses one of another preset, dtype or batch."""
    then = json.loads(path.read_text())
    for key in ("preset", "dtype", "batch", "batch_gpu"):
        if then.get(key) != found[key]:
            raise SystemExit(f"{path}: its {key} is {then.get(key)}, not {found[key]}.")
    threads = then["machine"]["threads"]
    print(f"against {path.name} ({threads} threads, peak {then['peak_gf_per_s']:.0f} GF/s), now over then:")
    print(f"{'phase':<14}{'seconds':>10}{'cpu':>9}{'of peak':>9}{'GF':>9}")
    for phase, now in found["phases"].items():
        if before := then["phases"].get(phase):
            cpu = f"{now['cpu_seconds'] / before['cpu_seconds']:.2f}" if "cpu_seconds" in before else "-"
            print(
                f"{phase:<14}{now['seconds'] / before['seconds']:>10.2f}{cpu:>9}"
                f"{now['of_peak'] / before['of_peak']:>9.2f}{now['gf'] / before['gf']:>9.2f}"
            )
    reached, earlier = (r["sec_per_kimg"] / r["floor_sec_per_kimg"] for r in (found, then))
    whole = found["sec_per_kimg"] / then["sec_per_kimg"]
    print(f"{'sec/kimg':<14}{whole:>10.2f}; {earlier:.2f}x the floor, {reached:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batch-gpu", type=int, help="images computed at once: less memory, more time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="a stored result, as results/step-tiny-float32.json"
    )
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    device = ready(args.threads, args.device)
    name, *overrides = PRESETS[args.preset]
    given = [f"training.batch={args.batch}", f"training.precision={args.precision}"]
    given += [f"training.batch_gpu={args.batch_gpu}"] if args.batch_gpu else []
    trainer = Trainer(build_experiment(load(name, ["dataset=shapes", *given, *overrides])), device)
    found = {
        "preset": args.preset,
        "batch": args.batch,
        "batch_gpu": args.batch_gpu,
        **measure(trainer, args.batch, args.repeats),
    }
    print(f"{args.preset}, batch {args.batch}, {found['dtype']}, {device}, {torch.get_num_threads()} threads")
    show(found)
    if args.against:
        compare(found, args.against)
    if args.save:
        parts = f"-parts-of-{args.batch_gpu}" if args.batch_gpu else ""
        print(save(f"step-{args.preset}-{found['dtype'].removeprefix('torch.')}{parts}", found))


if __name__ == "__main__":
    main()
