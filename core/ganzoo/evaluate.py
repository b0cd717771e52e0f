"""Measuring: one pass over generated and real images for all metrics, and a record of what exactly was measured."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import ganzoo
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Metric, Which

Progress = Callable[[str, int, int], None]


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
) -> dict[str, dict[str, float]]:
    """{metric: {value name: value}} from uint8 images; each metric takes the first `num` of either set."""
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
    return {metric.name: metric.compute() for metric in metrics}


def provenance(metric: Metric, values: dict[str, float], **about: Any) -> dict[str, Any]:
    """A metric's result with all that is needed to know what was measured, for metric-<name>.jsonl."""
    options = {k: v for k, v in vars(metric).items() if isinstance(v, int | float | str) and not k.startswith("_")}
    return {
        "metric": metric.name,
        "results": values,
        "num_real": metric.num,
        "num_fake": metric.num,
        "options": options,
        "size": list(metric.shape.size),
        "channels": metric.shape.channels,
        "ganzoo": ganzoo.__version__,
        **about,
    }
