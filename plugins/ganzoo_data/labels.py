"""Labels in dataset.json: `{"labels": [[name, class number or vector], ...]}`, or `{"labels": null}`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganzoo.errors import DataError
from ganzoo.io.image_files import reason
from ganzoo_data.listing import canonical, tidy

FILE = "dataset.json"
LARGEST = 2**53  # integer that a floating-point number holds exactly

Table: TypeAlias = dict[str, Any]  # name of an image -> its label, not yet checked


def read_table(text: bytes, where: str) -> Table | None:
    """Parse dataset.json; None for null. Raises DataError.

    Args:
        text: contents of dataset.json
        where: path of the dataset, for messages
    """
    try:
        table = json.loads(text)["labels"]
        return None if table is None else {tidy(str(name)): label for name, label in table}
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise DataError(
            f'{where}/{FILE} is not {{"labels": [[name, label], ...]}} ({type(err).__name__}: '
            f"{reason(err)}): write it anew or set labels=0."
        ) from None


def in_order(table: Mapping[str, Any], names: Sequence[str], where: str) -> list[Any]:
    """Look up the labels of the named images. Raises DataError, with the table's place `where`, if one is missing.

    Names are the same where only backslashes, a leading './' or the composition of accents differ. Class numbers that
    are written with a decimal point, as 0.0, become integers.
    """
    composed = {canonical(name): name for name in table}
    keys = [name if name in table else composed.get(canonical(name)) for name in names]
    missing = [name for name, key in zip(names, keys) if key is None]
    if missing:
        more = f" and of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(f"{where} lacks the label of {missing[0]}{more}: add it or set labels=0.")
    return [_as_class(table[key]) for key in keys if key is not None]


def _as_class(label: Any) -> Any:
    return int(label) if isinstance(label, float) and label.is_integer() and abs(label) <= LARGEST else label


def as_vectors(values: Sequence[Any], names: Sequence[str], labels: int, where: str) -> NDArray[np.float32]:
    """Convert labels to vectors [N, K], class numbers to one-hot. Raises DataError for a label that K excludes."""
    return np.stack([_vector(label, labels, f"{where}: {name}") for name, label in zip(names, values)])


def _vector(label: Any, labels: int, where: str) -> NDArray[np.float32]:
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < labels:
            raise DataError(
                f"{where} has the class {label}, the recipe has classes 0 to {labels - 1}: "
                "set labels higher or mend the file."
            )
        return np.eye(1, labels, label, dtype=np.float32)[0]
    numbers = is_vector(label)
    if not numbers or len(label) != labels or not np.isfinite(np.array(label, np.float64)).all():
        shown = f"a vector of {len(label)}" if numbers and len(label) != labels else f"'{json.dumps(label)[:40]}'"
        raise DataError(
            f"{where} has the label {shown}, the recipe wants a class number or {labels} finite numbers: "
            "change labels or mend the file."
        )
    return np.array(label, np.float32)


def is_vector(label: Any) -> bool:
    """Whether a label is a list of numbers."""
    return isinstance(label, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in label)
