"""TODO docstring."""

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Dataset, Experiment
from ganzoo.io.log import Log
from ganzoo.training import distributed


def open_data(experiment: Experiment) -> Dataset:
    """The training images, checked file by file, by the first process.

    Raises DataError that names what cannot be used.
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
    """Read all images once. Raises DataError that names what cannot be used."""
    with Log(None, len(dataset)) as log:
        findings = dataset.check(lambda done, total: log.progress(done, f"checking {total} images"))
        fatal = [f for f in findings if f.fatal]
        odd = [f for f in findings if not f.fatal]
        if odd and not fatal:
            log.say(f"{len(odd)} of {len(dataset)} images are odd, such as {odd[0].file}: {odd[0].problem}")
    if fatal:
        some = "; ".join(f"{f.file}: {f.problem}" for f in fatal[:5])
        more = f"; and {len(fatal) - 5} more" if len(fatal) > 5 else ""
        raise DataError(
            f"{len(fatal)} of {len(dataset)} images cannot be used: {some}{more}. Remove or repair them "
            "('gz data doctor' lists all)."
        )
