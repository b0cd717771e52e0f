"""TODO docstring."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.interfaces import GeneratorMetric, Metric, Shape
from ganzoo.recipe.node import component_from
from ganzoo.registry.component import options as options_of
from ganzoo.registry.lookup import Registry, registry


def resolve_metric(name: str, known: Registry) -> tuple[type[Metric], dict[str, Any]]:
    """The metric of a name, or of a published name such as fid50k_full, and the options that this one implies.

    Raises UsageError that lists the names.
    """
    published = {alias: cls for cls in known if issubclass(cls, Metric) for alias in cls.aliases}
    if name in published:
        cls = published[name]
        return cls, dict(cls.aliases[name])
    if name.rpartition(":")[2] not in known.names("metric"):
        names = sorted([*known.names("metric"), *published])
        raise UsageError(f"no metric '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}.")
    return cast(type[Metric], known.get("metric", name)), {}


def metric_factories(
    names: Sequence[str], recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]
) -> "list[partial[Metric]]":
    """Metrics with the options that their names imply, or those that a recipe gives them, or their own.

    `options` go to all metrics that have them. Raises UsageError where none has.
    """
    known = registry()
    fields = [options_of(resolve_metric(name, known)[0]).model_fields for name in names]
    for option in options:
        if not any(option in own for own in fields):
            raise UsageError(f"--set {option}: {' and '.join(names)} has no such option; see 'gz components show'.")
    own = [{k: v for k, v in options.items() if k in some} for some in fields]
    return [metric_factory(name, recipe, num, some) for name, some in zip(names, own)]


def metric_factory(
    name: str, recipe: Mapping[str, Any], num: int | None, options: Mapping[str, Any]
) -> "partial[Metric]":
    """One of them."""
    known = registry()
    cls, implied = resolve_metric(name, known)
    given = [m for m in recipe.get("metrics", []) if known.get("metric", m["use"]) is cls]
    own = dict(given[0]) if given and not implied else {}
    use = name if name.rpartition(":")[2] == cls.name else f"{known.owner(cls)}:{cls.name}"
    raw = {**own, "use": use, **implied, **options} | ({} if num is None else {"num": num})
    bound: partial[Metric] = component_from("metric", raw, known).bind()
    return bound


def build_metrics(factories: Sequence["partial[Metric]"], shape: Shape, seed: int) -> list[Metric]:
    """Fresh metrics, to be filled once."""
    metrics = [make(shape, seed) for make in factories]
    for metric, make in zip(metrics, factories):
        metric.options = dict(make.keywords)
    return metrics


def refuse_generator_metrics(metrics: Sequence[Metric]) -> None:
    """Raise UsageError for a metric that asks a generator, where there are only images."""
    for metric in metrics:
        if isinstance(metric, GeneratorMetric):
            raise UsageError(f"'{metric.name}' asks a generator, so it needs a checkpoint and compares no images.")
