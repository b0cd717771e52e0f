"""Cost of metrics, against plain implementations of the same definitions in the same process.

    python benchmarks/metrics.py                  sizes of the published metrics where feasible, some minutes
    python benchmarks/metrics.py --small          a tenth of that
    python benchmarks/metrics.py --only frechet   one of: swd, frechet, kid, pr

Seconds are wall-clock time, `cpu_seconds` the time of all threads together; on a machine with other load, compare only
the latter.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm
from swd import SETS, machine, plain_swd, smooth_images
from torch import Tensor

from ganzoo.interfaces import Shape
from ganzoo_metrics.frechet import trace_sqrt
from ganzoo_metrics.kid import draw_subsets, kernel_distances
from ganzoo_metrics.precision_recall import precision_recall
from ganzoo_metrics.swd.swd import SWD

RESULTS = Path(__file__).parent / "results" / "metrics.json"


def timed(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """(result of a function, its times in seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return value, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def compared(ours: Callable[[], Any], plain: Callable[[], Any], **about: Any) -> dict[str, Any]:
    """Run both implementations; return values, seconds and ratios."""
    load = os.getloadavg()[0]
    value, mine = timed(ours)
    plain_value, theirs = timed(plain)
    row = {**about, "load": load, "value": value, "plain_value": plain_value}
    row |= {key: round(seconds, 2) for key, seconds in mine.items()}
    row |= {f"plain_{key}": round(seconds, 2) for key, seconds in theirs.items()}
    row |= {"times_faster": round(theirs["seconds"] / mine["seconds"], 1)}
    return row | {"times_less_cpu": round(theirs["cpu_seconds"] / mine["cpu_seconds"], 1)}


def swd(share: float) -> list[dict[str, Any]]:
    """SWD of 2,048 images of 128x128 of each set, against numpy and scipy with all data in memory."""
    num = int(2048 * share)
    sets = [list(smooth_images(num, 128, seed, detail)) for _, seed, detail in SETS]

    def ours() -> float:
        metric = SWD(Shape(((128, 128),), 3), 0, num=num)
        for (which, _, _), batches in zip(SETS, sets):
            for batch in batches:
                metric.update(batch, which)
        return metric.compute()["swd"]

    return [compared(ours, lambda: plain_swd(sets)[-1], images=num)]


def frechet(share: float) -> list[dict[str, Any]]:
    """Tr((A B)^(1/2)) of covariances of 2,048 features, against scipy's matrix root of the product."""
    width, rows = int(2048 * share**0.5), []
    for label, samples in (("regular", 4 * width), ("singular", width // 2)):
        draw = torch.Generator().manual_seed(0)
        scale = torch.logspace(0, -2, width, dtype=torch.float64)  # spectra of real features fall so, or faster
        a, b = ((torch.randn(samples, width, generator=draw, dtype=torch.float64) * scale).mT.cov() for _ in range(2))
        root = lambda a=a, b=b: float(sqrtm((a @ b).numpy()).real.trace())  # noqa: E731
        row = compared(lambda a=a, b=b: trace_sqrt(a, b), root, case=label, features=width, samples=samples)
        rows.append({**row, "relative_difference": abs(row["value"] / row["plain_value"] - 1)})
    return rows


def plain_kid(fake: Tensor, real: Tensor, subsets: list[tuple[Tensor, Tensor]]) -> float:
    """KID as the published programs compute it, in float64."""
    total = 0.0
    for i, j in subsets:
        x, y = fake[i].double().numpy(), real[j].double().numpy()
        m, d = x.shape
        inner = (x @ x.T / d + 1) ** 3 + (y @ y.T / d + 1) ** 3
        cross = (x @ y.T / d + 1) ** 3
        total += (inner.sum() - np.diag(inner).sum()) / (m - 1) - cross.sum() * 2 / m
    return total / len(subsets) / m


def kid(share: float) -> list[dict[str, Any]]:
    """KID of 100 subsets of 1,000 from 5,000 rows of 2,048 features."""
    draw = torch.Generator().manual_seed(0)
    fake, real = (torch.randn(5000, 2048, generator=draw).abs_() for _ in range(2))
    subsets = list(draw_subsets(0, 5000, 5000, 1000, max(1, int(100 * share))))
    about = {"subsets": len(subsets), "subset_size": 1000, "features": 2048}
    ours = lambda: float(np.mean(kernel_distances(fake, real, subsets)))  # noqa: E731
    return [compared(ours, lambda: plain_kid(fake, real, subsets), **about)]


def plain_precision_recall(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
    """Precision and recall with all distances at once, by differences, which are exact."""

    def inside(a: Tensor, b: Tensor) -> float:
        exact = "donot_use_mm_for_euclid_dist"
        reach = torch.cdist(a, a, compute_mode=exact).kthvalue(k + 1).values
        return float((torch.cdist(b, a, compute_mode=exact) <= reach).any(dim=1).double().mean())

    return inside(real, fake), inside(fake, real)


def pr(share: float) -> list[dict[str, Any]]:
    """Precision and recall of 5,000 and 5,000 rows of 4,096 features, k = 3."""
    draw, n = torch.Generator().manual_seed(0), int(5000 * share)
    mix = torch.randn(16, 4096, generator=draw)  # features lie near a surface of few dimensions
    real, fake = ((torch.randn(n, 16, generator=draw) @ mix).relu_() for _ in range(2))
    about = {"images": n, "features": 4096, "k": 3, "plain_bytes_of_distances": 4 * n * n}
    return [compared(lambda: precision_recall(real, fake, 3), lambda: plain_precision_recall(real, fake, 3), **about)]


ALL = {"swd": swd, "frechet": frechet, "kid": kid, "pr": pr}


def main() -> None:
    """Measure, print, and write benchmarks/results/metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the size")
    parser.add_argument("--only", choices=ALL, help="one metric")
    args = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [args.only] if args.only else ALL:
        rows = ALL[name](0.1 if args.small else 1)
        for row in rows:
            print(name)
            for key, value in row.items():
                print(f"{key:>26}: {value}")
        kept[name] = {"rows": rows, "small": args.small, "machine": machine()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
