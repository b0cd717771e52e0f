"""A measurement by several processes: each accumulates a share of the images, and all merge what all have."""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from ganzoo.interfaces import Metric, Which
from ganzoo.training.distributed import RankAndWorld

EVEN = 2  # shares begin at multiples of it, since some metrics compare neighbours in pairs


def share(total: int, at: RankAndWorld) -> range:
    """Indices of the images of one process; those of all ranks in order are range(total)."""
    rank, world = at
    bounds = [EVEN * (i * total // (EVEN * world)) for i in range(world)] + [total]
    return range(bounds[rank], bounds[rank + 1])


def gather(
    shares: Sequence[Metric], empty: Sequence[Metric], known: Sequence[int], at: RankAndWorld
) -> Sequence[Metric]:
    """Merge what all processes have accumulated, in order of their ranks.

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
            for state in _all_gather(mine.state(which), at[1]):
                whole.merge(which, state)
    return empty


def _all_gather(state: Mapping[str, Tensor], world: int) -> list[dict[str, Tensor]]:
    """Return every rank's tensors, exchanged as the bytes of safetensors files."""
    raw = torch.frombuffer(bytearray(save({k: t.contiguous() for k, t in state.items()})), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(raw)]))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([raw, torch.zeros(longest - len(raw), dtype=torch.uint8)])
    files = [torch.empty(longest, dtype=torch.uint8) for _ in range(world)]
    dist.all_gather(files, padded)
    return [load(file[: int(size)].numpy().tobytes()) for file, size in zip(files, sizes)]
