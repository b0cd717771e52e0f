"""Labels of images: those of a dataset, and those that generated images are given."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ganzoo.interfaces import Dataset
from ganzoo.training.seeds import seed_of

SAMPLED = 1_000  # labels that tell whether images have classes or other vectors


def labels_at(dataset: Dataset, indices: Iterable[int]) -> Tensor:
    """Return the labels of some images, float32 [N, K]."""
    rows = [dataset.label(int(i)) for i in indices]
    return torch.from_numpy(np.array(rows, np.float32).reshape(len(rows), dataset.labels))


def example_vector(dataset: Dataset) -> list[float] | None:
    """Return the label of an image, [K], where labels are no classes: with several ones, or with fractions; else None.

    It is one of the first SAMPLED images. A generator that was trained on such labels has never seen a class alone.
    """
    if not dataset.labels:
        return None
    for index in islice(range(len(dataset)), SAMPLED):
        label = dataset.label(index)
        if np.count_nonzero(label) != 1 or label.max() != 1:
            return [float(value) for value in label]
    return None


def class_labels(dataset: Dataset, count: int, generator: torch.Generator) -> Tensor:
    """Labels for generated images, float32 [count, K]: those of images drawn uniformly.

    So classes are as frequent as in the data. Without labels: [count, 0], and nothing is drawn.
    """
    if not dataset.labels:
        return torch.zeros(count, 0)
    indices = torch.randint(len(dataset), (count,), generator=generator, device=generator.device)
    return labels_at(dataset, indices.tolist())


def drawn_labels(dataset: Dataset, count: int, *seed: int) -> Tensor:
    """Like `class_labels`, the same for the same numbers of the seed."""
    return class_labels(dataset, count, torch.Generator().manual_seed(seed_of(*seed)))
