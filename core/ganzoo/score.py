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

import torch

from ganzoo import evaluate
from ganzoo.checkpoint import recipe_hash
from ganzoo.data import class_labels, open_set, section
from ganzoo.errors import DataError, UsageError
from ganzoo.evaluate import Progress
from ganzoo.interfaces import Dataset, Metric
from ganzoo.model import Model, fakes, tree
from ganzoo.recipe import component_from
from ganzoo.registry import registry
from ganzoo.trainer import seed_of


def real_set(model: Model, source: str | None = None) -> Dataset:
    """The images a model is compared with: those it was trained on, or others as `--data` names them.

    Others are read as the training's were (fit, filter), if they are of the same kind. Raises DataError, or UsageError
    where a checkpoint names no images.
    """
    recorded = model.header.recipe.get("dataset")
    shape, labels = model.G.shape, model.G.labels
    if source is not None:
        chosen = section(source, registry())
        options = recorded if recorded and recorded["use"] == chosen["use"] else {}
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
        own: list[dict[str, Any]] = [m for m in model.header.recipe.get("metrics", []) if m["use"] == cls.name]
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
        metric, began = self._metric(seed, len(self.dataset)), time.monotonic()
        labels = (
            class_labels(self.dataset, metric.num, torch.Generator().manual_seed(seed_of(1))).numpy()
            if self.model.G.labels
            else None
        )
        made = fakes(self.model.G, metric.num, 32, seed, self.model.device, labels)
        values = evaluate.measure([metric], made, evaluate.real_images(self.dataset, metric.num, 64, seed), progress)
        return self._record(metric, values[metric.name], seed, began, "model")

    def floor(self, seed: int, progress: Progress | None = None) -> dict[str, Any]:
        """One random half of the real images against the other: what a perfect model would get, at this number."""
        began = time.monotonic()
        one, other, size = evaluate.halves(self.dataset, 64, seed)
        metric = self._metric(seed, size)
        values = evaluate.measure([metric], one, other, progress)
        return self._record(metric, values[metric.name], seed, began, "real halves")

    def _metric(self, seed: int, available: int) -> Metric:
        metric: Metric = self.make(self.model.G.shape, seed)
        evaluate.limit([metric], available)
        return metric

    def _record(
        self, metric: Metric, values: dict[str, float], seed: int, began: float, compared: str
    ) -> dict[str, Any]:
        head = self.model.header
        data = {"title": self.dataset.title, "images": len(self.dataset), "fingerprint": self.dataset.fingerprint()}
        about = (
            {
                "snapshot": self.model.path.name,
                "digest": head.digest,
                "recipe": recipe_hash(head.recipe),
                "kimg": head.kimg,
                "ema": True,
                "psi": 1.0,
                "noise": "random",
            }
            if compared == "model"
            else {}
        )
        return evaluate.provenance(
            metric, values, compared=compared, seed=seed, data=data, seconds=time.monotonic() - began, **about
        )


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
