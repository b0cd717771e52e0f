"""The images to be projected: files, and those of folders and archives, fitted to the generator as datasets do it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces.dataset import Dataset, UnfitImage
from ganzoo.io.images import Pixels
from ganzoo.model.model import Model
from ganzoo.recipe.datasets import dataset_for, open_set, options_for
from ganzoo.registry.lookup import registry

MOST = 5  # bad images that one sentence names


@dataclass(frozen=True)
class Picture:
    """An image to be projected.

    Args:
        name: folder of its results
        source: the file, or the place in a folder or archive, as the user named it
        read: returns the image as uint8 [C, H, W] in the size that the model makes; raises DataError
    """

    name: str
    source: str
    read: Callable[[], Pixels]


@runtime_checkable
class Named(Protocol):
    """A dataset whose images have names, in order: relative paths with slashes."""

    names: Sequence[str]


def pictures(
    sources: Sequence[Path],
    model: Model,
    options: Mapping[str, Any],
    outdir: Path | None = None,
    notice: Callable[[str], object] = lambda text: None,
) -> list[Picture]:
    """Find the images of files, folders and archives; none is read yet.

    Args:
        sources: where they are
        model: its recipe says how the images of its training were fitted
        options: options of the dataset, in place of the recipe's
        outdir: folder of the results, whose images are no input of a folder that holds it
        notice: called with a sentence on the files of a source that are left out

    Raises DataError or UsageError.
    """
    unnamed: list[Picture] = []
    faults: list[DataError] = []
    for source in sources:
        try:
            unnamed += _pictures_of(source, model, options, outdir, notice)
        except DataError as err:
            faults.append(err)
    refuse_bad(faults)
    taken: set[str] = set()
    named = []
    for picture in unnamed:
        candidates = (picture.name if i == 1 else f"{picture.name}-{i}" for i in count(1))
        name = next(name for name in candidates if name not in taken)
        taken.add(name)
        named.append(replace(picture, name=name))
    return named


def refuse_bad(faults: Sequence[DataError]) -> None:
    """Raise DataError for all that is wrong with the images, if anything is; it names up to five of them."""
    sentences = list(dict.fromkeys(str(err) for err in faults))
    if len(sentences) == 1:
        raise DataError(sentences[0])
    if sentences:
        more = f"; and {len(sentences) - MOST} more" if len(sentences) > MOST else ""
        named = "; ".join(sentence.rstrip(".") for sentence in sentences[:MOST])
        raise DataError(f"{len(sentences)} of the inputs cannot be used: {named}{more}.")


def _pictures_of(
    source: Path, model: Model, options: Mapping[str, Any], outdir: Path | None, notice: Callable[[str], object]
) -> Iterator[Picture]:
    """Yield the images of one source."""
    if not source.exists():
        raise DataError(f"there is no image or folder {source}: check the path; it may be an image, a folder or a zip.")
    dataset = _opened(source, model, options)
    if dataset.left_out:
        notice(f"{source}: files left out: {dataset.left_out_in_words()}.")
    names = dataset.names if isinstance(dataset, Named) else [f"image{i:05d}" for i in range(len(dataset))]
    kept = [i for i, name in enumerate(names) if not _is_result(source, name, outdir)]
    if not kept:
        raise DataError(f"{source} holds no images but those in --outdir {outdir}: give a folder of other images.")
    is_image = list(names) == [source.name]
    for i in kept:
        folder = str(Path(names[i]).with_suffix("")).replace(os.sep, "-").replace("/", "-")
        yield Picture(folder, str(source) if is_image else f"{source}/{names[i]}", _reader(dataset, i))


def _opened(source: Path, model: Model, options: Mapping[str, Any]) -> Dataset:
    """Open a source as a dataset of the model's size and channels, with the options of the training's dataset."""
    known, data = registry(), str(source)
    try:
        needs_path = dataset_for(data, known).needs_path
    except UsageError:
        needs_path = False
    if not needs_path:  # a file or folder whose name alone says nothing to datasets, or is that of another dataset
        data = str(source.absolute())
    given = options_for(data, model.header.recipe.get("dataset") or {}, known)
    size = model.G.shape.sizes[model.stage.level]
    return open_set(data, size, model.G.shape.channels, 0, known, {**given, **options}, flag="")


def _reader(dataset: Dataset, index: int) -> Callable[[], Pixels]:
    def read() -> Pixels:
        try:
            return dataset.image(index)
        except UnfitImage as err:  # it speaks of a recipe, and there is none here
            flags = " or ".join(f"--dataset {option}" for option in err.options)
            cures = [err.change_file, flags and f"add {flags}"]
            fault = f"{err.actual}, the model makes {err.expected}"
            raise DataError(fault, place=err.place, cure=" or ".join(filter(None, cures))) from None

    return read


def _is_result(source: Path, name: str, outdir: Path | None) -> bool:
    """Whether an image of a folder lies in the folder of the results within it."""
    if outdir is None or not source.is_dir():
        return False
    results = outdir.resolve()
    if results == source.resolve():
        raise UsageError(f"--outdir {outdir} is the folder of the images themselves: choose another --outdir.")
    return source.resolve() in results.parents and (source / name).parent.resolve().is_relative_to(results)
