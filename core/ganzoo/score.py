"""Scoring: a checkpoint's generator against real images, real images against each other, or any two sets of images.

What `gz metrics` does, for Python:

    model = ganzoo.load("snapshot.safetensors")
    (record,) = Scorer(model, real_set(model), ["swd"]).measure(seed=0)
    record["results"]["swd"]
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ganzoo import evaluate
from ganzoo.checkpoint import recipe_hash
from ganzoo.component import options as options_of
from ganzoo.data import open_set, section
from ganzoo.errors import DataError, UsageError, nearest
from ganzoo.interfaces import Dataset, Metric, Probe, Progress, Shape, Stage
from ganzoo.model import Model, image_seeds, load, tree
from ganzoo.recipe import component_from
from ganzoo.registry import Registry, registry


def meaning(name: str, known: Registry) -> tuple[type[Metric], dict[str, Any]]:
    """The metric of a name, or of a published name such as fid50k_full, and the options that this one implies.

    Raises UsageError that lists the names.
    """
    published = {alias: cls for cls in known if issubclass(cls, Metric) for alias in cls.aliases}
    if name in published:
        cls = published[name]
        return cls, dict(cls.aliases[name])
    if name.rpartition(":")[2] not in known.names("metric"):
        names = sorted([*known.names("metric"), *published])
        raise UsageError(f"no metric '{name}'.{nearest(name, names)} Known: {', '.join(names)}.")
    return cast(type[Metric], known.get("metric", name)), {}


def factories(
    names: Sequence[str], recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]
) -> "list[partial[Metric]]":
    """Metrics with the options that their names imply, or those that a recipe gives them, or their own.

    `options` go to all metrics that have them. Raises UsageError where none has.
    """
    known = registry()
    fields = [options_of(meaning(name, known)[0]).model_fields for name in names]
    for option in options:
        if not any(option in own for own in fields):
            raise UsageError(f"--set {option}: {' and '.join(names)} has no such option; see 'gz components show'.")
    own = [{k: v for k, v in options.items() if k in some} for some in fields]
    return [factory(name, recipe, num, some) for name, some in zip(names, own)]


def factory(name: str, recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]) -> "partial[Metric]":
    """One of them."""
    known = registry()
    cls, implied = meaning(name, known)
    given = [m for m in recipe.get("metrics", []) if known.get("metric", m["use"]) is cls]
    own = dict(given[0]) if given and not implied else {}
    use = name if name.rpartition(":")[2] == cls.name else f"{known.owner(cls)}:{cls.name}"
    raw = {**own, "use": use, **implied, **options} | ({} if num is None else {"num": num})
    bound: partial[Metric] = component_from("metric", raw, known).bind()
    return bound


def made(factories: Sequence["partial[Metric]"], shape: Shape, seed: int) -> list[Metric]:
    """Fresh metrics, to be filled once."""
    metrics = [make(shape, seed) for make in factories]
    for metric, make in zip(metrics, factories):
        metric.options = dict(make.keywords)
    return metrics


def real_set(model: Model, source: str | None = None) -> Dataset:
    """The images a model is compared with: those it was trained on, or others as `--data` names them.

    Others are read as the training's were (fit, filter), if they are of the same kind. Raises DataError, or UsageError
    where a checkpoint names no images.
    """
    recorded = model.header.recipe.get("dataset")
    shape, labels = model.G.shape, model.G.labels
    if source is not None:
        chosen = section(source, registry())
        same = recorded and registry().get("dataset", recorded["use"]) is registry().get("dataset", chosen["use"])
        options = recorded if same else {}
        return open_set(source, shape.size, shape.channels, labels, registry(), options)
    if not recorded:
        raise UsageError(f"{model.path} does not say which images it was trained on: add --data PATH.")
    try:
        return tree(model.path, model.header)["dataset"].bind()(shape.size, shape.channels, labels)
    except DataError as err:
        raise DataError(
            f"the training images of {model.path} are not where they were: {str(err).split(':')[0]}. Add --data PATH."
        ) from None


def grown(model: Model) -> Stage:
    """The finest stage. Raises DataError for a model that was still growing."""
    sizes = model.G.shape.sizes
    if model.stage.level < len(sizes) - 1:
        reached, last = (f"{h}x{w}" for h, w in (sizes[model.stage.level], sizes[-1]))
        raise DataError(
            f"{model.path} was still growing: it makes {reached} images, the metric wants {last}. Train it further."
        )
    return model.stage


class Scorer:
    """Metrics, a model and real images. A metric has the options that the model's recipe gives it, if it does.

    Args:
        model: the model
        dataset: real images
        names: of the metrics; one pass of generation, and of each extractor, serves all of them
        num: images of each set, where the recipe's or the metric's own number is not wanted
        options: of the metrics, such as the extractor, for those that have them
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        names: Sequence[str],
        num: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.dataset = model, dataset
        self.factories = factories(names, model.header.recipe, num, options or {})
        self.recipe_seed: int = model.header.recipe["training"]["seed"]

    def measure(self, seed: int, progress: Progress | None = None) -> list[dict[str, Any]]:
        """The model against the real images, measured as in training: a record a metric of values and their origin."""
        model, head = self.model, self.model.header
        metrics = made(self.factories, model.G.shape, seed)
        records = evaluate.generator(model.G, grown(model), metrics, self.dataset, seed, model.device, progress)
        about = {"snapshot": model.path.name, "digest": head.digest, "recipe": recipe_hash(head.recipe)}
        return [{**record, "compared": "model", "kimg": head.kimg, **about} for record in records]

    def floor(self, seed: int, progress: Progress | None = None) -> list[dict[str, Any]]:
        """One random half of the real images against the other: what a perfect model would get, at this number."""
        began, metrics = time.monotonic(), made(self.factories, self.model.G.shape, seed)
        _no_probes(metrics)
        one, other, size = evaluate.halves(self.dataset, evaluate.BATCH, seed)
        evaluate.limit(metrics, size, size)
        return evaluate.sets(
            metrics, one, other, self.dataset, began, self.model.device, progress, compared="real halves", seed=seed
        )


