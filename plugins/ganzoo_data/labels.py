"""Labels of images: in dataset.json, `{"labels": [[name, class number or vector], ...]}`, or by their folders."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganzoo.errors import DataError
from ganzoo.io.image_files import reason
from ganzoo_data.listing import canonical, tidy

FILE = "dataset.json"
LARGEST = 2**53  # integer that a floating-point number holds exactly
LARGEST_FLOAT = float(np.finfo(np.float32).max)  # of the numbers that labels are kept as
NAMED = 8  # classes that a sentence names

LabelSource: TypeAlias = Literal["file", "folders"]
Table: TypeAlias = dict[str, Any]  # name of an image -> its label, not yet checked


class LabelError(DataError):
    """Labels that are missing, or not those that a recipe's `labels` demands; the sentence speaks of a recipe.

    Args:
        fault: what is wrong, as "is not there"
        place: the file
        wants: what `labels` demands, as "3 labels"; "" where nothing depends on it
        cures: what to do with the files, without a full stop
        labels: the value of `labels` that is a cure too: a number, "higher" or "another"
    """

    def __init__(
        self, fault: str, *, place: str = "", wants: str = "", cures: Sequence[str] = (), labels: str = "0"
    ) -> None:
        setting = {"higher": "set labels higher", "another": "change labels"}.get(labels, f"set labels={labels}")
        whole = f"{fault}, the recipe wants {wants}" if wants else fault
        super().__init__(whole, place=place, cure=", or ".join([*cures, setting]))
        self.without_recipe, self.wants, self.cures, self.labels = fault, wants, tuple(cures), labels

    def in_flags(self, wanting: str = "--labels") -> DataError:
        """The same error for a command with a flag `--labels`; `wanting` is what has set the number of labels."""
        flag = {"higher": "raise --labels", "another": "change --labels"}.get(
            self.labels, f"say --labels {self.labels}"
        )
        fault = f"{self.without_recipe}, {wanting} wants {self.wants}" if self.wants else self.without_recipe
        return DataError(fault, place=self.place, cure=", or ".join([*self.cures, flag]))


# --- dataset.json ----------------------------------------------------------------------------------------------------


def read_table(text: bytes, where: str) -> Table | None:
    """Parse dataset.json; None for null. Raises DataError.

    Args:
        text: contents of dataset.json
        where: path of the dataset, for messages
    """
    try:
        listed = json.loads(text)["labels"]
        if listed is None:
            return None
        table: Table = {}
        for name, label in listed:
            first = table.setdefault(tidy(str(name)), label)
            if first is not label and first != label:
                fault = f"gives {tidy(str(name))} two labels, '{shown(first)}' and '{shown(label)}'"
                raise LabelError(fault, place=f"{where}/{FILE}", cures=["keep one of them"])
        return table
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        fault = f'is not {{"labels": [[name, label], ...]}} ({type(err).__name__}: {reason(err)})'
        raise LabelError(fault, place=f"{where}/{FILE}", cures=["write it anew"]) from None


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
        raise LabelError(f"lacks the label of {missing[0]}{more}", place=where, cures=["add it"])
    return [_as_class(table[key]) for key in keys if key is not None]


def _as_class(label: Any) -> Any:
    return int(label) if isinstance(label, float) and label.is_integer() and abs(label) <= LARGEST else label


def as_vectors(values: Sequence[Any], names: Sequence[str], labels: int, where: str) -> NDArray[np.float32]:
    """Convert labels to vectors [N, K], class numbers to one-hot. Raises LabelError for a label that K excludes."""
    rows = np.zeros((len(values), labels), np.float32)
    for row, name, label in zip(rows, names, values):
        if isinstance(label, int) and not isinstance(label, bool):
            if not 0 <= label < labels:
                fault, wants = f"has the class {label}", f"classes 0 to {labels - 1}"
                raise LabelError(fault, place=f"{where}: {name}", wants=wants, cures=["mend the file"], labels="higher")
            row[label] = 1
        else:
            row[:] = _vector(label, labels, f"{where}: {name}")
    return rows


def _vector(label: Any, labels: int, place: str) -> NDArray[np.float64]:
    numbers = is_vector(label)
    if not numbers or len(label) != labels or not (np.abs(np.array(label, np.float64)) <= LARGEST_FLOAT).all():
        given = f"a vector of {len(label)}" if numbers and len(label) != labels else f"'{shown(label)}'"
        wants = f"a class number or {labels} finite numbers"
        raise LabelError(f"has the label {given}", place=place, wants=wants, cures=["mend the file"], labels="another")
    return np.array(label, np.float64)


def is_vector(label: Any) -> bool:
    """Whether a label is a list of numbers, of which true and false are 1 and 0."""
    return isinstance(label, list) and all(
        isinstance(v, float) or (isinstance(v, int) and abs(v) <= LARGEST) for v in label
    )


def require_labels(labels: Sequence[Any], names: Sequence[str], where: str) -> None:
    """Raise LabelError for a label that is neither a class number nor a vector."""
    for name, label in zip(names, labels):
        if type(label) is not int and not is_vector(label):
            fault = f"has the label '{shown(label)}'"
            raise LabelError(fault, place=f"{where}: {name}", cures=["write a class number or a vector"])


def shown(label: Any) -> str:
    """Begin of a label as its file writes it."""
    return json.dumps(label)[:40]


# --- folders ---------------------------------------------------------------------------------------------------------


def class_folders(names: Sequence[str]) -> tuple[list[str], str]:
    """Find the folders at the top that images lie in: (their names, sorted; path of the folder that holds them all).

    There are none where an image lies in no folder, or all of them in one and the same, down to the last.
    """
    above = ""
    while True:
        folders: set[str] = set()
        for name in names:
            folder, slash, _ = canonical(name)[len(above) :].partition("/")
            if not slash:
                return [], above
            folders.add(folder)
        if len(folders) != 1:
            return sorted(folders), above
        above += f"{folders.pop()}/"


def from_folders(names: Sequence[str], where: str) -> list[int]:
    """Number the images' folders, [N], in the order of the folders' names. Raises LabelError where there are none."""
    folders, above = class_folders(names)
    if not folders:
        loose = next((name for name in names if "/" not in canonical(name)[len(above) :]), names[0])
        fault = f"holds no folders that could be classes, since {loose} lies in no folder of its class"
        raise LabelError(fault, place=where, cures=["give each class a folder, as cats/1.png and dogs/1.png"])
    numbers = {folder: number for number, folder in enumerate(folders)}
    return [numbers[canonical(name)[len(above) :].partition("/")[0]] for name in names]


# --- sentences -------------------------------------------------------------------------------------------------------


def no_labels(source: str, labels: int, names: Sequence[str], folders: Sequence[str], there: bool) -> LabelError:
    """An error for images without labels, with an example of dataset.json for two of them.

    Args:
        source: path of dataset.json
        labels: number that the recipe wants
        names: the images
        folders: those that could be classes
        there: whether the file exists, and holds null
    """
    example = json.dumps({"labels": [[names[0], 0], *([[names[-1], labels - 1]] if len(names) > 1 else [])]})
    cures = [f"write it, as {example}"]
    if folders:
        cures.append(f"make the folders {in_words(folders)} the classes with --labels folders")
    return LabelError(
        "holds no labels" if there else "is not there", place=source, wants=f"{labels} labels", cures=cures
    )


def too_many_folders(source: str, labels: int, folders: Sequence[str]) -> LabelError:
    """An error for more class folders than the recipe has labels."""
    fault = f"holds {len(folders):,} class folders ({in_words(folders)})"
    return LabelError(fault, place=source, wants=f"{labels} labels", labels=str(len(folders)))


def in_words(names: Sequence[str]) -> str:
    """The first names of a list: 'cats, dogs', or 'a, b, ... and 90 more'."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def numbered(names: Sequence[str]) -> str:
    """The first names of a list with their numbers: '0 cats, 1 dogs'."""
    return in_words([f"{number} {name}" for number, name in enumerate(names)])


def described(labels: Sequence[Any] | None) -> str:
    """Describe labels as files give them: 'classes 0 to 9', or 'vectors of 2 numbers from 0.1 to 0.9'."""
    if labels is None:
        return "none"
    vectors = [label for label in labels if not isinstance(label, int)]
    if not vectors:
        lowest, highest = min(labels), max(labels)
        missing = highest - lowest + 1 - len(set(labels))
        return f"classes {lowest} to {highest}" + (f", {missing:,} of them without images" if missing else "")
    lengths = sorted({len(vector) for vector in vectors})
    if len(vectors) < len(labels) or len(lengths) > 1:
        kinds = ["class numbers"] * (len(vectors) < len(labels)) + [f"vectors of {length}" for length in lengths]
        return "mixed: " + in_words(kinds)
    rows = np.array(vectors, np.float64)
    ones = (rows == 1).sum(axis=1)
    if not np.isin(rows, (0, 1)).all():
        return f"vectors of {lengths[0]} numbers from {rows.min():g} to {rows.max():g}"
    if (ones == 1).all():
        return f"one-hot vectors of {lengths[0]}"
    return f"vectors of {lengths[0]} zeros and ones, {ones.min()} to {ones.max()} ones in each (multi-label)"
