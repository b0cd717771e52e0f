"""A run's directory: its name, the files that describe it, and which of its states training continues from."""

import errno
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.interfaces import Dataset
from ganzoo.io import launch
from ganzoo.io.files import atomic_write, quoted
from ganzoo.io.log import read_json_lines
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.restore import recipe_of
from ganzoo.recipe.source import to_yaml
from ganzoo.registry.lookup import registry
from ganzoo.version import __version__

Policy = Literal["warn", "stop", "off"]
MAY_DIFFER = (
    "training.kimg",
    "training.tick_kimg",
    "training.snapshot_ticks",
    "training.keep_last",
    "training.keep_best",
    "metrics",
    "loggers",
    "title",
    "dataset.path",
)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that its recipe does not hold.

    Args:
        name: of the recipe, for the name of the run directory
        outdir: where the run directory is made
        desc: a word for its name
        resume: "auto", "latest", a run directory or a state file to continue; None for a new run
        init_from: a snapshot whose weights a new run begins with
        device: "auto", "cpu", "cuda", "cuda:1" or "mps"
        workers: threads that read images
        watchdog: whether alarms of monitors are logged ("warn"), end the training too ("stop"), or are not raised
        text: the recipe as given
        command: the command line, for the record
    """

    name: str = "recipe"
    outdir: Path = Path("runs")
    desc: str = ""
    resume: str | None = None
    init_from: Path | None = None
    device: str = "auto"
    workers: int = 2
    watchdog: Policy = "warn"
    text: str = ""
    command: list[str] = field(default_factory=lambda: sys.argv)


def newest(folder: Path, kind: str) -> list[Path]:
    """Return a run's files of one kind, "snapshot" or "state", the newest first."""
    files = (p for p in folder.glob(f"{kind}-*.safetensors") if re.fullmatch(r"[\d.]+", p.stem.partition("-")[2]))
    return sorted(files, key=lambda p: float(p.stem.partition("-")[2]), reverse=True)


def new_folder(options: RunOptions, dataset: Dataset) -> Path:
    """Make the next run's directory, as 00003-RECIPE-DATASET-DESC, whose number no other has.

    Raises UsageError where that cannot be.
    """
    words = [options.name, dataset.title, *([options.desc] if options.desc else [])]
    name = "-".join(re.sub(r"[^\w.-]+", "_", word) for word in words)
    try:
        options.outdir.mkdir(parents=True, exist_ok=True)
        while True:
            number = max(_numbers(options.outdir), default=-1) + 1
            if folder := _numbered_folder(options.outdir, number, name):
                return folder
    except OSError as err:
        reason = err.strerror or str(err)
        if err.errno == errno.ENAMETOOLONG:
            cure = f"its name has {len(name)} letters: choose a shorter --desc, or shorter names of recipe and data"
        else:
            cure = "choose a folder you may write to"
        fault = f"cannot create the run directory ({reason})"
        raise UsageError(fault, place=f"--outdir {options.outdir}:", cure=cure) from None


def _numbers(outdir: Path) -> list[int]:
    """Numbers of the run directories, and of those that another training is making at this moment."""
    return [int(m[1]) for p in outdir.iterdir() if (m := re.match(r"\.?(\d{5,})(?:-|\.new$)", p.name))]


def _numbered_folder(outdir: Path, number: int, name: str) -> Path | None:
    """Make a run directory; None where its number was taken in the meantime.

    Only the making of a directory of one name is indivisible, and names differ: `.00003.new` claims the number.
    """
    claim = outdir / f".{number:05d}.new"
    try:
        claim.mkdir()
    except FileExistsError:
        return None
    try:
        if any(outdir.glob(f"{number:05d}-*")):
            return None
        folder = outdir / f"{number:05d}-{name}"
        remember_launch(outdir, folder)  # before it exists: processes may be killed between the two
        folder.mkdir()
        return folder
    finally:
        claim.rmdir()


