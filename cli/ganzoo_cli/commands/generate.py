"""TODO docstring."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.host.console import note, say
from ganzoo_cli.host.drawing import (
    Checkpoint,
    Cutoff,
    Noise,
    Outdir,
    Psi,
    about_with,
    cautions,
    fits,
    loaded,
    new_outdir,
    numbers,
    places,
    refuse,
    report_on_interrupt,
)
from ganzoo_cli.host.options import Device

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ganzoo.io.images import Pixels
    from ganzoo.model.model import Model

Option = typer.Option
WRITERS = min(4, os.cpu_count() or 1)  # threads that encode pictures while others are computed
WAITING = 2 * WRITERS  # pictures that may wait for them, or be written
Seeds = Annotated[
    str | None, Option(help="Seeds, one an image, as 0,3,10-20; else 0 to 7, or as many as the grid holds.")
]
Classes = Annotated[
    str | None,
    Option("--class", help="Class number, for a conditional model; or several, as 0-9, each with all seeds."),
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


def generate(
    ckpt: Checkpoint,
    seeds: Seeds = None,
    trunc: Psi = 1.0,
    trunc_cutoff: Cutoff = None,
    class_: Classes = None,
    noise_mode: Noise = "const",
    grid: Grid = None,
    batch: Batch = "1",
    outdir: Outdir = Path("out"),
    device: Device = "auto",
) -> None:
    """Draw images from a checkpoint: seed0042.png for each seed, or grid.png. Prints the files."""
    if batch != "auto" and not re.fullmatch(r"[1-9]\d{0,3}", batch):
        refuse(f"--batch {batch}: choose a number from 1 to 9999, or auto.")
    columns, rows = places(grid)
    classes: list[int | None] = [*numbers("--class", class_)] if class_ is not None else [None]
    count = columns * rows // len(classes) if grid else 8
    if grid and not count:
        refuse(f"--grid {grid}: it holds {columns * rows} images, --class names {len(classes)}.")
    chosen = numbers("--seeds", seeds if seeds is not None else f"0-{count - 1}")
    wanted = [(label, seed) for label in classes for seed in chosen]
    if grid and len(wanted) > columns * rows:
        each = f" for each of {len(classes)} classes" if len(classes) > 1 else ""
        refuse(f"--grid {grid}: it holds {columns * rows} images, --seeds names {len(chosen)}{each}.")
    model = loaded(ckpt, device)
    for label in classes:
        model.label(label)  # refuses what cannot be, before the first is drawn
    if grid:
        fits(f"--grid {grid}", model, columns, -(-len(wanted) // columns))
    cautions(model, trunc)
    new_outdir(outdir)
    how = {"psi": trunc, "cutoff": trunc_cutoff, "noise": noise_mode}
    draw(model, wanted, how, outdir, columns, model.largest_batch() if batch == "auto" else int(batch))


def draw(
    model: "Model",
    wanted: Sequence[tuple[int | None, int]],
    how: dict[str, Any],
    outdir: Path,
    columns: int,
    batch_size: int = 1,
) -> None:
    """Write a picture for each class and seed, or with `columns` one of all."""
    import numpy as np

    from ganzoo.io import images
    from ganzoo.io.log import Log

    about = about_with(model, how)
    classes = list(dict.fromkeys(label for label, _ in wanted))
    tiles = []
    with (
        Log(None, len(wanted)) as log,
        report_on_interrupt("images", len(wanted), outdir) as written,
        background_writer(written.append) as write,
    ):
        for done, (label, seed, image) in enumerate(drawn(model, wanted, how, batch_size), 1):
            log.progress(done, f"seed {seed}")
            if columns:
                tiles.append(image)
                continue
            path = outdir / (f"seed{seed:04d}.png" if len(classes) < 2 else f"seed{seed:04d}-class{label}.png")
            own = {"seed": seed} | ({} if label is None else {"label": label})
            write(path, partial(images.save, image, path, about | own))
    if columns:
        seeds = {"seeds": [seed for label, seed in wanted if label == classes[0]]}
        shown = {} if classes == [None] else {"label": classes[0] if len(classes) == 1 else classes}
        images.save(images.grid(np.stack(tiles), columns), outdir / "grid.png", about | seeds | shown)
        say(str(outdir / "grid.png"))


def drawn(
    model: "Model", wanted: Sequence[tuple[int | None, int]], how: dict[str, Any], batch_size: int
) -> "Iterator[tuple[int | None, int, Pixels]]":
    """Class, seed and pixels of each image, so many computed at once; fewer where memory runs out, which is said."""
    from ganzoo.training.device import is_memory

    for label, group in groupby(wanted, key=lambda pair: pair[0]):
        seeds = [seed for _, seed in group]
        while seeds:
            some = seeds[:batch_size]
            try:
                pixels = model.pixels(model.images(some, label=label, batch_size=batch_size, **how))
            except Exception as err:
                if len(some) == 1 or not is_memory(err):
                    raise
                batch_size = (len(some) + 1) // 2
                note(f"out of memory: going on with {batch_size} images at once (--batch {batch_size}).")
                continue
            yield from ((label, seed, image) for seed, image in zip(some, pixels))
            seeds = seeds[len(some) :]


@contextmanager
def background_writer(written: Callable[[Path], object]) -> Iterator[Callable[[Path, Callable[[], None]], None]]:
    """Takes files, and what writes each, and has them written beside what is computed meanwhile.

    Files are printed and given to `written` in the order in which they came, once they are whole. The first that
    fails ends it with its error, where the next file is handed over or at the end. Whatever ends it, an interrupt
    too, what was handed over before is written.
    """
    from concurrent.futures import ThreadPoolExecutor, wait

    waiting: deque[tuple[Path, Future[None]]] = deque()

    def told(most: int) -> None:
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
                told(0)
            waiting.append((path, pool.submit(work)))
            told(WAITING)

        try:
            yield write
            told(0)
        except BaseException:
            with suppress(Exception):
                told(0)
            raise
