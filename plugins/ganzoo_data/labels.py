"""dataset.json: `{"labels": [[name, label], ...]}`, a label being a class number or a vector; or `{"labels": null}`."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganzoo.errors import DataError
from ganzoo_data.decode import reason

FILE = "dataset.json"


def read_labels(text: bytes | None, names: Sequence[str], labels: int, where: str) -> NDArray[np.float32]:
    """Labels of the named images as [N, K]; class numbers become one-hot.

    Args:
        text: Contents of dataset.json; None where there is no such file.
        names: Names of the images, relative to the root.
        labels: K, which the recipe asks for.
        where: Path of the dataset, for the sentences of DataError.
    """
    cure = "add it or set labels=0"
    if text is None:
        raise DataError(f"{where} has no {FILE} at its root, the recipe wants {labels} labels: {cure}.")
    try:
        table = json.loads(text)["labels"]
        found = None if table is None else {str(name).replace("\\", "/"): label for name, label in table}
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise DataError(
            f'{where}/{FILE} is not {{"labels": [[name, label], ...]}} ({type(err).__name__}: '
            f"{reason(err)}): write it anew or set labels=0."
        ) from None
    if found is None:
        raise DataError(f"{where}/{FILE} holds no labels, the recipe wants {labels}: {cure}.")
    missing = [name for name in names if name not in found]
    if missing:
        more = f" and of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(f"{where}/{FILE} lacks the label of {missing[0]}{more}: {cure}.")
    return np.stack([_vector(found[name], labels, f"{where}/{FILE}: {name}") for name in names])


def _vector(label: Any, labels: int, where: str) -> NDArray[np.float32]:
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < labels:
            raise DataError(
                f"{where} has the class {label}, the recipe has classes 0 to {labels - 1}: "
                "set labels higher or mend the file."
            )
        return np.eye(1, labels, label, dtype=np.float32)[0]
    numbers = isinstance(label, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in label)
    if not numbers or len(label) != labels or not np.isfinite(np.array(label, np.float64)).all():
        shown = f"a vector of {len(label)}" if numbers and len(label) != labels else f"'{json.dumps(label)[:40]}'"
        raise DataError(
            f"{where} has the label {shown}, the recipe wants a class number or {labels} finite numbers: "
            "change labels or mend the file."
        )
    return np.array(label, np.float32)