def require_outdir(outdir: Path) -> None:
    """Raise UsageError where no run directory could be made: before the images are read, not after."""
    if any("\ud800" <= letter <= "\udfff" for letter in str(outdir)):
        raise UsageError(
            f"--outdir {str(outdir)!a}: the name holds bytes that are no UTF-8: checkpoints cannot be written to it; "
            f"choose another."
        )
    parent = next(p for p in [outdir, *outdir.absolute().parents] if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        reason = "is no folder" if not parent.is_dir() else "may not be written to"
        raise UsageError(
            f"--outdir {outdir}: cannot create the run directory, since {parent} {reason}. Choose another."
        )


def candidate_states(resume: str, outdir: Path) -> list[Path]:
    """Return the newest state of each run that `resume` may mean, the newest run first.

    Raises CheckpointError where there is none, unless `resume` is "auto".
    """
    if resume in ("auto", "latest"):
        folders = sorted((p for p in outdir.glob("*-*") if p.is_dir()), reverse=True)
        states = [state for folder in folders for state in newest(folder, "state")[:1]]
        fault = f"no run with a state in {outdir}"
    else:
        path = Path(resume)
        states = newest(path, "state")[:1] if path.is_dir() else [path]
        fault = "the folder holds no state-*.safetensors"
    if not states and resume != "auto":
        raise CheckpointError(f"--resume {resume}: {fault}.")
    return states


def resume_from(options: RunOptions, header: Header) -> Path | None:
    """Return the state that `resume` means for a run of this recipe and data; None for a run from the beginning."""
    if (folder := folder_of_launch(options.outdir)) and (states := newest(folder, "state")):
        return states[0]
    if options.resume is None:
        return None
    states = candidate_states(options.resume, options.outdir)
    if options.resume != "auto":
        return states[0]
    init_from = str(options.init_from) if options.init_from else None
    for path in states:
        try:
            earlier = checkpoint.header(path)
        except CheckpointError:
            continue  # a damaged state of another run is no reason not to begin this one
        same_recipe = not differences(earlier.recipe, header.recipe)
        same_data = earlier.data.get("fingerprint") == header.data["fingerprint"]
        if same_recipe and same_data and _init_from(path.parent) == init_from:
            return path
    return None


def _init_from(folder: Path) -> str | None:
    """Return the snapshot whose weights a run began with, if any."""
    try:
        return str(json.loads((folder / "inherited.json").read_text(encoding="utf-8"))["from"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- processes that torchrun starts anew ------------------------------------------------------------------------------


def _launch_file(outdir: Path) -> Path:
    """The file that holds the run directory of this launch, for its processes when torchrun starts them anew."""
    return outdir / f".launch-{os.environ.get('TORCHELASTIC_RUN_ID', '')}-{os.getppid()}"


def folder_of_launch(outdir: Path) -> Path | None:
    """Return the run directory that processes of this launch made before they were started anew, if any."""
    if not launch.restarts():
        return None
    try:
        folder = Path(_launch_file(outdir).read_text(encoding="utf-8"))
    except OSError:
        return None
    return folder if folder.is_dir() else None


def remember_launch(outdir: Path, folder: Path) -> None:
    """Note the run directory for processes that torchrun may start anew."""
    if launch.is_distributed():
        with atomic_write(_launch_file(outdir)) as temporary:
            temporary.write_text(str(folder.absolute()), encoding="utf-8")


def forget_launch(outdir: Path) -> None:
    """Remove that note, at the end of the launch."""
    if launch.is_distributed():
        _launch_file(outdir).unlink(missing_ok=True)


# --- continuing a run -------------------------------------------------------------------------------------------------


def set_back(folder: Path, images: int) -> None:
    """Bring a run directory back to what it was after so many images.

    Later states and snapshots, of a branch that is left, go to `superseded/`; later lines of statistics are cut;
    temporary files of a killed run are removed.
    """
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink()
    for file in [*newest(folder, "state"), *newest(folder, "snapshot")]:
        try:
            later = checkpoint.header(file).images > images
        except CheckpointError:
            later = True  # damaged: out of the way, but not lost
        if later:
            (folder / "superseded").mkdir(exist_ok=True)
            file.replace(folder / "superseded" / file.name)
    for file in folder.glob("*.jsonl"):
        _keep_rows(file, lambda row: row["kimg"] <= images / 1000)


def cut_stopped_ticks(folder: Path) -> None:
    """Remove the line of a tick within which training stopped, where it goes on: the whole tick has its own line."""
    file = folder / "stats.jsonl"
    if any(row.get("stopped") for row in read_json_lines(file)):
        _keep_rows(file, lambda row: not row.get("stopped"))


def _keep_rows(file: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Write a .jsonl file anew with the rows that are wanted."""
    rows = [row for row in read_json_lines(file) if wanted(row)]
    with atomic_write(file) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Describe where two filled recipes differ in a way that matters for resuming, as 'PATH (was A, now B)'."""
    if at in MAY_DIFFER:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        pairs = [(f"{at}.{key}".lstrip("."), a.get(key, ...), b.get(key, ...)) for key in {**a, **b}]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(f"{at}.{i}", x, y) for i, (x, y) in enumerate(zip(a, b))]
    else:
        return [] if a == b else [f"{at} (was {_short(a)}, now {_short(b)})"]
    return [difference for path, x, y in pairs for difference in differences(x, y, path)]


def _short(value: Any) -> str:
    return "nothing" if value is ... else value["use"] if isinstance(value, dict) and "use" in value else repr(value)


def snapshot_of(path: Path) -> Path:
    """Return the snapshot that was written with a state, from which a new run can begin; a snapshot is its own."""
    beside = path.with_name(f"snapshot-{path.name.removeprefix('state-')}")
    return beside if path.name.startswith("state-") else path


def require_same_recipe(header: Header, recipe: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a state was trained with another recipe."""
    if differing := differences(recipe_of(path, header).dump(), recipe):
        raise CheckpointError(
            f"{path} was trained with another recipe: {', '.join(differing[:4])}. Resume with the same recipe "
            f"({path.parent / 'recipe.resolved.yaml'}); only {', '.join(MAY_DIFFER)} may change. To change the others, "
            f"begin a new run with its weights: '--init-from {quoted(snapshot_of(path))}' in place of --resume."
        )


# --- files that describe a run ----------------------------------------------------------------------------------------


def describe(folder: Path, recipe: dict[str, Any], device: torch.device, options: RunOptions) -> None:
    """Write recipe.yaml as given, recipe.resolved.yaml with every option, and environment.json."""
    given = folder / "recipe.yaml"
    if not given.exists():
        given.write_text(options.text or to_yaml(recipe), encoding="utf-8", errors="backslashreplace")
    (folder / "recipe.resolved.yaml").write_text(to_yaml(recipe), encoding="utf-8", errors="surrogateescape")
    text = json.dumps(environment(device, options.command), indent=1)
    (folder / "environment.json").write_text(text, encoding="utf-8")


def environment(device: torch.device, command: list[str]) -> dict[str, Any]:
    """Software and hardware of a run: versions, plugins, device, threads, and the command line."""
    return {
        "command": command,
        "ganzoo": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "plugins": {p: " ".join(v) for p, v in registry().versions.items()},
    }
