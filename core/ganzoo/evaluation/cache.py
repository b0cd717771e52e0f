"""Statistics that metrics have accumulated of real images, kept between measurements.

A kept file is named by a hash of everything that it depends on, so another image, extractor, filter or option never
finds it. It is a safetensors file; a damaged one is made anew.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from ganzoo.interfaces import Dataset, GeneratorMetric, Metric
from ganzoo.io.files import atomic_write, cache_dir
from ganzoo.io.tensors import open_tensors
from ganzoo.training import distributed
from ganzoo.version import __version__

Source = Callable[[Metric], Mapping[str, str] | None]  # Extractors.record: a metric's extractor, output and sha256


def key(metric: Metric, dataset: Dataset, seed: int, extractor: Mapping[str, str] | None) -> str:
    """Return a hash of all that a metric's real statistics depend on.

    These are images, their fitting, extractor, options and version. `extractor` is what `Extractors.record` says of it.
    """
    facts = {
        "metric": [type(metric).__module__, metric.name],
        "options": {k: str(v) for k, v in sorted(metric.options.items()) if k not in ("num", "num_real", "extractor")},
        "data": dataset.fingerprint(),
        "images": metric.num_real,
        "seed": seed if (metric.num_real or 0) < len(dataset) else None,
        "shape": [metric.shape.channels, *metric.shape.size],
        "extractor": extractor and [extractor["name"], extractor["output"], extractor["sha256"]],
        "ganzoo": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _file(metric: Metric, dataset: Dataset, seed: int, source: Source) -> Path | None:
    if isinstance(metric, GeneratorMetric) or not metric.cacheable or metric.num_real == 0:
        return None
    return cache_dir() / "statistics" / f"{metric.name}-{key(metric, dataset, seed, source(metric))}.safetensors"


def recall(metrics: Sequence[Metric], dataset: Dataset, seed: int, source: Source) -> list[Metric]:
    """Give the metrics what is kept of the real images. Returns those for which there was something."""
    recalled = []
    for metric in metrics:
        path, kept = _file(metric, dataset, seed, source), None
        if path is not None and path.is_file():
            with suppress(SafetensorError, OSError, ValueError), open_tensors(path) as file:
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        if distributed.any_rank(kept is None):  # processes on several machines: each has a cache of its own
            continue
        with suppress(KeyError, RuntimeError):
            metric.merge("real", kept or {})
            recalled.append(metric)
    return recalled


def remember(metrics: Sequence[Metric], dataset: Dataset, seed: int, source: Source) -> None:
    """Keep what the metrics have accumulated of the real images. A folder that cannot be written is no failure."""
    for metric in metrics:
        path = _file(metric, dataset, seed, source)
        if path is None or path.exists():
            continue
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                save_file({k: t.contiguous() for k, t in metric.state("real").items()}, temporary)
