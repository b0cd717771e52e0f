"""`gz generate`, and what the commands that draw images share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ganzoo_cli.host.console import known, note

if TYPE_CHECKING:
    from ganzoo.model.model import Model


MOST = 1_000_000
LAST_SEED = 2**32 - 1
Option = typer.Option
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")]
Psi = Annotated[float, Option("--trunc", "--psi", help="Truncation psi: 1 for none; smaller is better and more alike.")]
Cutoff = Annotated[int | None, Option(min=0, help="Layers that are truncated, from the coarsest; else all.")]
Class = Annotated[int | None, Option("--class", help="Class number, for a conditional model.")]
Noise = Annotated[Literal["const", "random", "none"], Option(help="const: stored noise; random: noise of the seed.")]
Outdir = Annotated[Path, Option(help="Folder for the pictures.")]


def refuse(sentence: str) -> NoReturn:
    """Raise UsageError."""
    from ganzoo.errors import UsageError

    raise UsageError(sentence)


def loaded(ckpt: Path, device: str) -> "Model":
    """The model; plugins that are broken are named on stderr."""
    known()
    import ganzoo
    from ganzoo.training.device import keep_memory

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
    from ganzoo.io.files import ensure_folder

    ensure_folder(outdir, f"--outdir {outdir}")


@contextmanager
def report_on_interrupt(what: str, total: int, folder: Path) -> Iterator[list[Any]]:
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
    from ganzoo.io.images import refuse_huge

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
