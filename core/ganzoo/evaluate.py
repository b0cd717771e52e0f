"""Measuring: one pass over generated and real images for all metrics, and a record of what exactly was measured."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import ganzoo
from ganzoo import cache
from ganzoo.component import Make
from ganzoo.data import class_labels, to_uint8
from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset, Features, Generator, Metric, Probe, Progress, Stage, Which
from ganzoo.learner import seed_of
from ganzoo.model import image_seeds, latents
from ganzoo.ranks import ALONE, Share, any_of, gather, place, share

BATCH = 32  # images computed at once


def real_images(dataset: Dataset, num: int | None, batch: int, seed: int = 0, at: Share = ALONE) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W]: the first `num` of a permutation of the set; all of them always in one order."""
    whole = num is None or num >= len(dataset)
    order = np.random.default_rng([0 if whole else seed, len(dataset)]).permutation(len(dataset))[:num]
    yield from _images(dataset, order[share(len(order), at)], batch)


def halves(dataset: Dataset, batch: int, seed: int = 0) -> tuple[Iterator[Tensor], Iterator[Tensor], int]:
    """Two disjoint random halves of a set, and their size: their distance is the noise floor of a metric."""
    order = np.random.default_rng([seed, len(dataset)]).permutation(len(dataset))
    n = len(dataset) // 2
    return _images(dataset, order[:n], batch), _images(dataset, order[n : 2 * n], batch), n


def _images(dataset: Dataset, indices: NDArray[np.int64], batch: int) -> Iterator[Tensor]:
    for start in range(0, len(indices), batch):
        yield torch.from_numpy(np.stack([dataset.image(int(i)) for i in indices[start : start + batch]]))


def limit(metrics: Sequence[Metric], real: int, fake: int | None = None) -> None:
    """Let no metric ask for more images than there are, and the record say so.

    Both sets shrink alike where a metric compares sets of one size.

    Args:
        metrics: whose numbers are set
        real: real images there are
        fake: generated images there are; None for as many as wanted
    """
    for metric in metrics:
        if fake is not None:
            metric.num = min(metric.num, fake)
        if metric.num_real != 0:
            metric.num_real = real if metric.num_real is None else min(metric.num_real, real)
            if metric.paired:
                metric.num = metric.num_real = min(metric.num, metric.num_real)
        few = metric.num if metric.num_real == 0 else min(metric.num, metric.num_real or 0)
        if few < 2:
            raise DataError(f"{few} images are too few to measure a distribution ({metric.name}): give at least 2.")


class Eyes:
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


def feed(
    metrics: Sequence[Metric],
    which: Which,
    images: Iterable[Tensor],
    eyes: Eyes,
    progress: Progress | None = None,
    total: int = 0,
) -> None:
    """Show a set's images to every metric that wants more of them."""
    seen, total = 0, total or max((metric.wanted(which) or 0 for metric in metrics), default=0)
    for batch in images:
        view = eyes.looking(batch)
        for metric in metrics:
            wanted = metric.wanted(which)
            if wanted is None or seen < wanted:
                metric.update(view(metric)[: None if wanted is None else wanted - seen], which)
        seen += len(batch)
        if progress:
            progress(which, min(seen, total), total)
        if seen >= total:
            break


def sets(
    metrics: Sequence[Metric],
    fake: Iterable[Tensor],
    real: Iterable[Tensor],
    dataset: Dataset | None,
    began: float,
    device: torch.device | None = None,
    progress: Progress | None = None,
    **about: Any,
) -> list[dict[str, Any]]:
    """Measure two sets of uint8 images, of which a metric takes the first it wants: a record each.

    Args:
        metrics: their numbers fitting the sets, as `limit` makes them
        fake: the images that are judged
        real: the images they are compared with
        dataset: what the real ones are of, if they are of one
        began: time.monotonic() at the beginning
        device: where extractors run
        progress: what to tell
        about: more for the records
    """
    eyes = Eyes(metrics, metrics[0].shape.channels, device or torch.device("cpu"))
    lookers = [m for m in metrics if m.num_real != 0]
    if lookers:
        feed(lookers, "real", real, eyes, progress)
    feed(metrics, "fake", fake, eyes, progress)
    return [provenance(m, m.compute(), dataset, began, eyes.of(m), **about) for m in metrics]


def drawn_labels(dataset: Dataset, count: int, *seed: int) -> Tensor:
    """Labels [N, K] of images drawn from the set, the same for the same seed."""
    return class_labels(dataset, count, torch.Generator().manual_seed(seed_of(*seed)))


