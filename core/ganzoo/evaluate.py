"""Measuring: one pass over generated and real images for all metrics, and a record of what exactly was measured."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import ganzoo
from ganzoo.data import class_labels, to_uint8
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Generator, Metric, Stage, Which
from ganzoo.model import latents
from ganzoo.trainer import seed_of

Progress = Callable[[str, int, int], None]
BATCH = 32  # images computed at once


def real_images(dataset: Dataset, num: int, batch: int, seed: int = 0) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W]: the first `num` of a permutation of the set."""
    order = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))[:num]
    for start in range(0, len(order), batch):
        yield torch.from_numpy(np.stack([dataset.image(int(i)) for i in order[start : start + batch]]))


def halves(dataset: Dataset, batch: int, seed: int = 0) -> tuple[Iterator[Tensor], Iterator[Tensor], int]:
    """Two disjoint random halves of a set, and their size: their distance is the noise floor of a metric."""
    order = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))
    n = len(dataset) // 2

    def images(indices: NDArray[np.int64]) -> Iterator[Tensor]:
        for start in range(0, n, batch):
            yield torch.from_numpy(np.stack([dataset.image(int(i)) for i in indices[start : start + batch]]))

    return images(order[:n]), images(order[n : 2 * n]), n


def limit(metrics: Sequence[Metric], available: int) -> None:
    """Let no metric ask for more images than there are.

    Both sets of a metric then shrink alike, and the record says so.
    """
    if available < 2:
        raise DataError(f"{available} images are too few to measure a distribution: give at least 2.")
    for metric in metrics:
        metric.num = min(metric.num, available)


def measure(
    metrics: Sequence[Metric], fake: Iterable[Tensor], real: Iterable[Tensor], progress: Progress | None = None
) -> list[dict[str, float]]:
    """Each metric's values by name, from uint8 images; a metric takes the first `num` of either set."""
    sets: list[tuple[Which, Iterable[Tensor]]] = [("real", real), ("fake", fake)]
    total = max((m.num for m in metrics), default=0)
    for which, images in sets:
        seen = 0
        for batch in images:
            for metric in metrics:
                if seen < metric.num:
                    metric.update(batch[: metric.num - seen], which)
            seen += len(batch)
            if progress:
                progress(which, min(seen, total), total)
            if seen >= total:
                break
    return [metric.compute() for metric in metrics]


def drawn_labels(dataset: Dataset, count: int, *seed: int) -> Tensor:
    """Labels [N, K] of images drawn from the set, the same for the same seed."""
    return class_labels(dataset, count, torch.Generator().manual_seed(seed_of(*seed)))


@torch.inference_mode()
def fakes(G: Generator, stage: Stage, seeds: Sequence[int], device: torch.device, labels: Tensor) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W], a latent and a label [K] for each seed; noise is random, but the seed's own."""
    for start in range(0, len(seeds), BATCH):
        own = seeds[start : start + BATCH]
        label = labels[start : start + BATCH].to(device) if G.labels else None
        with G.noise("random", seeds=own):
            yield to_uint8(G(latents(own, G.z_dim).to(device), label, stage)[-1].cpu())


def generator(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    dataset: Dataset,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measure a generator against real images: for each metric a record of its values and of what was measured.

    Raises DataError where the images do not allow it.
    """
    began = time.monotonic()
    limit(metrics, len(dataset))
    num = max(m.num for m in metrics)
    made = fakes(G, stage, [(seed * 1_000_003 + i) % 2**32 for i in range(num)], device, drawn_labels(dataset, num, 1))
    values = measure(metrics, made, real_images(dataset, num, BATCH, seed), progress)
    about = {"seed": seed, "ema": True, "psi": 1.0, "noise": "random", "precision": "fp32", "device": device.type}
    return [provenance(m, v, dataset, began, **about) for m, v in zip(metrics, values)]


def provenance(
    metric: Metric, values: dict[str, float], dataset: Dataset, began: float, **about: Any
) -> dict[str, Any]:
    """A metric's values with all that is needed to know what was measured, for metric-<name>.jsonl."""
    return {
        "metric": metric.name,
        "results": values,
        "num_real": metric.num,
        "num_fake": metric.num,
        "options": {**metric.options, "num": metric.num},
        "size": list(metric.shape.size),
        "channels": metric.shape.channels,
        "data": {"title": dataset.title, "images": len(dataset), "fingerprint": dataset.fingerprint()},
        "ganzoo": ganzoo.__version__,
        "seconds": time.monotonic() - began,
        **about,
    }
