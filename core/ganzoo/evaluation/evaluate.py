"""Measuring: one pass over generated and real images for all metrics, and a record of what exactly was measured."""

import copy
import time
from collections.abc import Iterable, Sequence
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
from ganzoo.interfaces import Dataset, Generator, GeneratorMetric, Metric, Stage, Which
from ganzoo.training.distributed import ALONE, Share, any_rank, rank_and_world
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
    eyes: Extractors,
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
    eyes = Extractors(metrics, metrics[0].shape.channels, device or torch.device("cpu"))
    lookers = [m for m in metrics if m.num_real != 0]
    if lookers:
        update_all(lookers, "real", real, eyes, progress)
    update_all(metrics, "fake", fake, eyes, progress)
    return [provenance(m, m.compute(), dataset, began, eyes.of(m), **about) for m in metrics]


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
    eyes = Extractors(metrics, metrics[0].shape.channels, device)
    cached = cache.recall(metrics, dataset, seed, eyes.of)
    empty = copy.deepcopy(list(metrics)) if at != ALONE else []
    fault = ""
    try:
        _look(G, stage, metrics, cached, dataset, seed, eyes, device, progress, at)
    except DataError as err:  # perhaps of this process alone: the others must not wait for it
        fault = str(err)
    if any_rank(bool(fault)):
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
    eyes: Extractors,
    device: torch.device,
    progress: Progress | None,
    at: Share,
) -> None:
    """Show this process's share of the images to all metrics."""
    fresh = [m for m in metrics if m not in cached and m.num_real != 0 and not isinstance(m, GeneratorMetric)]
    for number in sorted({m.num_real or 0 for m in fresh}):  # another number is another sample of the set
        some = [m for m in fresh if m.num_real == number]
        mine = share(min(number, len(dataset)), at)
        update_all(some, "real", real_images(dataset, number, BATCH, seed, at), eyes, progress, len(mine))
    lookers = [m for m in metrics if not isinstance(m, GeneratorMetric)]
    if lookers:
        num = max(m.num for m in lookers)
        seeds = image_seeds(seed, range(num))
        _feed_fakes(G, stage, lookers, seeds, drawn_labels(dataset, num, 1), eyes, device, progress, at)
    for probe in (m for m in metrics if isinstance(m, GeneratorMetric)):
        probe.rank, probe.world, probe.eye = *at, eyes.of(probe)
        probe.probe(G, stage, device, partial(drawn_labels, dataset), progress or (lambda what, done, total: None))


def _feed_fakes(
    G: Generator,
    stage: Stage,
    metrics: Sequence[Metric],
    seeds: Sequence[int],
    labels: Tensor,
    eyes: Extractors,
    device: torch.device,
    progress: Progress | None,
    at: Share,
) -> None:
    """Each process makes its share of what every metric wants: the metrics' numbers differ, so shares are cut apart."""
    if at == ALONE:
        update_all(metrics, "fake", generated_images(G, stage, seeds, device, labels), eyes, progress)
        return
    for number in sorted({m.num for m in metrics}):
        some, mine = [m for m in metrics if m.num == number], share(number, at)
        own = generated_images(G, stage, [seeds[i] for i in mine], device, labels[mine.start : mine.stop])
        update_all(some, "fake", own, eyes, progress, len(mine))