def _no_probes(metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        if isinstance(metric, Probe):
            raise UsageError(f"'{metric.name}' asks a generator, so it needs a checkpoint and compares no images.")


# --- any two sets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """One of two sets that are compared: images of a folder, a zip or a registered dataset, or a model's."""

    source: str
    dataset: Dataset | None
    model: Model | None

    @property
    def count(self) -> int | None:
        """How many images there are; None for as many as wanted."""
        return None if self.dataset is None else len(self.dataset)

    def images(self, num: int | None, seed: int) -> Iterator[Tensor]:
        """uint8 images [N, C, H, W]."""
        if self.dataset is not None:
            yield from evaluate.real_images(self.dataset, num, evaluate.BATCH, seed)
        elif self.model is not None and num:
            seeds = image_seeds(seed, range(num))
            labels = _any_labels(self.model, num, seed)
            yield from evaluate.fakes(self.model.G, grown(self.model), seeds, self.model.device, labels)

    def about(self) -> dict[str, Any]:
        """What it is, for the record."""
        if self.dataset is not None:
            return evaluate.described(self.dataset)
        assert self.model is not None
        return {"title": self.model.path.name, "digest": self.model.header.digest, "kimg": self.model.header.kimg}


def _any_labels(model: Model, num: int, seed: int) -> Tensor:
    """Classes in equal parts at random: no set of images says how they are distributed."""
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.eye(model.G.labels)[torch.randint(model.G.labels, (num,), generator=draw)]
        if model.G.labels
        else (torch.zeros(num, 0))
    )


def is_checkpoint(source: str) -> bool:
    """Whether a source is a file that could be a checkpoint."""
    return Path(source).suffix == ".safetensors"


def origins(one: str, other: str, shape: Shape | None, device: str) -> tuple[Origin, Origin, Shape]:
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
        raise UsageError("two sets of images need a size at which they are compared: add --size WIDTHxHEIGHT.")

    def opened(source: str) -> Origin:
        if source in models:
            return Origin(source, None, models[source])
        try:
            return Origin(source, open_set(source, common.size, common.channels, 0, registry()), None)
        except UsageError as err:
            raise UsageError(str(err).removeprefix("--data ")) from None

    return opened(one), opened(other), common


def compare(
    one: Origin,
    other: Origin,
    names: Sequence[str],
    shape: Shape,
    *,
    seed: int = 0,
    num: int | None = None,
    options: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Metrics of the first set, with the second one as the real images: a record each."""
    began = time.monotonic()
    metrics = made(factories(names, {}, num, options or {}), shape, seed)
    _no_probes(metrics)
    wanted = max(m.num if m.num_real is None else m.num_real for m in metrics)
    evaluate.limit(metrics, wanted if other.count is None else other.count, one.count)
    fake = one.images(max(m.num for m in metrics), seed)
    real = other.images(max(m.num_real or 0 for m in metrics), seed + 1 if other.source == one.source else seed)
    about = {"judged": one.about(), "compared": f"{one.source} with {other.source}", "seed": seed}
    return evaluate.sets(metrics, fake, real, other.dataset, began, device, progress, reference=other.about(), **about)


# --- several measurements --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """Several measurements of one metric that differ in their seed."""

    records: list[dict[str, Any]]
    mean: dict[str, float]
    spread: dict[str, float]  # sample standard deviations; empty for one measurement

    def record(self) -> dict[str, Any]:
        """As one JSON value: the record itself, or mean and spread over the records."""
        if len(self.records) == 1:
            return self.records[0]
        return {"metric": self.records[0]["metric"], "results": self.mean, "spread": self.spread, "runs": self.records}


def summarise(records: Sequence[dict[str, Any]]) -> Score:
    """Mean and spread of the values of several measurements."""
    columns = {name: [r["results"][name] for r in records] for name in records[0]["results"]}
    spread = {name: statistics.stdev(values) for name, values in columns.items()} if len(records) > 1 else {}
    return Score(list(records), {name: statistics.fmean(values) for name, values in columns.items()}, spread)
