"""`gz train --labels`: the number of labels, or class folders in their place, as overrides of a recipe."""

from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer

from ganzoo_cli.host.console import known
from ganzoo_cli.host.options import FOLDERS, parse_labels

if TYPE_CHECKING:
    from ganzoo.recipe.source import Source

HELP = "Classes, or length of a label vector, 0 for none; folders: each folder of the images is a class."
Labels = Annotated[str | None, typer.Option(metavar="N|folders", help=HELP)]


@runtime_checkable
class Foldered(Protocol):
    """A dataset that can make the folders of its images classes."""

    @property
    def class_names(self) -> list[str]:
        """Names of the folders."""

    def given_labels(self) -> list[Any] | None:
        """Number of each image's folder. Raises DataError where an image lies in none."""


def overrides(text: str | None, data: str | None, source: "Source") -> list[str]:
    """Overrides that --labels means: `labels`, and for folders the option of the dataset.

    Args:
        text: value of --labels
        data: value of --data
        source: the recipe, whose dataset is meant where there is no --data

    Raises UsageError, and DataError where the images are in no class folders.
    """
    count, by_folders = parse_labels(text)
    if by_folders:
        return [f"dataset.labels={FOLDERS}", f"labels={_count(data, source)}"]
    return [] if count is None else [f"labels={count}"]


def _count(data: str | None, source: "Source") -> int:
    """Number of class folders of the images that are to be trained on."""
    from ganzoo.errors import UsageError
    from ganzoo.recipe import datasets
    from ganzoo.recipe.node import component_from
    from ganzoo.registry.component import options

    place = f"--labels {FOLDERS}:"
    section = source.tree.get("dataset") if data is None else datasets.section(data, known())
    if not section:
        raise UsageError("the recipe names no images", place=place, cure="add --data PATH")
    chosen = {"use": section} if isinstance(section, str) else section
    cls = known().get("dataset", str(chosen["use"]))
    if "labels" in options(cls).model_fields:
        dataset = component_from("dataset", {**chosen, "labels": FOLDERS}, known()).bind()((1, 1), 3, 0)
        if isinstance(dataset, Foldered):
            dataset.given_labels()
            return len(dataset.class_names)
    cure = "choose other --data, or --labels N"
    raise UsageError(f"the dataset '{cls.name}' lies in no folders", place=place, cure=cure)