@torch.inference_mode()
def fakes(G: Generator, stage: Stage, seeds: Sequence[int], device: torch.device, labels: Tensor) -> Iterator[Tensor]:
    """uint8 images [N, C, H, W], a latent and a label [K] for each seed; noise is random, but the seed's own."""
    for start in range(0, len(seeds), BATCH):
        own = seeds[start : start + BATCH]
        label = labels[start : start + BATCH].to(device) if G.labels else None
        with G.noise("random", seeds=own):
            yield to_uint8(G(latents(own, G.z_dim).to(device), label, stage)[-1].cpu())


def generator(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    dataset: Dataset,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measure a generator against real images: for each metric a record of its values and of what was measured.

    Statistics of the real images are kept for the next time. Several processes share the work: each calls this, and
    all get the whole result. Raises DataError where the images do not allow it.
    """
    began, at = time.monotonic(), place()
    limit(metrics, len(dataset))
    eyes = Eyes(metrics, metrics[0].shape.channels, device)
    cached = cache.recall(metrics, dataset, seed, eyes.of)
    empty = copy.deepcopy(list(metrics)) if at != ALONE else []
    fault = ""
    try:
        _look(G, stage, metrics, cached, dataset, seed, eyes, device, progress, at)
    except DataError as err:  # perhaps of this process alone: the others must not wait for it
        fault = str(err)
    if any_of(bool(fault)):
        raise DataError(fault or "another process could not measure its share.")
    if empty:
        metrics = gather(metrics, empty, [i for i, m in enumerate(metrics) if m in cached], at)
    cache.remember(metrics, dataset, seed, eyes.of)
    about = {"seed": seed, "ema": True, "psi": 1.0, "noise": "random", "precision": "fp32", "device": device.type}
    return [provenance(m, m.compute(), dataset, began, eyes.of(m), **about) for m in metrics]


def _look(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    cached: Sequence[Metric],
    dataset: Dataset,
    seed: int,
    eyes: Eyes,
    device: torch.device,
    progress: Progress | None,
    at: Share,
) -> None:
    """Show this process's share of the images to all metrics."""
    fresh = [m for m in metrics if m not in cached and m.num_real != 0 and not isinstance(m, Probe)]
    for number in sorted({m.num_real or 0 for m in fresh}):  # another number is another sample of the set
        some = [m for m in fresh if m.num_real == number]
        mine = share(min(number, len(dataset)), at)
        feed(some, "real", real_images(dataset, number, BATCH, seed, at), eyes, progress, len(mine))
    lookers = [m for m in metrics if not isinstance(m, Probe)]
    if lookers:
        num = max(m.num for m in lookers)
        seeds = image_seeds(seed, range(num))
        _feed_fakes(G, stage, lookers, seeds, drawn_labels(dataset, num, 1), eyes, device, progress, at)
    for probe in (m for m in metrics if isinstance(m, Probe)):
        probe.rank, probe.world, probe.eye = *at, eyes.of(probe)
        probe.probe(G, stage, device, partial(drawn_labels, dataset), progress or (lambda what, done, total: None))


def _feed_fakes(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    seeds: Sequence[int],
    labels: Tensor,
    eyes: Eyes,
    device: torch.device,
    progress: Progress | None,
    at: Share,
) -> None:
    """Each process makes its share of what every metric wants: the metrics' numbers differ, so shares are cut apart."""
    if at == ALONE:
        feed(metrics, "fake", fakes(G, stage, seeds, device, labels), eyes, progress)
        return
    for number in sorted({m.num for m in metrics}):
        some, mine = [m for m in metrics if m.num == number], share(number, at)
        own = fakes(G, stage, [seeds[i] for i in mine], device, labels[mine.start : mine.stop])
        feed(some, "fake", own, eyes, progress, len(mine))


def provenance(
    metric: Metric,
    values: dict[str, float],
    dataset: Dataset | None,
    began: float,
    eye: Features | None = None,
    **about: Any,
) -> dict[str, Any]:
    """A metric's values with all that is needed to know what was measured, for metric-<name>.jsonl."""
    looked = {"name": type(eye).name, "tap": metric.tap, "sha256": eye.fingerprint} if eye else None
    return {
        "metric": metric.name,
        "results": values,
        "primary": metric.primary,
        "num_real": metric.num_real,
        "num_fake": metric.num,
        "options": {k: v for k, v in metric.options.items() if k != "extractor"} | {"num": metric.num},
        "size": list(metric.shape.size),
        "channels": metric.shape.channels,
        "data": None if dataset is None else described(dataset),
        "extractor": looked,
        "ganzoo": ganzoo.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began,
        **about,
    }


def described(dataset: Dataset) -> dict[str, Any]:
    """Which images, how many, and how they were fitted to the size."""
    return {
        "title": dataset.title,
        "images": len(dataset),
        "fingerprint": dataset.fingerprint(),
        "fitted": dataset.fitted,
    }
