"""Projection: steps and images per second, and the cost of a step beyond the generator's forward and backward.

    python benchmarks/project.py                        StyleGAN2 at 32x32, batches of 1 and 8, pixel loss
    python benchmarks/project.py --perceptual conv-random
    python benchmarks/project.py --recipe stylegan2-f-256 --batch 1

The generator is untrained, since times do not depend on its weights. Steps of the projector alternate with forward and
backward of the generator (to its style codes, with fixed weights), so that other load slows both. On a CPU, times are
processor time of one thread. Writes
benchmarks/results/project-<recipe>.json.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import machine

from ganzoo import recipe
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.model import Model, load
from ganzoo.model.restore import build_experiment
from ganzoo_projection import search as project
from ganzoo_projection.interfaces import FrozenGenerator
from ganzoo_projection.search import Projection

GOAL = 0.15  # overhead with pixel loss


def clock(device: str) -> Callable[[], float]:
    def of_gpu() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return of_gpu if device == "cuda" else time.process_time


def generator(name: str, device: str) -> Model:
    node = recipe.load(name)
    torch.manual_seed(0)
    made = build_experiment(node)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "untrained.safetensors"
        weights = checkpoint.prefixed("G_ema", made.G)
        growth = 10**12 if made.growth else 0  # a generator that grows is measured at its last size
        checkpoint.write(path, weights, Header("snapshot", node.dump(), growth))
        return load(path, device)


def own(view: FrozenGenerator, batch: int) -> Callable[[], object]:
    """Run forward and backward of the generator."""
    ws = view.mean.expand(batch, view.G.num_ws, -1).clone().requires_grad_()
    up = torch.randn(batch, view.shape.channels, *view.shape.size, device=ws.device)

    def work() -> object:
        with view.G.noise("const"):
            image = view.G.synthesize(ws, view.stage)[-1]
        return torch.autograd.grad(image, ws, up)

    return work


def measure(
    view: FrozenGenerator, method: str, perceptual: str, batch: int, seconds: float, device: str
) -> dict[str, float]:
    targets = torch.rand(batch, view.shape.channels, *view.shape.size) * 2 - 1
    projector = project.factory(method, {"perceptual": perceptual, "steps": 1_000_000})(view.shape.channels)
    search, alone, now = Projection(view, projector, targets), own(view, batch), clock(device)
    works: list[Callable[[], object]] = [search.advance, alone]
    times: list[list[float]] = [[], []]
    for work in works * 3:
        work()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[0]) < 10:
        for work, found in zip(works, times):
            start = now()
            work()
            found.append(now() - start)
    step, bare = (statistics.median(found) for found in times)
    return {
        "batch": batch,
        "steps_per_second": 1 / step,
        "image_steps_per_second": batch / step,
        "seconds_per_image": step / batch * project.node(method, {"perceptual": perceptual}).value("steps"),
        "generator_ms": bare * 1000,
        "step_ms": step * 1000,
        "overhead": step / bare - 1,
        "measured": len(times[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="stylegan2-tiny")
    parser.add_argument("--perceptual", default="pixel", help="pixel or conv-random; the others need weights")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = machine.ready(1, given.device).type
    view = project.freeze(generator(given.recipe, device))
    rows = []
    print("method          batch  generator ms  step ms  overhead  steps/s  image steps/s  s/image, all steps")
    for method in ("image2stylegan", "stylegan2"):
        for batch in given.batch:
            row = measure(view, method, given.perceptual, batch, given.seconds, device)
            rows.append({"method": method, **row})
            print(
                f"{method:<15} {batch:>5}  {row['generator_ms']:>12.2f}  {row['step_ms']:>7.2f}  "
                f"{row['overhead']:>8.1%}  "
                f"{row['steps_per_second']:>7.1f}  {row['image_steps_per_second']:>13.1f}  "
                f"{row['seconds_per_image']:>18.1f}"
            )
    about = {"recipe": given.recipe, "perceptual": given.perceptual, "goal": GOAL, "clock": clock(device).__name__}
    print(machine.save(f"project-{given.recipe}", {**about, "rows": rows}))


if __name__ == "__main__":
    main()
