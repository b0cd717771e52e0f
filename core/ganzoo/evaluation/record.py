"""The record of a measurement: values, and all that is needed to know what was measured."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ganzoo.interfaces import Dataset, Metric
from ganzoo.version import __version__


def provenance(
    metric: Metric,
    values: dict[str, float],
    dataset: Dataset | None,
    began: float,
    extractor: Mapping[str, str] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """A metric's values with all that is needed to know what was measured, for metric-<name>.jsonl."""
    return {
        "metric": metric.name,
        "results": values,
        "primary": metric.primary,
        "num_real": metric.num_real,
        "num_fake": metric.num,
        "options": {name: value for name, value in metric.options.items() if name != "extractor"},
        "size": list(metric.shape.size),
        "channels": metric.shape.channels,
        "data": None if dataset is None else describe_dataset(dataset),
        "extractor": extractor,
        "ganzoo": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began,
        **about,
    }


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Which images, how many, and how they were fitted to the size."""
    return {
        "title": dataset.title,
        "images": len(dataset),
        "fingerprint": dataset.fingerprint(),
        "fitted": dataset.fitted,
    }
