"""Cost of augmentation: processor milliseconds per image on one thread. `python benchmarks/augment.py`."""

import time
from collections.abc import Callable

import torch
from machine import ready
from torch import Tensor

from ganzoo.interfaces import Augment
from ganzoo_augment.ada import ADA
from ganzoo_augment.diffaugment import DiffAugment

SIZES = {32: 32, 64: 32, 256: 4}  # side: batch


def forward(augment: Augment, x: Tensor) -> None:
    with torch.no_grad():
        augment((x,))


def once(augment: Augment, x: Tensor) -> None:
    """Differentiate once, as the generator's loss does."""
    torch.autograd.grad(augment((x,))[0].square().sum(), x)


def twice(augment: Augment, x: Tensor) -> None:
    """Differentiate a gradient's squared norm, as R1 does."""
    (g,) = torch.autograd.grad(augment((x,))[0].square().sum(), x, create_graph=True)
    torch.autograd.grad(g.square().sum(), x)


def cost(function: Callable[[Augment, Tensor], None], augment: Augment, x: Tensor) -> float:
    """Least mean of five repeats, in ms per image; each repeat begins with the same seed."""
    times = []
    for _ in range(6):
        torch.manual_seed(0)
        start = time.process_time()
        for _ in range(4):
            function(augment, x)
        times.append((time.process_time() - start) / 4 / len(x) * 1000)
    return min(times[1:])


if __name__ == "__main__":
    ready(1)
    pipes = {name: ADA(pipeline=name, p=0.5, target=None) for name in ("blit", "color", "bgc", "bgcfnc")}
    for name, augment in {**pipes, "diffaugment": DiffAugment()}.items():
        for side, batch in SIZES.items():
            x = torch.randn(batch, 3, side, side).clamp(-1, 1).requires_grad_()
            row = [cost(f, augment, x) for f in (forward, once, twice)]
            print(f"{name:12} {side:4}  " + "  ".join(f"{value:7.2f}" for value in row), flush=True)
