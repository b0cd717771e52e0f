"""The images of a training, checked before it begins."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Dataset, Experiment, Finding
from ganzoo.io.log import Log
from ganzoo.training import distributed
from ganzoo.training.labels import example_vector

NAMED = 5  # files that a message names at most
LINE_SECONDS = 20  # between lines that count the images that have been checked


def open_data(experiment: Experiment) -> Dataset:
    """Open the training images; the first process checks them file by file.

    Raises UsageError where the recipe has none, and DataError that names files that cannot be used.
    """
    dataset = experiment.dataset()
    if dataset is None:
        raise UsageError(
            "the recipe names no images: add --data PATH (a folder, a .zip, .tar shards, or 'shapes'), or a 'dataset:' "
            "section."
        )
    distributed.on_first(lambda: _check(dataset))
    return dataset


def described(dataset: Dataset) -> dict[str, Any]:
    """Describe the images for a checkpoint: title, number, fingerprint, and a label where labels are no classes."""
    about = {"title": dataset.title, "images": len(dataset), "fingerprint": dataset.fingerprint()}
    vector = example_vector(dataset)
    return about if vector is None else about | {"label": vector}


@runtime_checkable
class Remarked(Protocol):
    """A dataset that has something to say of its images as a whole, once they are checked."""

    def remarks(self) -> list[str]:
        """Sentences without a full stop, such as that all images are gray."""


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Group findings whose problems differ in numbers only, the largest group first."""
    groups: dict[tuple[bool, str], list[Finding]] = {}
    for finding in findings:
        kind = re.sub(r"\d+", "#", finding.problem.partition(" bytes of ")[0])
        groups.setdefault((finding.fatal, kind), []).append(finding)
    return sorted(groups.values(), key=len, reverse=True)


def listed(names: Sequence[str], total: int) -> str:
    """The first names of many: 'a.png, b.png and 98 more'."""
    more = f" and {total - len(names):,} more" if total > len(names) else ""
    return ", ".join(names) + more


def _check(dataset: Dataset) -> None:
    """Read all images once. Raises DataError that names files that cannot be used."""
    with Log(None, len(dataset)) as log:
        findings = dataset.check(counted(log))
        fatal = [finding for finding in findings if finding.fatal]
        odd = [finding for finding in findings if not finding.fatal]
        if dataset.left_out:
            log.say(f"{dataset.title}: files left out: {dataset.left_out_in_words()}")
        if not fatal and (notice := notice_of_classes(dataset)):
            log.say(notice)
        if odd and not fatal:
            files = len({finding.file for finding in odd})
            log.say(f"{files:,} of {len(dataset):,} images are odd, such as {odd[0].file}: {odd[0].problem}")
        if isinstance(dataset, Remarked) and not fatal:
            for remark in dataset.remarks():
                log.say(f"{dataset.title}: {remark}.")
    if fatal:
        groups = grouped(fatal)
        reasons = "; ".join(_in_words(group) for group in groups[:NAMED])
        others = sum(map(len, groups[NAMED:]))
        more = f"; and {others} more" if others else ""
        raise DataError(
            f"{len(fatal)} of {len(dataset)} images cannot be used: {reasons}{more}. Remove or repair them "
            "('gz data doctor' lists all)."
        )


def _in_words(group: Sequence[Finding]) -> str:
    """The first file of a group with its problem, and the names of some others."""
    first, *others = group
    names = listed([finding.file for finding in others[: NAMED - 1]], len(others))
    return f"{first.file}: {first.problem}" + (f" (so are {names})" if others else "")


def counted(log: Log) -> Callable[[int, int], None]:
    """A function (done, total) that moves the progress bar, and without a terminal logs a line now and then."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        log.progress(done, f"checking {total:,} images")
        if not sys.stderr.isatty() and time.monotonic() - last > LINE_SECONDS and done < total:
            last = time.monotonic()
            log.say(f"Checked {done:,} of {total:,} images.")

    return progress


def notice_of_classes(dataset: Dataset) -> str:
    """Name the classes of a conditional recipe that have no image, in a sentence; "" where there are none.

    Raises DataError for a label that is not a vector of the recipe's length.
    """
    unseen = _classes_without_image(dataset) if dataset.labels else []
    if not unseen:
        return ""
    named = ", ".join(map(str, unseen[:NAMED])) + (", ..." if len(unseen) > NAMED else "")
    return (
        f"{len(unseen):,} of the recipe's {dataset.labels:,} classes have no image in {dataset.title} "
        f"({named}): set labels lower, unless images of them are to follow."
    )


def _classes_without_image(dataset: Dataset) -> list[int]:
    """Return the classes, or entries of the label vector, that are 0 in all images.

    Raises DataError for a label that is not a vector of the recipe's length.
    """
    seen = np.zeros(dataset.labels, bool)
    for index in range(len(dataset)):
        label = dataset.label(index)
        if label.shape != seen.shape:
            raise DataError(
                f"image {index} has a label of shape {list(label.shape)}, and the recipe has labels={dataset.labels}",
                place=f"{dataset.title}:",
                cure="set labels to the length of the data's label vectors",
            )
        seen |= label != 0
    return [int(number) for number in np.flatnonzero(~seen)]
