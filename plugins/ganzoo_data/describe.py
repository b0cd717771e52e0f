"""Facts about a dataset in words, for `gz data info` and `gz data doctor`."""

from collections.abc import Iterable, Mapping
from typing import Any

from ganzoo.errors import DataError
from ganzoo.interfaces import Dataset
from ganzoo_data import labels
from ganzoo_data.images import ImageSet

NAMED = 3  # files that are listed by name


def gray_images(dataset: Dataset) -> int:
    """Number of images without colour, once they have been checked."""
    return dataset.checked.gray if isinstance(dataset, ImageSet) else 0


def gray_in_words(dataset: Dataset, gray: int) -> str:
    """' (all images are gray ...)', for a dataset of colours whose files hold none; else ""."""
    if dataset.channels != 3 or not gray:
        return ""
    if gray == len(dataset):
        return " (all images are gray and become RGB: image.channels=1 trains on gray)"
    return f" ({gray:,} images are gray)"


def given_labels(dataset: Dataset) -> str:
    """Describe the labels that the files or folders of a dataset give, whether they are asked for or not."""
    if not isinstance(dataset, ImageSet):
        return "classes" if dataset.labels else "none"
    try:
        words = labels.described(dataset.given_labels())
    except DataError as err:
        return f"unusable: {err.statement}"
    return f"{words}: {labels.numbered(dataset.class_names)}" if dataset.class_names else words


def unused_folders(dataset: Dataset, given: str) -> str:
    """Names of folders that could be classes, for a dataset without labels."""
    return labels.in_words(dataset.likely_classes) if isinstance(dataset, ImageSet) and given == "none" else ""


def fit_in_words(fitted: Mapping[str, Any]) -> str:
    """Describe how images are fitted, as 'fit crop, filter box', and how a packed dataset was packed."""
    text = ", ".join(f"{key} {value}" for key, value in fitted.items() if isinstance(value, str))
    packed = fitted.get("packed")
    return f"{text}; packed with {fit_in_words(packed)}" if isinstance(packed, Mapping) else text


def count_and_names(files: Iterable[str]) -> str:
    """Number of files, and the names of the first ones."""
    names = list(files)
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names):,} ({', '.join(names[:NAMED])}{more})" if names else "0"


def fingerprint(dataset: Dataset) -> str | None:
    """Fingerprint of a dataset; None where a file cannot be read, which is then among the unusable ones."""
    try:
        return dataset.fingerprint()
    except DataError:
        return None
