"""A measurement by several processes: each accumulates a share of the images, and all merge what all have."""

from collections.abc import Sequence

from ganzoo.interfaces import Metric, Which
from ganzoo.training import distributed
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
            for state in distributed.all_gather(mine.state(which)):
                whole.merge(which, state)
    return empty
