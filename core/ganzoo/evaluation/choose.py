"""Metrics by their names: which class, with which options, built for one measurement."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from ganzoo.errors import UnknownComponent, UsageError, ZooError, did_you_mean
from ganzoo.evaluation.extractors import missing_weights
from ganzoo.interfaces import GeneratorMetric, Metric, Shape
from ganzoo.recipe.node import component_from, named, published_names
from ganzoo.registry.component import options as options_of
from ganzoo.registry.lookup import Registry, registry


def resolve_metric(name: str, known: Registry) -> tuple[type[Metric], dict[str, Any]]:
    """Return the metric of a name or of a published name such as fid50k_full, and the options that the name implies.

    Raises UsageError that lists the names.
    """
    try:
        cls, implied = named("metric", name, known)
    except UnknownComponent:
        names = sorted([*known.names("metric"), *published_names("metric", known)])
        raise UsageError(f"no metric '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}.") from None
    return cast(type[Metric], cls), implied


def metric_factories(
    names: Sequence[str], recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]
) -> "list[partial[Metric]]":
    """Metrics with the options that their names imply, or those that a recipe gives them, or their own.

    Args:
        names: names of metrics, or published ones such as fid50k_full
        recipe: a filled recipe, whose `metrics` may have options; may be empty
        num: images of each set; None for the recipe's or the metric's number
        options: options for all metrics that have them

    Raises UsageError for an option that no metric has.
    """
    known = registry()
    fields = [options_of(resolve_metric(name, known)[0]).model_fields for name in names]
    for option in options:
        if not any(option in each for each in fields):
            fault = f"{' and '.join(names)} has no such option; see 'gz components show'."
            raise UsageError(fault, place=f"--set {option}:")
    return [
        metric_factory(name, recipe, num, {k: v for k, v in options.items() if k in each})
        for name, each in zip(names, fields)
    ]


def metric_factory(
    name: str, recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]
) -> "partial[Metric]":
    """Return a metric's factory, which waits for shape and seed; like `metric_factories` for one name.

    `options` must be options of the metric.
    """
    known = registry()
    cls, implied = resolve_metric(name, known)
    entries = [m for m in recipe.get("metrics", []) if resolve_metric(m["use"], known)[0] is cls]
    from_recipe = dict(entries[0]) if entries and not implied else {}
    use = name if name.rpartition(":")[2] == cls.name else f"{known.owner(cls)}:{cls.name}"
    raw = {**from_recipe, "use": use, **implied, **options} | ({} if num is None else {"num": num})
    bound: partial[Metric] = component_from("metric", raw, known).bind()
    return bound


def build_metrics(factories: Sequence["partial[Metric]"], shape: Shape, seed: int) -> list[Metric]:
    """Fresh metrics, to be filled once."""
    return [make(shape, seed) for make in factories]


def unready(names: Sequence[str], metrics: Sequence[Metric]) -> dict[str, ZooError]:
    """Return, by name, the metrics that cannot be measured since weights or others are missing, and their errors.

    Args:
        names: as the user gave them
        metrics: one for each name

    Raises the first error where no metric is left.
    """
    faults = {name: fault for name, metric in zip(names, metrics) if (fault := missing_weights(metric))}
    if faults and len(faults) == len(set(names)):
        raise next(iter(faults.values()))
    return faults


def refuse_generator_metrics(metrics: Sequence[Metric]) -> None:
    """Raise UsageError for a metric that needs a generator, where there are only images."""
    for metric in metrics:
        if isinstance(metric, GeneratorMetric):
            raise UsageError(f"'{metric.name}' asks a generator, so it needs a checkpoint and compares no images.")
