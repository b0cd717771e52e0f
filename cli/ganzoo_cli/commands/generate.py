"""`gz generate`."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo_cli.host.console import free_name, free_names, note, say
from ganzoo_cli.host.drawing import (
    Checkpoint,
    Drawing,
    Outdir,
    ensure_outdir,
    load_model,
    note_limits,
    parse_grid,
    parse_numbers,
    parse_vector,
    refuse,
    refuse_large_grid,
    report_on_interrupt,
)
from ganzoo_cli.host.motion import MovedDrawing
from ganzoo_cli.host.options import with_groups

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ganzoo.io.images import Pixels
    from ganzoo.model.model import Model

    Wanted = int | tuple[float, ...] | None  # a class number, a label vector, or no label

Option = typer.Option
WRITERS = min(4, os.cpu_count() or 1)  # threads that encode and write pictures while others are computed
WAITING = 2 * WRITERS  # pictures that wait for a thread or are being written
Seeds = Annotated[
    str | None, Option(help="Seeds, one an image, as 0,3,10-20; else 0 to 7, or as many as the grid holds.")
]
Classes = Annotated[
    str | None,
    Option("--class", help="Class number, for a conditional model; or several, as 0-9, each with all seeds."),
]
Vectors = Annotated[
    list[str] | None,
    Option("--label", metavar="X,X,...", help="Label vector, for a model trained on such, as 0.2,0.8; repeatable."),
]
Grid = Annotated[str | None, Option(metavar="COLUMNSxROWS", help="One picture, grid.png, instead of one a seed.")]
Batch = Annotated[
    str,
    Option(
        metavar="N|auto",
        help="Images computed at once, auto for what memory holds: faster for small ones and on a GPU. With 1, a seed "
        "gives the same image to the last bit in whatever company.",
    ),
]


@with_groups
def generate(
    ckpt: Checkpoint,
    *,
    seeds: Seeds = None,
    class_: Classes = None,
    label: Vectors = None,
    drawing: MovedDrawing,
    grid: Grid = None,
    batch: Batch = "1",
    outdir: Outdir = Path("out"),
) -> None:
    """Draw images from a checkpoint: seed0042.png for each seed, or grid.png. Prints the files.

    A file that exists is kept: the new one is grid-1.png.
    """
    if batch != "auto" and not re.fullmatch(r"[1-9]\d{0,3}", batch):
        refuse(f"--batch {batch}: choose a number from 1 to 9999, or auto.")
    columns, rows = parse_grid(grid)
    labels = _labels(class_, label)
    count = columns * rows // len(labels) if grid else 8
    if grid and not count:
        refuse(
            f"--grid {grid}: it holds {columns * rows} images, --{'label' if label else 'class'} names {len(labels)}."
        )
    numbers = parse_numbers("--seeds", seeds if seeds is not None else f"0-{count - 1}")
    wanted = [(each, seed) for each in labels for seed in numbers]
    if grid and len(wanted) > columns * rows:
        kind = "labels" if label else "classes"
        each = f" for each of {len(labels)} {kind}" if len(labels) > 1 else ""
        refuse(f"--grid {grid}: it holds {columns * rows} images, --seeds names {len(numbers)}{each}.")
    model = load_model(ckpt, drawing.device)
    for each_label in labels:
        model.label(each_label)  # refuses a class that the model does not have, before the first image is drawn
    if grid:
        refuse_large_grid(f"--grid {grid}", model, columns, -(-len(wanted) // columns))
    note_limits(model, drawing.trunc)
    ensure_outdir(outdir)
    with drawing.moved(model):
        draw(model, wanted, drawing, outdir, columns, model.largest_batch() if batch == "auto" else int(batch))


def _labels(class_: str | None, vectors: list[str] | None) -> "list[Wanted]":
    """Class numbers of --class, vectors of --label, or no label. Raises UsageError, for both of them too."""
    if class_ is not None and vectors:
        refuse(f"--class {class_} and --label {vectors[0]}: give one of them.")
    if vectors:
        return [parse_vector("--label", text) for text in vectors]
    return [None] if class_ is None else [*parse_numbers("--class", class_)]


def draw(
    model: "Model",
    wanted: "Sequence[tuple[Wanted, int]]",
    drawing: Drawing,
    outdir: Path,
    columns: int = 0,
    batch_size: int = 1,
) -> None:
    """Write a picture of each (label, seed); or one picture of all, where `columns` are given. Prints the files."""
    import numpy as np

    from ganzoo.io import images
    from ganzoo.io.log import Log

    about = drawing.about(model)
    labels = list(dict.fromkeys(label for label, _ in wanted))
    names = {} if columns else _names(wanted, outdir)
    tiles = []
    with (
        Log(None, len(wanted)) as log,
        report_on_interrupt("images", len(wanted), outdir) as written,
        background_writer(written.append) as write,
    ):
        for done, (label, seed, image) in enumerate(compute(model, wanted, drawing, batch_size), 1):
            log.progress(done, f"seed {seed}")
            if columns:
                tiles.append(image)
                continue
            path = names[label, seed]
            about_image = about | {"seed": seed} | ({} if label is None else {"label": label})
            write(path, partial(images.save, image, path, about_image))
    if columns:
        about |= {"seeds": [seed for label, seed in wanted if label == labels[0]]}
        about |= {} if labels == [None] else {"label": labels[0] if len(labels) == 1 else labels}
        path = free_name(outdir / "grid.png", ".npy")
        images.save(images.grid(np.stack(tiles), columns), path, about)
        say(str(path))


def _names(wanted: "Sequence[tuple[Wanted, int]]", outdir: Path) -> "dict[tuple[Wanted, int], Path]":
    """The file of each (label, seed): seed0042.png, or seed0042-1.png where that exists.

    Of several classes it is seed0042-class7.png; of several vectors, by their order, seed0042-label0.png.
    """
    labels = list(dict.fromkeys(label for label, _ in wanted))
    kinds = {
        label: f"-label{number}" if isinstance(label, tuple) else f"-class{label}"
        for number, label in enumerate(labels)
    }
    kinds = kinds if len(labels) > 1 else dict.fromkeys(labels, "")
    paths = {(label, seed): outdir / f"seed{seed:04d}{kinds[label]}.png" for label, seed in wanted}
    names = free_names(paths.values(), ".npy")
    return {pair: names[path] for pair, path in paths.items()}


def compute(
    model: "Model", wanted: "Sequence[tuple[Wanted, int]]", drawing: Drawing, batch_size: int
) -> "Iterator[tuple[Wanted, int, Pixels]]":
    """Yield label, seed and uint8 [C, H, W] of each image.

    `batch_size` images of one label are computed at once; fewer from when memory runs out, which is noted on stderr.
    """
    from ganzoo.training.device import is_out_of_memory

    for label, group in groupby(wanted, key=lambda pair: pair[0]):
        seeds = [seed for _, seed in group]
        while seeds:
            batch = seeds[:batch_size]
            settings = drawing.settings | {"label": label}
            try:
                pixels = model.pixels(model.images(batch, batch_size=batch_size, **settings))
            except Exception as err:
                if len(batch) == 1 or not is_out_of_memory(err):
                    raise
                batch_size = (len(batch) + 1) // 2
                note(f"out of memory: going on with {batch_size} images at once (--batch {batch_size}).")
                continue
            yield from ((label, seed, image) for seed, image in zip(batch, pixels))
            seeds = seeds[len(batch) :]


@contextmanager
def background_writer(written: Callable[[Path], object]) -> Iterator[Callable[[Path, Callable[[], None]], None]]:
    """Yield a function (path, work), which calls work() in a thread to write the file, while others are computed.

    Complete files are printed and given to `written` in the order in which they were handed over. The error of the
    first that fails is raised where the next file is handed over, or at the end. Whatever ends the block, an interrupt
    too, all files that were handed over are written.
    """
    from concurrent.futures import ThreadPoolExecutor, wait

    waiting: deque[tuple[Path, Future[None]]] = deque()

    def report(most: int) -> None:
        """Report finished files; wait until at most so many are unfinished."""
        while waiting and (len(waiting) > most or waiting[0][1].done()):
            path, future = waiting[0]
            wait([future])  # an interrupt falls here, and none is lost by it
            waiting.popleft()
            future.result()
            written(path)
            say(str(path))

    with ThreadPoolExecutor(WRITERS) as pool:

        def write(path: Path, work: Callable[[], None]) -> None:
            if path in (earlier for earlier, _ in waiting):  # two threads may not write one file
                report(0)
            waiting.append((path, pool.submit(work)))
            report(WAITING)

        try:
            yield write
            report(0)
        except BaseException:
            with suppress(Exception):
                report(0)
            raise
