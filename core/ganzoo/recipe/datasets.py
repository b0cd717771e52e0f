"""From what `--data` says, a path or a name, to a dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ganzoo.errors import UsageError
from ganzoo.interfaces import Dataset
from ganzoo.io.files import expand_user
from ganzoo.recipe.node import component_from
from ganzoo.registry.component import options as options_of
from ganzoo.registry.component import summary
from ganzoo.registry.lookup import Registry
from ganzoo.types import Size


def dataset_for(source: str, registry: Registry, flag: str = "--data") -> type[Dataset]:
    """The dataset that `--data SOURCE` means. Raises UsageError that lists what there is, and begins with the flag.

    The name of a dataset that needs no path comes first, then the first whose `claims()` says yes: a folder named
    `shapes` is written `./shapes`.
    """
    known = [cls for cls in registry if issubclass(cls, Dataset)]
    named = [cls for cls in known if cls.name == source and not cls.needs_path]
    for cls in named or (cls for cls in known if cls.claims(source)):
        return cls
    accepted = ", ".join(f"{cls.name} ({summary(cls).rstrip('.')})" for cls in known) or "none is installed"
    fault = (
        "is a file that no dataset knows"
        if Path(source).is_file()
        else "is no folder that exists, and no dataset knows it"
    )
    raise UsageError(f"{fault}; datasets: {accepted}", place=f"{flag} '{source}'".lstrip())


def section(source: str, registry: Registry, flag: str = "--data") -> dict[str, str]:
    """The `dataset:` section that `--data SOURCE` means; its path is absolute, so a checkpoint finds it again.

    Raises UsageError, which begins with the flag.
    """
    cls = dataset_for(source, registry, flag)
    name = cls.name if registry.get("dataset", cls.name) is cls else f"{registry.owner(cls)}:{cls.name}"
    return {"use": name} | ({"path": str(expand_user(source).absolute())} if cls.needs_path else {})


def open_set(
    source: str,
    size: Size,
    channels: int,
    labels: int,
    registry: Registry,
    options: Mapping[str, Any] | None = None,
    flag: str = "--data",
) -> Dataset:
    """Open what `--data SOURCE` means, with options of its section where they are given.

    Raises UsageError, which begins with the flag, or DataError.
    """
    chosen = {**(options or {}), **section(source, registry, flag)}
    dataset: Dataset = component_from("dataset", chosen, registry).bind()(size, channels, labels)
    return dataset


@runtime_checkable
class Measured(Protocol):
    """A dataset whose images have a size of their own, before they are fitted."""

    def smallest_side(self) -> int | None:
        """Height or width, in pixels, of the smallest image that can be read; None where none can."""


def smallest_side(source: str, channels: int, registry: Registry) -> int | None:
    """Height or width, in pixels, of the smallest image that `--data SOURCE` means; None without a size of its own.

    Raises as `open_set`.
    """
    dataset = open_set(source, (1, 1), channels, 0, registry)
    return dataset.smallest_side() if isinstance(dataset, Measured) else None


@runtime_checkable
class Sized(Protocol):
    """A dataset that knows the size of each of its images, before they are fitted."""

    def sizes(self) -> set[Size]:
        """(height, width), in pixels, of all images that can be read, each size once."""


def image_sizes(dataset: Dataset) -> set[Size]:
    """Return (height, width) of a dataset's images before they are fitted, each once; none where they have no own."""
    if isinstance(dataset, Sized):
        return dataset.sizes()
    side = dataset.smallest_side() if isinstance(dataset, Measured) else None
    return {(side, side)} if side else set()


def options_for(source: str, given: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return those options of a `dataset:` section that the dataset which `--data SOURCE` means has too."""
    known = options_of(dataset_for(source, registry)).model_fields
    return {name: value for name, value in given.items() if name in known and name != "path"}
