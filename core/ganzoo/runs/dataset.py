"""The images of a training, checked before it begins."""

import numpy as np

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Dataset, Experiment
from ganzoo.io.log import Log
from ganzoo.training import distributed

NAMED = 5  # files that a message names at most


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


def _check(dataset: Dataset) -> None:
    """Read all images once. Raises DataError that names files that cannot be used."""
    with Log(None, len(dataset)) as log:
        findings = dataset.check(lambda done, total: log.progress(done, f"checking {total} images"))
        fatal = [finding for finding in findings if finding.fatal]
        odd = [finding for finding in findings if not finding.fatal]
        if dataset.left_out:
            log.say(f"{dataset.title}: files left out: {dataset.left_out_in_words()}")
        if not fatal and dataset.labels and (unseen := _classes_without_image(dataset)):
            named = ", ".join(map(str, unseen[:NAMED])) + (", ..." if len(unseen) > NAMED else "")
            log.say(
                f"{len(unseen):,} of the recipe's {dataset.labels:,} classes have no image in {dataset.title} "
                f"({named}): set labels lower, unless images of them are to follow."
            )
        if odd and not fatal:
            log.say(f"{len(odd)} of {len(dataset)} images are odd, such as {odd[0].file}: {odd[0].problem}")
    if fatal:
        files = "; ".join(f"{finding.file}: {finding.problem}" for finding in fatal[:NAMED])
        more = f"; and {len(fatal) - NAMED} more" if len(fatal) > NAMED else ""
        raise DataError(
            f"{len(fatal)} of {len(dataset)} images cannot be used: {files}{more}. Remove or repair them "
            "('gz data doctor' lists all)."
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
