"""Images that a measurement compares: real ones in a fixed order, and generated ones."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ganzoo.evaluation.shares import share
from ganzoo.interfaces import Dataset, Generator, Stage
from ganzoo.nn.pixels import to_uint8
from ganzoo.training.distributed import ONE_PROCESS, RankAndWorld
from ganzoo.training.loader import Indices, images_at, shuffled
from ganzoo.training.seeds import latents

BATCH = 32  # images generated at once


def real_images(
    dataset: Dataset, num: int | None, batch: int, seed: int = 0, at: RankAndWorld = ONE_PROCESS
) -> Iterator[Tensor]:
    """Yield batches of one process's share of real images, uint8 [N, C, H, W].

    Args:
        dataset: where they come from
        num: of all processes, the first of a permutation; None, or as many as there are, for all in a fixed order
        batch: N
        seed: of the permutation
        at: (rank, number of processes)
    """
    whole = num is None or num >= len(dataset)
    order = shuffled(dataset, 0 if whole else seed)[:num]
    part = share(len(order), at)
    yield from _batches(dataset, order[part.start : part.stop], batch)


def halves(dataset: Dataset, batch: int, seed: int = 0) -> tuple[Iterator[Tensor], Iterator[Tensor], int]:
    """Return two disjoint random halves of a set, as batches, and their size.

    Their distance is the noise floor of a metric.
    """
    order, half = shuffled(dataset, seed), len(dataset) // 2
    return _batches(dataset, order[:half], batch), _batches(dataset, order[half : 2 * half], batch), half


def _batches(dataset: Dataset, indices: Indices, batch: int) -> Iterator[Tensor]:
    for start in range(0, len(indices), batch):
        yield images_at(dataset, indices[start : start + batch])


@torch.inference_mode()
def generated_images(
    G: Generator, stage: Stage, seeds: Sequence[int], device: torch.device, labels: Tensor
) -> Iterator[Tensor]:
    """Yield batches of generated images, uint8 [N, C, H, W], on the CPU.

    Args:
        G: the generator
        stage: how far it has grown
        seeds: one for each image; latent and noise are drawn from it
        device: where it computes
        labels: one for each image, [len(seeds), K]
    """
    for start in range(0, len(seeds), BATCH):
        batch = seeds[start : start + BATCH]
        label = labels[start : start + BATCH].to(device) if G.labels else None
        with G.noise("random", seeds=batch):
            yield to_uint8(G(latents(batch, G.z_dim).to(device), label, stage)[-1].cpu())
