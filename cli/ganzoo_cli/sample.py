"""`gz generate`, and what the commands that draw images share."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ganzoo_cli.console import Device, known, note, say

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ganzoo.images import Pixels
    from ganzoo.model import Model

MOST = 1_000_000
LAST_SEED = 2**32 - 1
WRITERS = min(4, os.cpu_count() or 1)  # threads that encode pictures while others are computed
WAITING = 2 * WRITERS  # pictures that may wait for them, or be written

Option = typer.Option
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")]
Seeds = Annotated[
    str | None, Option(help="Seeds, one an image, as 0,3,10-20; else 0 to 7, or as many as the grid holds.")
]
Psi = Annotated[float, Option("--trunc", "--psi", help="Truncation psi: 1 for none; smaller is better and more alike.")]
Cutoff = Annotated[int | None, Option(min=0, help="Layers that are truncated, from the coarsest; else all.")]
Class = Annotated[int | None, Option("--class", help="Class number, for a conditional model.")]
Classes = Annotated[
    str | None,
    Option("--class", help="Class number, for a conditional model; or several, as 0-9, each with all seeds."),
]
Noise = Annotated[Literal["const", "random", "none"], Option(help="const: stored noise; random: noise of the seed.")]
Grid = Annotated[str | None, Option(metavar="COLUMNSxROWS", help="One picture, grid.png, instead of one a seed.")]
Outdir = Annotated[Path, Option(help="Folder for the pictures.")]
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
    draw(model, wanted, how, outdir, columns, model.fitting() if batch == "auto" else int(batch))


def draw(
    model: "Model",
    wanted: Sequence[tuple[int | None, int]],
    how: dict[str, Any],
    outdir: Path,
    columns: int,
    at_once: int = 1,
) -> None:
    """Write a picture for each class and seed, or with `columns` one of all."""
    import numpy as np

    from ganzoo import images
    from ganzoo.log import Log

    about = about_with(model, how)
    classes = list(dict.fromkeys(label for label, _ in wanted))
    tiles = []
    with (
        Log(None, len(wanted)) as log,
        counted("images", len(wanted), outdir) as written,
        beside(written.append) as write,
    ):
        for done, (label, seed, image) in enumerate(drawn(model, wanted, how, at_once), 1):
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
    model: "Model", wanted: Sequence[tuple[int | None, int]], how: dict[str, Any], at_once: int
) -> "Iterator[tuple[int | None, int, Pixels]]":
    """Class, seed and pixels of each image, so many computed at once; fewer where memory runs out, which is said."""
    from ganzoo.device import is_memory

    for label, group in groupby(wanted, key=lambda pair: pair[0]):
        seeds = [seed for _, seed in group]
        while seeds:
            some = seeds[:at_once]
            try:
                pixels = model.pixels(model.images(some, label=label, at_once=at_once, **how))
            except Exception as err:
                if len(some) == 1 or not is_memory(err):
                    raise
                at_once = (len(some) + 1) // 2
                note(f"out of memory: going on with {at_once} images at once (--batch {at_once}).")
                continue
            yield from ((label, seed, image) for seed, image in zip(some, pixels))
            seeds = seeds[len(some) :]


@contextmanager
def beside(written: Callable[[Path], object]) -> Iterator[Callable[[Path, Callable[[], None]], None]]:
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


def refuse(sentence: str) -> NoReturn:
    """Raise UsageError."""
    from ganzoo.errors import UsageError

    raise UsageError(sentence)


def loaded(ckpt: Path, device: str) -> "Model":
    """The model; plugins that are broken are named on stderr."""
    known()
    import ganzoo
    from ganzoo.device import keep_memory

    model = ganzoo.load(ckpt, device)
    if model.device.type == "cpu":
        keep_memory()
    return model


def cautions(model: "Model", psi: float | None = None) -> None:
    """Say on stderr what a user may not expect of this model's images."""
    if model.unfinished:
        note(f"{model.path.name}: {model.unfinished}: images are of the size it had reached.")
    if psi not in (None, 1) and not model.has_mapping:
        note(
            f"--trunc {psi:g}: {model.path.name} has no learned mapping, whose mean truncation would pull towards: its "
            f"latents only get another length, one that training has not shown it."
        )


def new_outdir(outdir: Path) -> None:
    """Make the folder for the pictures."""
    from ganzoo.images import folder

    folder(outdir, f"--outdir {outdir}")


@contextmanager
def counted(what: str, total: int, folder: Path) -> Iterator[list[Any]]:
    """Takes the files that have been written, and at an interrupt says how many there are."""
    written: list[Any] = []
    try:
        yield written
    except KeyboardInterrupt as err:
        if not written:
            raise
        from ganzoo.errors import Interrupted

        raise Interrupted(f"interrupted: {len(written):,} of {total:,} {what} written to {folder}/.") from err


def about_with(model: "Model", how: dict[str, Any]) -> dict[str, Any]:
    """A picture's metadata: the model, and the options that were given."""
    return model.about() | {name: value for name, value in how.items() if value is not None}


def fits(what: str, model: "Model", columns: int, rows: int) -> None:
    """Refuse a picture of so many images that it could not be made or opened."""
    from ganzoo.images import refuse_huge

    height, width = model.G.shape.sizes[model.stage.level]
    channels = model.G.shape.channels
    refuse_huge(what, columns * width * (1 if channels in (1, 3, 4) else channels), rows * height)


def places(text: str | None) -> tuple[int, int]:
    """'4x2' -> (4, 2); zeros without a grid."""
    if text is None:
        return 0, 0
    match = re.fullmatch(r"([1-9]\d{0,2})[xX]([1-9]\d{0,2})", text)
    if not match:
        refuse(f"--grid {text}: write it as columns x rows, as 8x4.")
    return int(match[1]), int(match[2])


def numbers(option: str, text: str) -> list[int]:
    """'0,3,10-12' -> [0, 3, 10, 11, 12]."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4000})(?:-(\d{1,4000}))?\s*", part)  # Python reads no longer ones
        if not match:
            refuse(f"{option} {text}: '{part}' is no number from 0 on and no range; write 0,3,10-20.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            refuse(f"{option} {text}: '{part}' ends before it begins.")
        if last > LAST_SEED:
            refuse(f"{option} {text[:80]}: {str(last)[:40]} is too large: choose from 0 to {LAST_SEED}.")
        if len(found) + last - first >= MOST:
            refuse(f"{option} {text}: '{part}' makes more than {MOST:,} numbers.")
        found += range(first, last + 1)
    return found
