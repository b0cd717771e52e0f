"""Scoring a checkpoint: its generator against real images, or real images against each other.

What `gz metrics` does, for Python:

    model = ganzoo.load("snapshot.safetensors")
    score = Scorer(model, real_set(model), "swd").measure(seed=0)["results"]["swd"]
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo import evaluate
from ganzoo.checkpoint import recipe_hash
from ganzoo.data import open_set, section
from ganzoo.errors import DataError, UsageError
from ganzoo.evaluate import Progress
from ganzoo.interfaces import Dataset, Metric
from ganzoo.model import Model, tree
from ganzoo.recipe import component_from
from ganzoo.registry import registry


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


class Scorer:
    """A metric, a model and real images. The metric has the options that the model's recipe gives it, if it does.

    Args:
        model: the model
        dataset: real images
        name: of the metric
        num: images of each set, where the recipe's or the metric's own number is not wanted
    """

    def __init__(self, model: Model, dataset: Dataset, name: str, num: int | None = None) -> None:
        self.model, self.dataset = model, dataset
        cls = registry().get("metric", name)
        own = [m for m in model.header.recipe.get("metrics", []) if registry().get("metric", m["use"]) is cls]
        raw = {**(own[0] if own else {}), "use": name} | ({} if num is None else {"num": num})
        self.make = component_from("metric", raw, registry()).bind()
        self.recipe_seed: int = model.header.recipe["training"]["seed"]

    def measure(self, seed: int, progress: Progress | None = None) -> dict[str, Any]:
        """The model against the real images, measured as in training: a record of the values and their origin."""
        sizes = self.model.G.shape.sizes
        if self.model.stage.level < len(sizes) - 1:
            reached, last = (f"{h}x{w}" for h, w in (sizes[self.model.stage.level], sizes[-1]))
            raise DataError(
                f"{self.model.path} was still growing: it makes {reached} images, the metric wants {last}. "
                "Train it further."
            )
        model, head = self.model, self.model.header
        (record,) = evaluate.generator(
            model.G, model.stage, [self._metric(seed)], self.dataset, seed, model.device, progress
        )
        about = {"snapshot": model.path.name, "digest": head.digest, "recipe": recipe_hash(head.recipe)}
        return {**record, "compared": "model", "kimg": head.kimg, **about}

    def floor(self, seed: int, progress: Progress | None = None) -> dict[str, Any]:
        """One random half of the real images against the other: what a perfect model would get, at this number."""
        began, metric = time.monotonic(), self._metric(seed)
        one, other, size = evaluate.halves(self.dataset, 64, seed)
        evaluate.limit([metric], size)
        (values,) = evaluate.measure([metric], one, other, progress)
        return evaluate.provenance(metric, values, self.dataset, began, compared="real halves", seed=seed)

    def _metric(self, seed: int) -> Metric:
        metric: Metric = self.make(self.model.G.shape, seed)
        metric.options = dict(self.make.keywords)
        return metric


@dataclass(frozen=True)
class Score:
    """Several measurements that differ in their seed."""

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
