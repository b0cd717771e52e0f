"""dataset.json: `{"labels": [[name, label], ...]}`, a label being a class number or a vector; or `{"labels": null}`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganzoo.errors import DataError
from ganzoo_data.decode import reason

FILE = "dataset.json"

Table: TypeAlias = dict[str, Any]  # name of an image -> what somebody says is its label


def read_table(text: bytes, where: str) -> Table | None:
    """What dataset.json says; None for null.

    Args:
        text: Contents of dataset.json.
        where: Path of the dataset, for the sentences of DataError.
    """
    try:
        table = json.loads(text)["labels"]
        return None if table is None else {str(name).replace("\\", "/"): label for name, label in table}
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise DataError(
            f'{where}/{FILE} is not {{"labels": [[name, label], ...]}} ({type(err).__name__}: '
            f"{reason(err)}): write it anew or set labels=0."
        ) from None


def in_order(table: Mapping[str, Any], names: Sequence[str], where: str) -> list[Any]:
    """Labels of the named images. Raises DataError where one has none; `where` says what lacks it."""
    missing = [name for name in names if name not in table]
    if missing:
        more = f" and of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(f"{where} lacks the label of {missing[0]}{more}: add it or set labels=0.")
    return [table[name] for name in names]


def as_vectors(given: Sequence[Any], names: Sequence[str], labels: int, where: str) -> NDArray[np.float32]:
    """Labels [N, K] of the named images; class numbers become one-hot. Raises DataError for others than K allows."""
    return np.stack([_vector(label, labels, f"{where}: {name}") for name, label in zip(names, given)])


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
