"""The extractors that metrics share: each is built once and run once a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import CheckpointError, ZooError
from ganzoo.interfaces import Extractor, Metric
from ganzoo.nn.pixels import to_unit
from ganzoo.registry.component import Make, default_of, options


def same_choice(one: Any, other: Any) -> bool:
    """Whether two factories of components build the same: one class, with equal options (defaults filled in)."""
    a, b = default_of(one), default_of(other)
    if a is None or b is None:
        return bool(one == other)
    if a[0] is not b[0]:
        return False
    fields = options(a[0]).model_fields
    first, second = ({name: given.get(name, field.default) for name, field in fields.items()} for _, given in (a, b))
    return all(same_choice(first[name], second[name]) for name in fields)


def missing_weights(metric: Metric) -> ZooError | None:
    """Return the error of a metric that lacks what it measures with, such as weights; it says what to do. Else None."""
    if fault := metric.missing():
        return fault
    choice = None if metric.extractor is None else default_of(metric.extractor)
    if metric.extractor is None or (choice and not getattr(choice[0], "needs_weights", True)):
        return None
    try:
        Extractors([metric], metric.shape.channels, torch.device("cpu"))
    except CheckpointError as err:
        return err
    return None


@dataclass
class _Shared:
    """An extractor with the outputs that metrics compare."""

    make: Make[Extractor]
    extractor: Extractor
    outputs: list[str] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)  # by output


class Extractors:
    """The extractors of several metrics: one for each class with its options.

    Raises CheckpointError where weights are missing or wrong.

    Args:
        metrics: whose slots they are built from
        channels: of the images
        device: where they run
    """

    def __init__(self, metrics: Sequence[Metric], channels: int, device: torch.device) -> None:
        self.device = device
        self._shared: list[_Shared] = []
        for metric in metrics:
            if metric.extractor is None:
                continue
            shared = self._of(metric)
            if shared is None:
                extractor = metric.extractor(channels).to(device).eval().requires_grad_(False)
                shared = _Shared(metric.extractor, extractor)
                self._shared.append(shared)
            if metric.output not in shared.outputs:
                shared.outputs.append(metric.output)
        for shared in self._shared:
            shared.extractor.prepare(shared.outputs)

    def _of(self, metric: Metric) -> _Shared | None:
        return next((shared for shared in self._shared if same_choice(shared.make, metric.extractor)), None)

    def of(self, metric: Metric) -> Extractor | None:
        """Return the extractor of a metric, which may be a copy of one that this was built for; None without a slot."""
        shared = self._of(metric)
        return shared.extractor if shared else None

    def record(self, metric: Metric) -> dict[str, str] | None:
        """Return what records say of a metric's extractor: name, output, and sha256 of all that decides the output."""
        shared = self._of(metric)
        if shared is None:
            return None
        if metric.output not in shared.fingerprints:
            shared.fingerprints[metric.output] = shared.extractor.fingerprint(metric.output)
        return {
            "name": shared.extractor.name,
            "output": metric.output,
            "sha256": shared.fingerprints[metric.output],
        }

    def features_of(self, batch: Tensor) -> Callable[[Metric], Tensor]:
        """Return a function from a metric to what it compares of uint8 images [N, C, H, W].

        The images themselves, or float32 features [N, D] on the CPU; each extractor runs once, when it is first asked.
        """
        computed: list[tuple[_Shared, Mapping[str, Tensor]]] = []

        def features(metric: Metric) -> Tensor:
            shared = self._of(metric)
            if shared is None:
                return batch
            known = next((maps for other, maps in computed if other is shared), None)
            if known is None:
                with torch.inference_mode():
                    outputs = shared.extractor(to_unit(batch.to(self.device)), shared.outputs)
                    known = {name: t.cpu() for name, t in outputs.items()}
                computed.append((shared, known))
            return known[metric.output]

        return features
