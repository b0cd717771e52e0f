"""A run's directory: its name, what identifies it, and which of its states training continues from."""

import json
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.gan.watchdog import Policy
from ganzoo.interfaces import Dataset
from ganzoo.io import launch
from ganzoo.io.log import read_json_lines
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.restore import recipe_of
from ganzoo.registry.lookup import registry
from ganzoo.version import __version__

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
    """What a run is told beside its recipe."""

    name: str = "recipe"  # of the recipe, for the run directory
    outdir: Path = Path("runs")
    desc: str = ""
    resume: str | None = None  # auto, latest, a run directory or a state file
    init_from: Path | None = None  # a snapshot whose weights a new run begins with
    device: str = "auto"
    workers: int = 2
    watchdog: Policy = "warn"
    text: str = ""  # the recipe as given
    command: list[str] = field(default_factory=lambda: sys.argv)


def newest(folder: Path, kind: str) -> list[Path]:
    """A run's snapshots, or states, the newest first."""
    files = (p for p in folder.glob(f"{kind}-*.safetensors") if re.fullmatch(r"[\d.]+", p.stem.partition("-")[2]))
    return sorted(files, key=lambda p: float(p.stem.partition("-")[2]), reverse=True)


def new_folder(options: RunOptions, dataset: Dataset) -> Path:
    """Make the next run's directory. Raises UsageError where that cannot be."""
    try:
        options.outdir.mkdir(parents=True, exist_ok=True)
        numbers = [int(m[1]) for p in options.outdir.iterdir() if (m := re.match(r"(\d{5,})-", p.name))]
        words = [options.name, dataset.title, *([options.desc] if options.desc else [])]
        name = "-".join(re.sub(r"[^\w.-]+", "_", w) for w in words)
        folder = options.outdir / f"{max(numbers, default=-1) + 1:05d}-{name}"
        folder.mkdir()
    except OSError as err:
        raise UsageError(
            f"--outdir {options.outdir}: cannot create the run directory ({err.strerror or err}). Choose a "
            "folder you may write to."
        ) from None
    return folder


def require_outdir(outdir: Path) -> None:
    """Raise UsageError where no run directory could be made: before the images are read, not after."""
    there = next(p for p in [outdir, *outdir.absolute().parents] if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "is no folder" if not there.is_dir() else "may not be written to"
        raise UsageError(f"--outdir {outdir}: cannot create the run directory, since {there} {reason}. Choose another.")


def candidate_states(resume: str, outdir: Path) -> list[Path]:
    """The newest state of each run that `resume` may mean, the newest run first.

    Raises CheckpointError where there is none, unless `resume` is "auto".
    """
    if resume in ("auto", "latest"):
        folders = sorted((p for p in outdir.glob("*-*") if p.is_dir()), reverse=True)
        found, where = (
            [s for folder in folders for s in newest(folder, "state")[:1]],
            f"no run with a state in {outdir}",
        )
    else:
        path = Path(resume)
        found, where = newest(path, "state")[:1] if path.is_dir() else [path], "the folder holds no state-*.safetensors"
    if not found and resume != "auto":
        raise CheckpointError(f"--resume {resume}: {where}.")
    return found


def resume_from(options: RunOptions, head: Header) -> Path | None:
    """The state file that `resume` means for a run of this recipe and data, or None to begin anew."""
    if (folder := folder_of_launch(options.outdir)) and (found := newest(folder, "state")):
        return found[0]
    if options.resume is None:
        return None
    found = candidate_states(options.resume, options.outdir)
    if options.resume != "auto":
        return found[0]
    for state_file in found:
        try:
            there = checkpoint.header(state_file)
        except CheckpointError:
            continue  # a damaged state of another run is no reason not to begin this one
        same = not differences(there.recipe, head.recipe)
        same = same and there.data.get("fingerprint") == head.data["fingerprint"]
        if same and _begun_with(state_file.parent) == (str(options.init_from) if options.init_from else None):
            return state_file
    return None


def _begun_with(folder: Path) -> str | None:
    """The snapshot whose weights a run began with, if any."""
    try:
        return str(json.loads((folder / "inherited.json").read_text(encoding="utf-8"))["from"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(outdir: Path) -> Path:
    """Where the processes that torchrun started find the run directory of their launch, when it starts them anew."""
    return outdir / f".launch-{os.environ.get('TORCHELASTIC_RUN_ID', '')}-{os.getppid()}"


def folder_of_launch(outdir: Path) -> Path | None:
    """The run directory that processes of this launch made before they were started anew."""
    if not launch.restarts():
        return None
    try:
        folder = Path(_note(outdir).read_text(encoding="utf-8"))
    except OSError:
        return None
    return folder if folder.is_dir() else None


def remember_launch(outdir: Path, folder: Path) -> None:
    """Note the run directory for processes that torchrun may start anew."""
    if launch.launched():
        outdir.mkdir(parents=True, exist_ok=True)
        _note(outdir).write_text(str(folder.absolute()), encoding="utf-8")


def forget_launch(outdir: Path) -> None:
    """The launch has come to its end."""
    if launch.launched():
        _note(outdir).unlink(missing_ok=True)


def set_back(folder: Path, images: int) -> None:
    """Make a run directory look as it did after so many images.

    Later states and snapshots, of a branch that is left, go to `superseded/`; later lines of statistics are cut; what
    a killed run left half written is removed.
    """
    for half in folder.glob(".*.tmp"):
        half.unlink()
    for file in [*newest(folder, "state"), *newest(folder, "snapshot")]:
        try:
            later = checkpoint.header(file).images > images
        except CheckpointError:
            later = True  # damaged: out of the way, but not lost
        if later:
            (folder / "superseded").mkdir(exist_ok=True)
            file.replace(folder / "superseded" / file.name)
    for file in folder.glob("*.jsonl"):
        rows = [row for row in read_json_lines(file) if row["kimg"] <= images / 1000]
        half = file.with_name(f".{file.name}.tmp")  # renamed when whole, as everything that must survive a crash
        half.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        half.replace(file)


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Paths at which two filled recipes differ in a way that matters for resuming."""
    if at in MAY_DIFFER:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            d for key in {**a, **b} for d in differences(a.get(key, ...), b.get(key, ...), f"{at}.{key}".lstrip("."))
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{at}.{i}")]
    return [] if a == b else [f"{at} (was {_short(a)}, now {_short(b)})"]


def _short(value: Any) -> str:
    return "nothing" if value is ... else value["use"] if isinstance(value, dict) and "use" in value else repr(value)


def require_same_recipe(head: Header, recipe: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError where a state was trained with another recipe."""
    if found := differences(recipe_of(path, head).dump(), recipe):
        raise CheckpointError(
            f"{path} was trained with another recipe: {', '.join(found[:4])}. Resume with the same recipe "
            f"({path.parent / 'recipe.resolved.yaml'}); only {', '.join(MAY_DIFFER)} may change."
        )


def environment(device: torch.device, command: list[str]) -> dict[str, Any]:
    """What the run ran on."""
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
