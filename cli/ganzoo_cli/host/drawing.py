"""Shared by the commands that draw images: their options, loading the model, refusals and notes."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ganzoo_cli.host.console import known, note
from ganzoo_cli.host.options import Device

if TYPE_CHECKING:
    from ganzoo.model.model import LabelInput, Model

MOST = 1_000_000  # images that one command draws
LAST_SEED = 2**32 - 1
RUNS = Path("runs")  # where training makes its directories, unless --outdir says otherwise
Option = typer.Option
Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors; a run directory, for its newest; or latest.")
]
Psi = Annotated[float, Option("--trunc", "--psi", help="Truncation psi: 1 for none; smaller is better and more alike.")]
Cutoff = Annotated[int | None, Option(min=0, help="Layers that are truncated, from the coarsest; else all.")]
Class = Annotated[int | None, Option("--class", help="Class number, for a conditional model.")]
LabelVector = Annotated[
    str | None, Option("--label", metavar="X,X,...", help="Label vector, for a model trained on such, as 0.2,0.8.")
]
Noise = Annotated[Literal["const", "random", "none"], Option(help="const: stored noise; random: noise of the seed.")]
Outdir = Annotated[Path, Option(help="Folder for the pictures.")]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a command draws images: a group of options (`options.with_groups`)."""

    trunc: Psi = 1.0
    trunc_cutoff: Cutoff = None
    noise_mode: Noise = "const"
    device: Device = "auto"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `Model.images` that these options give."""
        return {"psi": self.trunc, "cutoff": self.trunc_cutoff, "noise": self.noise_mode}

    def about(self, model: "Model") -> dict[str, Any]:
        """Metadata of a picture: the model, and the settings that were given."""
        return model.about() | {name: value for name, value in self.settings.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ClassDrawing(Drawing):
    """How a command draws images of one class, or of one label vector."""

    class_: Class = None
    label: LabelVector = None

    @property
    def label_input(self) -> "LabelInput":
        """The class number or label vector that these options give. Raises UsageError."""
        return label_input(self.class_, self.label)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `Model.images` that these options give."""
        return {"psi": self.trunc, "cutoff": self.trunc_cutoff, "label": self.label_input, "noise": self.noise_mode}


def refuse(sentence: str) -> NoReturn:
    """Raise UsageError."""
    from ganzoo.errors import UsageError

    raise UsageError(sentence)


def load_model(ckpt: Path, device: str) -> "Model":
    """Load a model; broken plugins are named on stderr."""
    known()
    import ganzoo
    from ganzoo.training.device import keep_memory

    model = ganzoo.load(newest_snapshot(ckpt), device)
    if model.device.type == "cpu":
        keep_memory()
    return model


def newest_snapshot(ckpt: Path) -> Path:
    """Return the newest snapshot of a run directory, or for "latest" of the newest run in runs/; else the path itself.

    Which one that is, is noted on stderr. Raises CheckpointError where "latest" finds none.
    """
    from ganzoo.errors import CheckpointError
    from ganzoo.runs.folder import newest

    if ckpt == Path("latest") and not ckpt.exists():
        runs = sorted((path for path in RUNS.glob("[0-9]*-*") if path.is_dir()), reverse=True)
        snapshots = [path for run in runs for path in newest(run, "snapshot")[:1]]
        if not snapshots:
            cure = "name a snapshot-*.safetensors, or a run directory"
            raise CheckpointError(f"no run with a snapshot in {RUNS.absolute()}", place="latest:", cure=cure)
    else:
        snapshots = newest(ckpt, "snapshot")[:1] if ckpt.is_dir() else []
    if snapshots:
        note(f"{ckpt}: {snapshots[0]}")
    return snapshots[0] if snapshots else ckpt


def note_limits(model: "Model", psi: float | None = None) -> None:
    """Say on stderr that a model is not full-grown, or that truncation has no mean to pull towards."""
    if model.unfinished:
        note(f"{model.path.name}: {model.unfinished}: images are of the size it had reached.")
    if psi not in (None, 1) and not model.G.has_styles:
        note(f"--trunc {psi:g}: {model.path.name} makes images from latents, without style codes: it has no effect.")
    elif psi not in (None, 1) and not model.has_mapping:
        note(
            f"--trunc {psi:g}: {model.path.name} has no learned mapping, whose mean truncation would pull towards: its "
            f"latents only get another length, one that training has not shown it."
        )


def ensure_outdir(outdir: Path) -> None:
    """Make the folder for the pictures, if need be. Raises UsageError."""
    from ganzoo.io.files import ensure_folder

    ensure_folder(outdir, f"--outdir {outdir}")


@contextmanager
def report_on_interrupt(what: str, total: int, folder: Path) -> Iterator[list[Any]]:
    """Yield a list for the files that have been written; at an interrupt, say how many of the total there are.

    Raises Interrupted where there is a file.
    """
    written: list[Any] = []
    try:
        yield written
    except KeyboardInterrupt as err:
        if not written:
            raise
        from ganzoo.errors import Interrupted

        raise Interrupted(f"interrupted: {len(written):,} of {total:,} {what} written to {folder}/.") from err


def refuse_large_grid(option: str, model: "Model", columns: int, rows: int) -> None:
    """Raise UsageError where a picture of columns x rows images would be too large to be made or opened."""
    from ganzoo.io.images import refuse_huge

    height, width = model.G.shape.sizes[model.stage.level]
    channels = model.G.shape.channels
    refuse_huge(option, columns * width * (1 if channels in (1, 3, 4) else channels), rows * height)


def parse_grid(text: str | None) -> tuple[int, int]:
    """Columns and rows of --grid: '4x2' -> (4, 2), None -> (0, 0). Raises UsageError."""
    if text is None:
        return 0, 0
    match = re.fullmatch(r"([1-9]\d{0,2})[xX]([1-9]\d{0,2})", text)
    if not match:
        refuse(f"--grid {text}: write it as columns x rows, as 8x4.")
    return int(match[1]), int(match[2])


def label_input(class_: int | None, label: str | None) -> "LabelInput":
    """The class number or label vector of --class and --label. Raises UsageError, for both of them too."""
    if class_ is not None and label is not None:
        refuse(f"--class {class_} and --label {label}: give one of them.")
    return class_ if label is None else parse_vector("--label", label)


def parse_vector(option: str, text: str) -> tuple[float, ...]:
    """Numbers of an option: '0.2,0.8' -> (0.2, 0.8). Raises UsageError where one is not finite."""
    values: list[float] = []
    for part in text.strip("[] ").split(","):
        try:
            values.append(float(part))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            refuse(f"{option} {text[:80]}: '{part[:40]}' is no finite number: write it as 0.2,0.8.")
    return tuple(values)


def parse_numbers(option: str, text: str) -> list[int]:
    """Numbers and ranges of an option: '0,3,10-12' -> [0, 3, 10, 11, 12]. Raises UsageError."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4000})(?:-(\d{1,4000}))?\s*", part)  # int() takes at most 4300 digits
        if not match:
            refuse(f"{option} {text}: '{part}' is no number from 0 on and no range; write 0,3,10-20.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            refuse(f"{option} {text}: '{part}' ends before it begins.")
        if last > LAST_SEED:
            refuse(f"{option} {text[:80]}: {str(last)[:40]} is too large: choose from 0 to {LAST_SEED}.")
        if len(numbers) + last - first >= MOST:
            refuse(f"{option} {text}: '{part}' makes more than {MOST:,} numbers.")
        numbers += range(first, last + 1)
    return numbers
