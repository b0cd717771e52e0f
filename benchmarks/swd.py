"""Time and memory of the sliced Wasserstein distance, against the same definition in plain numpy and scipy.

    python benchmarks/swd.py                      2,048 images of 128x128 each: ours, then the plain implementation
    python benchmarks/swd.py --full               16,384 images of 256x256 each, ours only: does it stay below 2 GB?

Peak memory is the process's highest resident set, before the plain implementation starts. Descriptors are spooled to
TMPDIR, 12.3 GB for the full run. Images are random and smooth, drawn when needed.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.interfaces.growth import Shape
from ganzoo.interfaces.metric import Which
from ganzoo_metrics.swd.swd import SWD

RESULTS = Path(__file__).parent / "results" / "swd.json"
SETS: tuple[tuple[Which, int, float], ...] = (("real", 1, 0.0), ("fake", 2, 0.3))


def smooth_images(num: int, size: int, seed: int, detail: float, batch: int = 64) -> Iterator[Tensor]:
    """Batches of uint8 [n, 3, size, size]: coarse noise, enlarged, and a little pixel noise."""
    draw = torch.Generator().manual_seed(seed)
    for start in range(0, num, batch):
        n = min(batch, num - start)
        coarse = torch.randn(n, 3, 8, 8, generator=draw) * 50 + 128
        grain = torch.randn(1, 3, size, size, generator=draw) * (4 + detail)
        yield F.interpolate(coarse, size=(size, size), mode="bilinear").add_(grain).clamp_(0, 255).to(torch.uint8)


def plain_levels(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Laplacian pyramid by scipy's general convolution."""
    from scipy.ndimage import convolve

    kernel = (np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256).astype(np.float32)[None, None]
    levels, fine = [], images.astype(np.float32)
    while fine.shape[2] >= 32:
        coarse = convolve(fine, kernel, mode="mirror")[:, :, ::2, ::2]
        zeros = np.zeros_like(fine)
        zeros[:, :, ::2, ::2] = coarse
        levels.append(fine - convolve(zeros, kernel * 4, mode="mirror"))
        fine = coarse
    return [*levels, fine]


def plain_swd(sets: list[list[Tensor]], per_image: int = 128, repeats: int = 4, directions: int = 128) -> list[float]:
    """SWD by the definition (arXiv:1710.10196, section 5), all descriptors in memory, with separate draws."""
    draw = np.random.default_rng(0)
    both = []
    for batches in sets:
        parts: list[list[NDArray[np.float32]]] = []
        for batch in batches:
            parts.append([])
            for level in plain_levels(batch.numpy()):
                n, c, h, w = level.shape
                y, x = (draw.integers(3, side - 3, (n, per_image, 1, 1, 1)) for side in (h, w))
                image, channel = np.arange(n).reshape(-1, 1, 1, 1, 1), np.arange(c).reshape(-1, 1, 1)
                off = np.arange(-3, 4)
                parts[-1].append(level[image, channel, y + off, x + off[:, None]].reshape(-1, c, 49))
        both.append([np.concatenate(level) for level in zip(*parts)])
    values = []
    for pair in zip(*both):
        a, b = ((d - d.mean(axis=(0, 2), keepdims=True)) / d.std(axis=(0, 2), keepdims=True) for d in pair)
        gaps = []
        for _ in range(repeats):
            dirs = draw.standard_normal((a[0].size, directions)).astype(np.float32)
            dirs /= np.linalg.norm(dirs, axis=0)
            pa, pb = (np.sort(d.reshape(len(d), -1) @ dirs, axis=0) for d in (a, b))
            gaps.append(np.abs(pa - pb).mean())
        values.append(1e3 * float(np.mean(gaps)))
    return [*values, sum(values) / len(values)]


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(num: int, size: int) -> dict[str, object]:
    """Measure ganzoo's SWD; the time excludes drawing images."""
    metric = SWD(Shape(((size, size),), 3), 0, num=num)
    start_mb, updating = peak_mb(), 0.0
    for which, seed, detail in SETS:
        for batch in smooth_images(num, size, seed, detail):
            start = time.perf_counter()
            metric.update(batch, which)
            updating += time.perf_counter() - start
    start = time.perf_counter()
    values = metric.compute()
    computing = time.perf_counter() - start
    return {
        "images_of_each_set": num,
        "size": size,
        "update_seconds": round(updating, 1),
        "compute_seconds": round(computing, 1),
        "seconds": round(updating + computing, 1),
        "peak_mb": round(peak_mb()),
        "peak_mb_before": round(start_mb),
        "values": values,
    }


def machine() -> dict[str, object]:
    """Describe the machine."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        lines = info.read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "cores": os.cpu_count(),
        "processor": name,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "load_average_5_min": round(os.getloadavg()[1], 1),
    }


def main() -> None:
    """Measure, print, and write benchmarks/results/swd.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=2048, help="images of each set")
    parser.add_argument("--size", type=int, default=128, help="their height and width, a power of two from 16 on")
    parser.add_argument("--full", action="store_true", help="16,384 images of 256x256, ours only")
    args = parser.parse_args()
    num, size = (16384, 256) if args.full else (args.num, args.size)
    run = measure(num, size)
    if not args.full:
        sets = [list(smooth_images(num, size, seed, detail)) for _, seed, detail in SETS]  # drawing them is not timed
        start = time.perf_counter()
        values = plain_swd(sets)
        seconds = time.perf_counter() - start
        run |= {
            "plain_seconds": round(seconds, 1),
            "plain_peak_mb": round(peak_mb()),
            "plain_values": values,
            "times_faster": round(seconds / float(str(run["seconds"])), 1),
        }
    for key, value in run.items():
        print(f"{key:>20}: {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept["full" if args.full else "compared"] = {**run, "machine": machine()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
