"""Comparing any two sets of images, or generators, by metrics: `gz metrics compare`."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import DataError, UsageError, ZooError
from ganzoo.evaluation import evaluate, images, record
from ganzoo.evaluation.choose import build_metrics, metric_factories, refuse_generator_metrics, unready
from ganzoo.evaluation.score import require_grown
from ganzoo.interfaces import Dataset, Shape
from ganzoo.model.model import Model, load
from ganzoo.recipe.datasets import image_sizes, open_set
from ganzoo.registry.lookup import registry
from ganzoo.training.seeds import image_seeds
from ganzoo.types import Progress, Size


@dataclass(frozen=True)
class ImageSource:
    """A set of images to compare: those of a folder, a zip or a registered dataset, or a model's."""

    source: str
    dataset: Dataset | None
    model: Model | None

    @property
    def count(self) -> int | None:
        """Number of images; None for a model, which makes as many as wanted."""
        return None if self.dataset is None else len(self.dataset)

    def images(self, num: int | None, seed: int) -> Iterator[Tensor]:
        """Yield batches of uint8 images [N, C, H, W], `num` in all; those of a model are made from the seed."""
        if self.dataset is not None:
            yield from images.real_images(self.dataset, num, images.BATCH, seed)
        elif self.model is not None and num:
            seeds = image_seeds(seed, range(num))
            labels = _any_labels(self.model, num, seed)
            yield from images.generated_images(
                self.model.G, require_grown(self.model), seeds, self.model.device, labels
            )

    def about(self) -> dict[str, Any]:
        """Describe the set for the record."""
        if self.dataset is not None:
            return record.describe_dataset(self.dataset)
        assert self.model is not None
        return {"title": self.model.path.name, "digest": self.model.header.digest, "kimg": self.model.header.kimg}


def _any_labels(model: Model, num: int, seed: int) -> Tensor:
    """Draw labels [num, K], each class equally likely: no set of images says how they are distributed."""
    if not model.G.labels:
        return torch.zeros(num, 0)
    classes = torch.randint(model.G.labels, (num,), generator=torch.Generator().manual_seed(seed))
    return torch.eye(model.G.labels)[classes]


def is_checkpoint(source: str) -> bool:
    """Whether a source is named as a checkpoint."""
    return Path(source).suffix == ".safetensors"


def are_whole(sizes: Collection[Size], size: Size) -> bool:
    """Whether images of these sizes, (height, width), are compared whole at a size: all have its proportions."""
    return all(height * size[1] == width * size[0] for height, width in sizes)


def common_size(sizes: Collection[Size]) -> Size:
    """The size, (height, width), at which images are compared, of all sizes that they have.

    The smallest one if all have the same proportions, so that images are compared whole; else the square of the
    smallest side, so that the middle of each is compared.
    """
    smallest = min(sizes)
    side = min(min(size) for size in sizes)
    return smallest if are_whole(sizes, smallest) else (side, side)


def sizes_of(source: str, channels: int) -> set[Size]:
    """Sizes, (height, width), of a source's images before they are fitted; none for a set that draws its own.

    Raises UsageError or DataError as `open_sources`.
    """
    return image_sizes(open_set(source, (1, 1), channels, 0, registry(), flag=""))


def open_sources(one: str, other: str, shape: Shape | None, device: str) -> tuple[ImageSource, ImageSource, Shape]:
    """Open two sets at one size: that of the model where there is one, else `shape`.

    Raises UsageError where no size is known, DataError where two models make images of different sizes.
    """
    models = {source: load(source, device) for source in (one, other) if is_checkpoint(source)}
    shapes = {(*model.G.shape.size, model.G.shape.channels): model.G.shape for model in models.values()}
    if len(shapes) > 1:
        first, second = (f"{s.size[1]}x{s.size[0]} with {s.channels} channels" for s in shapes.values())
        raise DataError(f"{one} makes images of {first} and {other} of {second}: they cannot be compared.")
    common = next(iter(shapes.values()), shape)
    if common is None:
        raise UsageError("two sets of images need a size at which they are compared", cure="add --size WIDTHxHEIGHT")

    def open_source(source: str) -> ImageSource:
        if source in models:
            return ImageSource(source, None, models[source])
        dataset = open_set(source, common.size, common.channels, 0, registry(), flag="")
        return ImageSource(source, dataset, None)

    return open_source(one), open_source(other), common


def left_out(
    names: Sequence[str], shape: Shape, num: int | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, ZooError]:
    """Return, by name, the metrics that lack weights, and why. Raises the first error where no metric is left.

    Raises UsageError for a metric that needs a generator.
    """
    metrics = build_metrics(metric_factories(names, {}, num, options or {}), shape, 0)
    refuse_generator_metrics(metrics)
    return unready(names, metrics)


def compare(
    one: ImageSource,
    other: ImageSource,
    names: Sequence[str],
    shape: Shape,
    *,
    seed: int = 0,
    num: int | None = None,
    options: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measure the first set, with the second one as the real images; return a record for each metric."""
    began = time.monotonic()
    metrics = build_metrics(metric_factories(names, {}, num, options or {}), shape, seed)
    refuse_generator_metrics(metrics)
    wanted = max(m.num if m.num_real is None else m.num_real for m in metrics)
    evaluate.limit(metrics, wanted if other.count is None else other.count, one.count)
    fake = one.images(max(m.num for m in metrics), seed)
    real = other.images(max(m.num_real or 0 for m in metrics), seed + 1 if other.source == one.source else seed)
    about = {"judged": one.about(), "compared": f"{one.source} with {other.source}", "seed": seed}
    return evaluate.measure_sets(
        metrics, fake, real, other.dataset, began, device, progress, reference=other.about(), **about
    )
