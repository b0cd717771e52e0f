"""TODO docstring."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ganzoo.interfaces import Features, Metric
from ganzoo.registry.component import Make


class Extractors:
    """The feature extractors of several metrics, each built once and run once a batch."""

    def __init__(self, metrics: Sequence[Metric], channels: int, device: torch.device) -> None:
        self.device, self.built = device, dict[str, Features]()
        for metric in metrics:
            if metric.features is not None and self._key(metric.features) not in self.built:
                eye = metric.features(channels).to(device).eval().requires_grad_(False)
                self.built[self._key(metric.features)] = eye

    def of(self, metric: Metric) -> Features | None:
        """The extractor of a metric."""
        return None if metric.features is None else self.built[self._key(metric.features)]

    def looking(self, batch: Tensor) -> "Callable[[Metric], Tensor]":
        """What each metric sees of a batch of images: the images, or the features that it named."""
        seen: dict[str, Mapping[str, Tensor]] = {}

        def view(metric: Metric) -> Tensor:
            if metric.features is None:
                return batch
            key = self._key(metric.features)
            if key not in seen:
                with torch.inference_mode():
                    seen[key] = {tap: t.cpu() for tap, t in self.built[key](batch.to(self.device)).items()}
            return seen[key][metric.tap]

        return view

    @staticmethod
    def _key(make: Make[Features]) -> str:
        bound = cast("partial[Any]", make)
        if isinstance(bound, partial):
            return f"{bound.func.__module__}.{bound.func.__qualname__} {sorted(map(str, bound.keywords.items()))}"
        return f"{make!r}"
