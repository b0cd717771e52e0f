"""What metrics have accumulated of real images, kept between measurements.

A kept file is named by a hash of everything that it depends on, so another image, extractor, filter or option never
finds it. It is a safetensors file; a damaged one is made anew.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ganzoo.interfaces import Dataset, Features, GeneratorMetric, Metric
from ganzoo.io.files import atomic_write, cache_dir
from ganzoo.training import distributed
from ganzoo.version import __version__

Eye = Callable[[Metric], Features | None]


def key(metric: Metric, dataset: Dataset, seed: int, eye: Features | None) -> str:
    """A hash of all that a metric's real statistics depend on: images, their fitting, extractor, options, version."""
    facts = {
        "metric": [type(metric).__module__, metric.name],
        "options": {k: str(v) for k, v in sorted(metric.options.items()) if k not in ("num", "extractor")},
        "data": dataset.fingerprint(),
        "images": metric.num_real,
        "seed": seed if (metric.num_real or 0) < len(dataset) else None,
        "shape": [metric.shape.channels, *metric.shape.size],
        "extractor": None if eye is None else [type(eye).name, metric.tap, eye.fingerprint],
        "ganzoo": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _file(metric: Metric, dataset: Dataset, seed: int, eye: Eye) -> Path | None:
    if isinstance(metric, GeneratorMetric) or not metric.cacheable or metric.num_real == 0:
        return None
    return cache_dir() / "statistics" / f"{metric.name}-{key(metric, dataset, seed, eye(metric))}.safetensors"


def recall(metrics: Sequence[Metric], dataset: Dataset, seed: int, eye: Eye) -> list[Metric]:
    """Give the metrics what is kept of the real images. Returns those for which there was something."""
    found = []
    for metric in metrics:
        path, kept = _file(metric, dataset, seed, eye), None
        if path is not None and path.is_file():
            with suppress(SafetensorError, OSError, ValueError):
                kept = load_file(path)
        if distributed.any_rank(kept is None):  # processes on several machines: each has a cache of its own
            continue
        with suppress(KeyError, RuntimeError):
            metric.merge("real", kept or {})
            found.append(metric)
    return found


def remember(metrics: Sequence[Metric], dataset: Dataset, seed: int, eye: Eye) -> None:
    """Keep what the metrics have accumulated of the real images. A folder that cannot be written is no failure."""
    for metric in metrics:
        path = _file(metric, dataset, seed, eye)
        if path is None or path.exists():
            continue
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                save_file({k: t.contiguous() for k, t in metric.state("real").items()}, temporary)
