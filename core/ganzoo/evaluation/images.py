"""TODO docstring."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.evaluation.shares import share
from ganzoo.interfaces import Dataset, Generator, Stage
from ganzoo.nn.pixels import to_uint8
from ganzoo.training.distributed import ALONE, Share
from ganzoo.training.seeds import latents

BATCH = 32  # images computed at once


def real_images(dataset: Dataset, num: int | None, batch: int, seed: int = 0, at: Share = ALONE) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W]: the first `num` of a permutation of the set; all of them always in one order."""
    whole = num is None or num >= len(dataset)
    order = np.random.default_rng([0 if whole else seed, len(dataset)]).permutation(len(dataset))[:num]
    yield from _images(dataset, order[share(len(order), at)], batch)


def halves(dataset: Dataset, batch: int, seed: int = 0) -> tuple[Iterator[Tensor], Iterator[Tensor], int]:
    """Two disjoint random halves of a set, and their size: their distance is the noise floor of a metric."""
    order = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))
    n = len(dataset) // 2
    return _images(dataset, order[:n], batch), _images(dataset, order[n : 2 * n], batch), n


def _images(dataset: Dataset, indices: NDArray[np.int64], batch: int) -> Iterator[Tensor]:
    for start in range(0, len(indices), batch):
        yield torch.from_numpy(np.stack([dataset.image(int(i)) for i in indices[start : start + batch]]))


@torch.inference_mode()
def generated_images(
    G: Generator, stage: Stage, seeds: Sequence[int], device: torch.device, labels: Tensor
) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W], a latent and a label [K] for each seed; noise is random, but the seed's own."""
    for start in range(0, len(seeds), BATCH):
        own = seeds[start : start + BATCH]
        label = labels[start : start + BATCH].to(device) if G.labels else None
        with G.noise("random", seeds=own):
            yield to_uint8(G(latents(own, G.z_dim).to(device), label, stage)[-1].cpu())
