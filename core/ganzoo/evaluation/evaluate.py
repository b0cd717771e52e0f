"""Measuring: one pass over generated and real images for all metrics, and a record of what exactly was measured."""

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.evaluation import cache
from ganzoo.evaluation.extractors import Extractors
from ganzoo.evaluation.images import BATCH, generated_images, real_images
from ganzoo.evaluation.record import provenance
from ganzoo.evaluation.shares import gather, share
from ganzoo.interfaces import Dataset, Generator, GeneratorMetric, Metric, ProbeContext, Stage, Which
from ganzoo.training.distributed import ONE_PROCESS, RankAndWorld, any_rank, rank_and_world
from ganzoo.training.labels import drawn_labels
from ganzoo.training.seeds import image_seeds
from ganzoo.types import Progress


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


def update_all(
    metrics: Sequence[Metric],
    which: Which,
    images: Iterable[Tensor],
    extractors: Extractors,
    progress: Progress | None = None,
    total: int = 0,
) -> None:
    """Show a set's images to every metric that wants more of them."""
    seen, total = 0, total or max((metric.wanted(which) or 0 for metric in metrics), default=0)
    for batch in images:
        features = extractors.features_of(batch)
        for metric in metrics:
            wanted = metric.wanted(which)
            if wanted is None or seen < wanted:
                metric.update(features(metric)[: None if wanted is None else wanted - seen], which)
        seen += len(batch)
        if progress:
            progress(which, min(seen, total), total)
        if seen >= total:
            break


def measure_sets(
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
    extractors = Extractors(metrics, metrics[0].shape.channels, device or torch.device("cpu"))
    with_real = [m for m in metrics if m.num_real != 0]
    if with_real:
        update_all(with_real, "real", real, extractors, progress)
    update_all(metrics, "fake", fake, extractors, progress)
    return [provenance(m, m.compute(), dataset, began, extractors.record(m), **about) for m in metrics]


def measure_generator(
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
    began, at = time.monotonic(), rank_and_world()
    limit(metrics, len(dataset))
    extractors = Extractors(metrics, metrics[0].shape.channels, device)
    cached = cache.recall(metrics, dataset, seed, extractors.record)
    empty = copy.deepcopy(list(metrics)) if at != ONE_PROCESS else []
    fault = ""
    try:
        _accumulate(G, stage, metrics, cached, dataset, seed, extractors, device, progress, at)
    except DataError as err:  # perhaps of this process alone: the others must not wait for it
        fault = str(err)
    if any_rank(bool(fault)):
        raise DataError(fault or "another process could not measure its share.")
    if empty:
        metrics = gather(metrics, empty, [i for i, m in enumerate(metrics) if m in cached], at)
    cache.remember(metrics, dataset, seed, extractors.record)
    about = {"seed": seed, "ema": True, "psi": 1.0, "noise": "random", "precision": "fp32", "device": device.type}
    return [provenance(m, m.compute(), dataset, began, extractors.record(m), **about) for m in metrics]


def _accumulate(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    cached: Sequence[Metric],
    dataset: Dataset,
    seed: int,
    extractors: Extractors,
    device: torch.device,
    progress: Progress | None,
    at: RankAndWorld,
) -> None:
    """Show this process's share of the images to all metrics."""
    fresh = [m for m in metrics if m not in cached and m.num_real != 0 and not isinstance(m, GeneratorMetric)]
    for number in sorted({m.num_real or 0 for m in fresh}):  # another number is another sample of the set
        some = [m for m in fresh if m.num_real == number]
        mine = share(min(number, len(dataset)), at)
        update_all(some, "real", real_images(dataset, number, BATCH, seed, at), extractors, progress, len(mine))
    of_images = [m for m in metrics if not isinstance(m, GeneratorMetric)]
    if of_images:
        num = max(m.num for m in of_images)
        seeds = image_seeds(seed, range(num))
        _update_fakes(G, stage, of_images, seeds, drawn_labels(dataset, num, 1), extractors, device, progress, at)
    context = ProbeContext(G, stage, device, partial(drawn_labels, dataset), rank=at[0], world=at[1])
    context = replace(context, progress=progress) if progress else context
    for metric in metrics:
        if isinstance(metric, GeneratorMetric):
            metric.probe(replace(context, extractor=extractors.of(metric)))


def _update_fakes(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    seeds: Sequence[int],
    labels: Tensor,
    extractors: Extractors,
    device: torch.device,
    progress: Progress | None,
    at: RankAndWorld,
) -> None:
    """Each process makes its share of what every metric wants: the metrics' numbers differ, so shares are cut apart."""
    if at == ONE_PROCESS:
        update_all(metrics, "fake", generated_images(G, stage, seeds, device, labels), extractors, progress)
        return
    for number in sorted({m.num for m in metrics}):
        some, mine = [m for m in metrics if m.num == number], share(number, at)
        own = generated_images(G, stage, [seeds[i] for i in mine], device, labels[mine.start : mine.stop])
        update_all(some, "fake", own, extractors, progress, len(mine))
