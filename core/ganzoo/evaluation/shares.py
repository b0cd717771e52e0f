"""TODO docstring."""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from ganzoo.interfaces import Metric, Which
from ganzoo.training.distributed import Share

EVEN = 2  # shares begin at multiples of it: some metrics compare pairs of neighbours


def share(total: int, at: Share) -> range:
    """The consecutive images of one process, so that all shares in order are the whole."""
    rank, world = at
    bounds = [EVEN * (i * total // (EVEN * world)) for i in range(world)] + [total]
    return range(bounds[rank], bounds[rank + 1])


def gather(shares: Sequence[Metric], empty: Sequence[Metric], known: Sequence[int], at: Share) -> Sequence[Metric]:
    """What all processes have accumulated, in order of their ranks.

    Args:
        shares: this process's metrics, each holding its share
        empty: the same metrics as they were before
        known: indices of those whose real statistics `empty` already holds
        at: (rank, number of processes)

    Returns:
        `empty`, filled; the same on every rank
    """
    for i, (mine, whole) in enumerate(zip(shares, empty)):
        sets: list[Which] = ["fake"] if i in known or mine.num_real == 0 else ["real", "fake"]
        for which in sets:
            for state in _exchange(mine.state(which), at[1]):
                whole.merge(which, state)
    return empty


def _exchange(state: Mapping[str, Tensor], world: int) -> list[dict[str, Tensor]]:
    """Every rank's tensors on every rank, as bytes of safetensors."""
    own = torch.frombuffer(bytearray(save({k: t.contiguous() for k, t in state.items()})), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(own)]))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([own, torch.zeros(longest - len(own), dtype=torch.uint8)])
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(world)]
    dist.all_gather(parts, padded)
    return [load(part[: int(size)].numpy().tobytes()) for part, size in zip(parts, sizes)]
