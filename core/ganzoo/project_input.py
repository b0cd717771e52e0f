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

import numpy as np
import torch
import torch.nn.functional as F

from ganzoo import project_report as report
from ganzoo.data import claim, open_set, options_for
from ganzoo.errors import DataError, UsageError
from ganzoo.files import whole
from ganzoo.images import Pixels, picture
from ganzoo.model import Model
from ganzoo.registry import registry

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
        return claim(str(source), registry()) is claim(str(folder), registry())
    except UsageError:
        return True


# --- stress ----------------------------------------------------------------------------------------------------------


def moved(image: Pixels, right: float, down: float, scale: float, degrees: float) -> Pixels:
    """An image shifted by parts of its width and height, scaled and turned around its centre; borders are repeated."""
    h, w = image.shape[1:]
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    theta = torch.tensor([[cos, -sin * h / w, 0.0], [sin * w / h, cos, 0.0]], dtype=torch.float64)
    theta[:, 2] = -theta[:, :2] @ torch.tensor([2.0 * right, 2.0 * down], dtype=torch.float64)
    x = torch.from_numpy(image.astype(np.float64))[None]
    at = F.affine_grid(theta[None], [1, len(image), h, w], align_corners=False)
    made = F.grid_sample(x, at, mode="bilinear", padding_mode="border", align_corners=False)
    found: Pixels = made[0].round().clamp(0, 255).to(torch.uint8).numpy()
    return found


def masked(image: Pixels, top: float, left: float, bottom: float, right: float) -> Pixels:
    """An image of which a part, given in parts of height and width, is medium gray."""
    h, w = image.shape[1:]
    found = image.copy()
    found[:, round(top * h) : round(bottom * h), round(left * w) : round(right * w)] = 128
    return found


# a shift of 0.15 is that of 150 of 1024 pixels
STRESS: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda image: image,
    "right 15%": lambda image: moved(image, 0.15, 0, 1, 0),
    "left 15%": lambda image: moved(image, -0.15, 0, 1, 0),
    "down 15%": lambda image: moved(image, 0, 0.15, 1, 0),
    "zoom 1.4": lambda image: moved(image, 0, 0, 1.4, 0),
    "zoom 0.7": lambda image: moved(image, 0, 0, 0.7, 0),
    "turned 45": lambda image: moved(image, 0, 0, 1, 45),
    "turned 90": lambda image: moved(image, 0, 0, 1, 90),
    "middle masked": lambda image: masked(image, 0.35, 0.35, 0.65, 0.65),
    "half masked": lambda image: masked(image, 0, 0.5, 1, 1),
}


def stressed(given: Sequence[Picture]) -> list[Picture]:
    """Each image in all variants of STRESS."""

    def variant(p: Picture, change: Callable[[Pixels], Pixels]) -> Callable[[], Pixels]:
        return lambda: np.ascontiguousarray(change(p.read()))

    return [
        Picture(f"{p.name}-{what.replace(' ', '-').replace('%', '')}", f"{p.source} ({what})", variant(p, change))
        for p in given
        for what, change in STRESS.items()
    ]


def figure(records: Sequence[report.Record], outdir: Path, path: Path) -> None:
    """What became of the variants, in the order of `stressed`: targets over projections, with PSNR."""
    from matplotlib.figure import Figure

    columns = len(STRESS)
    rows = 2 * (len(records) // columns)
    made = Figure(figsize=(1.5 * columns, 1.75 * rows), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False)
    for i, record in enumerate(records):
        row, column = divmod(i, columns)
        for j, which in enumerate(("target", "proj")):
            axis = axes[2 * row + j][column]
            image = picture(report.pixels(outdir / record["name"] / f"{which}.png"))
            axis.imshow(np.asarray(image.convert("RGBA")), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{record['psnr']:.1f} dB" if j else list(STRESS)[column], fontsize=9)
    with whole(path) as temporary:
        made.savefig(temporary, dpi=90, format="png")
