"""Scoring: a checkpoint's generator against real images, real images against each other, or any two sets of images.

As `gz metrics` does, from Python:

    model = ganzoo.load("snapshot.safetensors")
    (record,) = Scorer(model, real_set(model), ["swd"]).measure(seed=0)
    record["results"]["swd"]
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo.errors import DataError, UsageError, ZooError
from ganzoo.evaluation import evaluate, images
from ganzoo.evaluation.choose import build_metrics, metric_factories, refuse_generator_metrics, unready
from ganzoo.interfaces import Dataset, Stage
from ganzoo.io.hashes import recipe_hash
from ganzoo.model.model import Model
from ganzoo.recipe.datasets import open_set, section
from ganzoo.registry.lookup import registry
from ganzoo.types import Progress


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
        raise UsageError("does not say which images it was trained on", place=str(model.path), cure="add --data PATH")
    try:
        return model.recipe["dataset"].bind()(shape.size, shape.channels, labels)
    except DataError as err:
        fault = f"the training images of {model.path} are not where they were: {err.statement}."
        raise DataError(fault, cure="add --data PATH") from None


def require_grown(model: Model) -> Stage:
    """Return the finest stage. Raises DataError for a model that was still growing."""
    sizes = model.G.shape.sizes
    if model.stage.level < len(sizes) - 1:
        reached, last = (f"{h}x{w}" for h, w in (sizes[model.stage.level], sizes[-1]))
        fault = f"was still growing: it makes {reached} images, the metric wants {last}."
        raise DataError(fault, place=str(model.path), cure="train it further")
    return model.stage


class Scorer:
    """Metrics, a model and real images. A metric has the options that the model's recipe gives it, if it does.

    Args:
        model: the model
        dataset: real images
        names: the metrics; one pass of generation, and of each extractor, serves all of them
        num: images of each set; None for the recipe's number, or the metric's own
        options: options such as the extractor, each for the metrics that have it
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        names: Sequence[str],
        num: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.dataset, self.names = model, dataset, list(names)
        self.factories = metric_factories(names, model.header.recipe, num, options or {})
        self.recipe_seed: int = model.header.recipe["training"]["seed"]

    def leave_out_unready(self) -> dict[str, ZooError]:
        """Measure no more what lacks weights or classifiers; return these metrics by name, and why each is left out.

        Raises the first one's error where no metric is left.
        """
        left_out = unready(self.names, build_metrics(self.factories, self.model.G.shape, self.recipe_seed))
        pairs = [(name, make) for name, make in zip(self.names, self.factories) if name not in left_out]
        self.names, self.factories = [name for name, _ in pairs], [make for _, make in pairs]
        return left_out

    def measure(self, seed: int, progress: Progress | None = None) -> list[dict[str, Any]]:
        """The model against the real images, measured as in training: a record a metric of values and their origin."""
        model, head = self.model, self.model.header
        metrics = build_metrics(self.factories, model.G.shape, seed)
        records = evaluate.measure_generator(
            model.G, require_grown(model), metrics, self.dataset, seed, model.device, progress
        )
        about = {"snapshot": model.path.name, "digest": head.digest, "recipe": recipe_hash(head.recipe)}
        return [{**record, "compared": "model", "kimg": head.kimg, **about} for record in records]

    def floor(self, seed: int, progress: Progress | None = None) -> list[dict[str, Any]]:
        """One random half of the real images against the other: what a perfect model would get, at this number."""
        began, metrics = time.monotonic(), build_metrics(self.factories, self.model.G.shape, seed)
        refuse_generator_metrics(metrics)
        one, other, size = images.halves(self.dataset, images.BATCH, seed)
        evaluate.limit(metrics, size, size)
        return evaluate.measure_sets(
            metrics, one, other, self.dataset, began, self.model.device, progress, compared="real halves", seed=seed
        )


@dataclass(frozen=True)
class Score:
    """Several measurements of one metric that differ in their seed."""

    records: list[dict[str, Any]]
    mean: dict[str, float]
    spread: dict[str, float]  # sample standard deviations; empty for one measurement

    def record(self) -> dict[str, Any]:
        """Return one JSON value: the record itself, or mean and spread over the records."""
        if len(self.records) == 1:
            return self.records[0]
        return {"metric": self.records[0]["metric"], "results": self.mean, "spread": self.spread, "runs": self.records}


def summarise(records: Sequence[dict[str, Any]]) -> Score:
    """Mean and spread of the values of several measurements."""
    columns = {name: [r["results"][name] for r in records] for name in records[0]["results"]}
    spread = {name: statistics.stdev(values) for name, values in columns.items()} if len(records) > 1 else {}
    return Score(list(records), {name: statistics.fmean(values) for name, values in columns.items()}, spread)
