"""The images of a projection: read and fitted by the code that reads trainings'; and what stresses a generator.

The stress tests are Image2StyleGAN's (arXiv:1904.03189, section 4): an image moved, scaled, turned, with parts missing.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from ganzoo.errors import DataError, UsageError
from ganzoo.io.images import Pixels
from ganzoo.model.model import Model
from ganzoo.recipe.datasets import dataset_for, open_set, options_for
from ganzoo.registry.lookup import registry

MOST = 5  # bad images that one sentence names


@dataclass(frozen=True)
class Picture:
    """An image to be projected: the name of its folder, where it comes from, and what reads it, uint8 [C, H, W]."""

    name: str
    source: str
    read: Callable[[], Pixels]


def pictures(
    sources: Sequence[Path], model: Model, given: Mapping[str, Any], scratch: Path, outdir: Path | None = None
) -> list[Picture]:
    """Files, and the images of folders and zips, fitted to the size that a model makes, by the code of datasets.

    Args:
        sources: where they are
        model: its recipe says how its training's images were fitted
        given: options of the dataset, in place of the recipe's
        scratch: an empty folder, needed as long as pictures are read
        outdir: where results are written; what lies there is no input of a folder that holds it

    Raises DataError or UsageError.
    """
    found: list[Picture] = []
    faults: list[DataError] = []
    for i, source in enumerate(sources):
        try:
            found += _of(source, model, given, scratch / str(i), outdir)
        except DataError as err:
            faults.append(err)
    refuse_bad(faults)
    taken: set[str] = set()
    named = []
    for p in found:
        names = (p.name if i == 1 else f"{p.name}-{i}" for i in count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        named.append(replace(p, name=name))
    return named


def refuse_bad(faults: Sequence[DataError]) -> None:
    """Raise DataError for all that is wrong with the images, if anything is; it names up to five of them."""
    said = list(dict.fromkeys(str(err) for err in faults))
    if len(said) == 1:
        raise DataError(said[0])
    if said:
        more = f"; and {len(said) - MOST} more" if len(said) > MOST else ""
        named = "; ".join(sentence.rstrip(".") for sentence in said[:MOST])
        raise DataError(f"{len(said)} of the inputs cannot be used: {named}{more}.")


def _of(source: Path, model: Model, given: Mapping[str, Any], scratch: Path, outdir: Path | None) -> Iterator[Picture]:
    """The pictures of one source. A file is read as the only one of a folder: datasets are folders."""
    if not source.exists():
        raise DataError(f"there is no image or folder {source}: check the path; it may be an image, a folder or a zip.")
    scratch.mkdir()
    known = registry()
    single = source.is_file() and _is_image(source, scratch)
    where = str(scratch) if single else str(source)
    if single:
        link = scratch / source.name
        try:
            link.symlink_to(source.absolute())
        except OSError:
            shutil.copy(source, link)

    options = {**options_for(where, model.header.recipe.get("dataset") or {}, known), **given}
    options.pop("use", None)
    size = model.G.shape.sizes[model.stage.level]
    try:
        dataset = open_set(where, size, model.G.shape.channels, 0, known, options)
    except DataError as err:
        raise _said(err, source, scratch) from None
    names = getattr(dataset, "names", None) or [f"image{i:05d}" for i in range(len(dataset))]

    def reader(index: int) -> Callable[[], Pixels]:
        def read() -> Pixels:
            try:
                return dataset.image(index)
            except DataError as err:
                raise _said(err, source, scratch) from None

        return read

    kept = [i for i, name in enumerate(names) if not _inside(source, name, outdir)]
    if not kept:
        raise DataError(f"{source} holds no images but those in --outdir {outdir}: give a folder of other images.")
    for i in kept:
        name = names[i]
        stem = str(Path(name).with_suffix("")).replace(os.sep, "-").replace("/", "-")
        yield Picture(stem, str(source) if single else f"{source}/{name}", reader(i))


def _inside(source: Path, name: str, outdir: Path | None) -> bool:
    """Whether an image of a folder lies in the folder of results within it."""
    if outdir is None or not source.is_dir():
        return False
    home = outdir.resolve()
    if home == source.resolve():
        raise UsageError(f"--outdir {outdir} is the folder of the images themselves: choose another --outdir.")
    return source.resolve() in home.parents and (source / name).parent.resolve().is_relative_to(home)


def _said(err: DataError, source: Path, scratch: Path) -> DataError:
    """The sentence with the file's own name, and with the flags of `gz project` where a recipe's options are named."""
    text = str(err).replace("the recipe wants", "the model makes")
    text = re.sub(r"(choose a smaller image\.size or )?(set )?\bdataset\.(\w+=\w+)", r"add --dataset \3", text)
    return DataError(text.replace(str(scratch / source.name), str(source)).replace(str(scratch), str(source)))


def _is_image(source: Path, folder: Path) -> bool:
    """Whether a file is an image by itself, rather than an archive of a dataset that knows it."""
    try:
        return dataset_for(str(source), registry()) is dataset_for(str(folder), registry())
    except UsageError:
        return True
