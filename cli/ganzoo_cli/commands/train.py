"""`gz train`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.io.launch import is_distributed, is_first
from ganzoo_cli.commands import train_labels
from ganzoo_cli.commands.next_steps import left_off, summary
from ganzoo_cli.host import processes
from ganzoo_cli.host.console import known, note, note_cautions, note_namesake, say, table
from ganzoo_cli.host.drawing import newest_snapshot
from ganzoo_cli.host.options import Device, Sets

if TYPE_CHECKING:
    from ganzoo.recipe.node import Node
    from ganzoo.recipe.source import Source
    from ganzoo.runs.estimate import Estimate

Option = typer.Option
RECIPE = "A recipe file, or a name that 'gz recipe list' shows; with --resume latest or PATH, else that run's own."
Recipe = Annotated[str | None, typer.Argument(metavar="RECIPE|ARCHITECTURE", help=RECIPE)]
Data = Annotated[
    str | None,
    Option(metavar="PATH|NAME", help="A folder, a .zip, .tar shards, or 'shapes'; else the recipe's."),
]
Outdir = Annotated[Path, Option(help="Where the run's own directory is made.")]
Kimg = Annotated[float | None, Option(help="Length, in thousands of real images shown.")]
Batch = Annotated[int | None, Option(help="Images of an iteration.")]
BatchGpu = Annotated[
    str | None,
    Option(metavar="N|auto", help="Images computed at once; fewer save memory. A divisor of the batch, or what fits."),
]
Snap = Annotated[int | None, Option(metavar="TICKS", help="Ticks between snapshots; 0 for the end only.")]
Keep = Annotated[str | None, Option(metavar="last=N,best=N", help="Snapshots that are kept: the newest, and the best.")]
Metrics = Annotated[str | None, Option(metavar="NAME,...|none", help="Metrics of each snapshot, as 'swd'.")]
Seed = Annotated[int | None, Option(help="Of everything random.")]
Deterministic = Annotated[
    bool, Option("--deterministic", help="Algorithms that give equal bits on equal machines; slower.")
]
RESUME = "Continue: the newest run of this recipe and data if any; the newest run; a run directory or state."
Resume = Annotated[str | None, Option(metavar="auto|latest|PATH", help=RESUME)]
InitFrom = Annotated[
    Path | None,
    Option(metavar="CKPT", help="Begin with the weights of a snapshot of any size; what fits is copied, and listed."),
]
Mirror = Annotated[bool | None, Option("--mirror/--no-mirror", help="Flip half of the real images.")]
Precision = Annotated[str | None, Option(help="auto, fp32, bf16 or fp16.")]
Workers = Annotated[int, Option(min=0, max=64, help="Threads that read images.")]
Loggers = Annotated[
    str | None, Option("--log", metavar="NAME,...|none", help="Other places to log to, as 'tensorboard'.")
]
WATCHDOG = "What to do when training goes wrong (mode collapse, divergence, ...): warn, end it, or nothing."
Watch = Annotated[str, Option(metavar="warn|stop|off", help=WATCHDOG)]
Desc = Annotated[str, Option(help="A word for the run directory's name.")]
Gpus = Annotated[
    int | None, Option(min=1, max=64, help="Processes on this machine, one a GPU; for several machines use torchrun.")
]
DryRun = Annotated[bool, Option("--dry-run", "-n", help="Estimate parameters, memory and time; write nothing.")]


def train(
    recipe: Recipe = None,
    data: Data = None,
    labels: train_labels.Labels = None,
    outdir: Outdir = Path("runs"),
    set_: Sets = [],  # noqa: B006 (typer copies it)
    kimg: Kimg = None,
    batch: Batch = None,
    batch_gpu: BatchGpu = None,
    snap: Snap = None,
    keep: Keep = None,
    metrics: Metrics = None,
    seed: Seed = None,
    deterministic: Deterministic = False,
    resume: Resume = None,
    init_from: InitFrom = None,
    mirror: Mirror = None,
    device: Device = "auto",
    precision: Precision = None,
    workers: Workers = 2,
    log: Loggers = None,
    watchdog: Watch = "warn",
    desc: Desc = "",
    gpus: Gpus = None,
    dry_run: DryRun = False,
) -> None:
    """Train a GAN. Prints the run directory; progress goes to stderr."""
    _before_imports(resume, dry_run, watchdog)
    from ganzoo import recipe as recipes

    if recipe is None:
        recipe, resume = left_off(resume, outdir)
    init_from = init_from and newest_snapshot(init_from)
    known()
    flags: dict[str, Any] = {"kimg": kimg, "batch": batch, "snapshot_ticks": snap, "seed": seed}
    flags |= {"batch_gpu": _number(batch_gpu), "precision": precision, "mirror": mirror} | _keep(keep)
    written = recipes.read(recipe)
    changed = recipes.override(written, set_)
    chosen = [*_chosen("metrics", metrics, changed), *_chosen("loggers", log, changed)]
    overrides = [
        *_inheriting(init_from, resume, changed),
        *_images(data, resume, outdir, changed),
        *train_labels.overrides(labels, data, changed),
        *_training(flags),
        *chosen,
        *set_,
    ]
    source = recipes.override(written, overrides)
    node = recipes.checked(source)
    note_cautions(node, source)
    if deterministic:
        _make_deterministic()
    if dry_run:
        return _dry_run(_share(node, source, gpus or 1), source, device)
    if gpus and gpus > 1 and not is_distributed():
        raise typer.Exit(processes.run_processes(gpus, sys.argv[1:]))
    where = {"outdir": outdir, "desc": desc, "resume": resume, "init_from": init_from, "watchdog": watchdog}
    from ganzoo.runs.api import as_given

    return _train(node, source, recipe, text=as_given(source, overrides), **where, device=device, workers=workers)


def _before_imports(resume: str | None, dry_run: bool, watchdog: str) -> None:
    """Say at once what needs none of the imports, which take seconds."""
    if dry_run:
        note("Estimating what this training needs; nothing is written.")
    _refuse_foreign(resume)
    _require_policy(watchdog)


def _make_deterministic() -> None:
    from ganzoo.training.device import deterministic

    deterministic()


def _train(node: "Node", source: "Source", reference: str, **options: Any) -> None:
    from ganzoo.runs import run
    from ganzoo.runs.folder import RunOptions

    folder = run.train(node, RunOptions(name=Path(source.name).stem, **options))
    if is_first():
        say(str(folder))
        summary(folder, node, source, reference)


# --- flags to overrides ----------------------------------------------------------------------------------------------


def _training(flags: dict[str, Any]) -> list[str]:
    return [f"training.{name}={json.dumps(value)}" for name, value in flags.items() if value is not None]


def _inheriting(init_from: Path | None, resume: str | None, source: "Source") -> list[str]:
    """Overrides for a run that begins with weights of another: their average need not be ramped up."""
    from ganzoo.errors import CheckpointError, UsageError
    from ganzoo.runs.api import without_rampup

    if init_from is None:
        return []
    place = f"--init-from {init_from}"
    if resume not in (None, "auto"):
        fault = "--init-from begins a new run with weights of another, --resume continues one"
        raise UsageError(fault, cure="choose one")
    if not init_from.is_file():
        fault = "is a folder without snapshots" if init_from.is_dir() else "no such file"
        raise CheckpointError(fault, place=f"{place}:", cure="name a snapshot-*.safetensors of a run")
    return without_rampup(source)


def _refuse_foreign(resume: str | None) -> None:
    """Raise UsageError where --resume names a network of another project, which is no run."""
    from ganzoo.errors import UsageError
    from ganzoo_cli import synonyms

    if resume and (cure := synonyms.foreign_network(resume)):
        fault = "a network of another project is no run that could be continued"
        raise UsageError(fault, place=f"--resume {resume}:", cure=cure)


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isdecimal() else text


def _images(data: str | None, resume: str | None, outdir: Path, source: "Source") -> list[str]:
    """Overrides that name the images: --data; for a recipe without any, those of the run that is continued."""
    if data is not None:
        note_namesake(data, "--data ")
        from ganzoo.recipe.datasets import section

        return [f"dataset.{key}={json.dumps(value)}" for key, value in section(data, known()).items()]
    if resume in (None, "auto") or source.tree.get("dataset"):
        return []
    from ganzoo.model.checkpoint import header
    from ganzoo.runs.folder import candidate_states

    images = header(candidate_states(str(resume), outdir)[0]).recipe.get("dataset")
    return [f"dataset={json.dumps(images)}"] if images else []


def _keep(text: str | None) -> dict[str, int]:
    from ganzoo.errors import UsageError

    counts = {}
    for part in text.split(",") if text else []:
        name, _, number = part.strip().partition("=")
        if name not in ("last", "best") or not number.isdecimal():
            raise UsageError(place=f"--keep {text}", cure="write it as last=3,best=2")
        counts[f"keep_{name}"] = int(number)
    return counts


def _chosen(slot: str, text: str | None, source: "Source") -> list[str]:
    """Overrides for a slot that takes several components; those that the recipe already has keep their options."""
    from contextlib import suppress

    from ganzoo.errors import PluginError, UnknownComponent, UsageError
    from ganzoo.recipe.node import ROOT, ROOT_KIND
    from ganzoo.registry.component import slots

    if text is None:
        return []
    kind = str(source.tree.get("use", ROOT))
    with suppress(UnknownComponent, PluginError):  # which the recipe's own check says with file and line
        if slot not in slots(known().get(ROOT_KIND, kind)):
            if text == "none":
                return []
            flag, lacks = {"metrics": ("metrics", "measures nothing")}.get(slot, ("log", "logs to its own files only"))
            fault = f"a training of '{kind}' {lacks}"
            raise UsageError(fault, place=f"--{flag} {text}:", cure=f"leave --{flag} out")
    entries = source.tree.get(slot) or []
    configured = (
        {entry["use"]: entry for entry in entries if isinstance(entry, dict) and "use" in entry}
        if isinstance(entries, list)
        else {}
    )
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    return [f"{slot}={json.dumps([configured.get(name, name) for name in names])}"]


def _require_policy(text: str) -> None:
    from ganzoo.errors import UsageError

    if text not in ("warn", "stop", "off"):
        raise UsageError(place=f"--watchdog {text}", cure="choose warn, stop or off")


# --- -n --------------------------------------------------------------------------------------------------------------


def _share(node: "Node", source: "Source", processes: int) -> "Node":
    """The recipe as one of several processes computes it, with its share of the batch."""
    from ganzoo import recipe as recipes
    from ganzoo.errors import UsageError

    batch = node.value("training").batch
    if batch % processes:
        fault = f"{batch} images cannot be shared equally among {processes} processes"
        raise UsageError(fault, place="training.batch:")
    if processes == 1:
        return node
    note(f"Estimates are for each of {processes} processes, which share a batch; seconds / kimg count its own images.")
    return recipes.checked(recipes.override(source, [f"training.batch={batch // processes}"]))


def _dry_run(node: "Node", source: "Source", device: str) -> None:
    """Print what a training needs. Each line comes as soon as it is known: to list many images takes its time."""
    say(f"recipe          {', '.join(source.files())}")
    from ganzoo.io.log import duration
    from ganzoo.model.restore import build_experiment
    from ganzoo.runs import estimate
    from ganzoo.runs.dataset import notice_of_classes

    experiment = build_experiment(node)
    shape, kimg = experiment.shape, experiment.training.kimg
    dataset = experiment.dataset()
    images = f"{len(dataset):,} of {dataset.title}" if dataset else "none yet: add --data"
    say(f"images          {images}, {'x'.join(map(str, reversed(shape.size)))}, {shape.channels} channels")
    if dataset and (notice := notice_of_classes(dataset)):
        note(notice)
    sys.stdout.flush()
    note("Measuring a few iterations on random images.")
    need = estimate.estimate(experiment, device)
    scaled = " (scaled up from smaller batches)" if need.scaled else ""
    for name, count in need.parameters.items():
        say(f"{name:<16}{count:,} parameters")
    say(f"device          {need.device}, {need.precision}")
    say(f"peak memory     {need.memory_gib:.2f} GiB{scaled}")
    say(f"seconds / kimg  {need.seconds_per_kimg:.2f}{scaled}{' at the last size' if len(need.phases) > 1 else ''}")
    say(f"training        {kimg:g} kimg take about {duration(need.seconds)}")
    if len(need.phases) > 1:
        _phases(need)


def _phases(need: "Estimate") -> None:
    say("")
    rows = [
        (
            f"{p.start_kimg:.1f}",
            f"{p.size[1]}x{p.size[0]}",
            "fades in" if p.fading else "",
            p.batch,
            f"{p.lr:g}",
            f"{p.seconds_per_kimg:.2f}",
        )
        for p in need.phases
    ]
    table(
        ["from kimg", "size", "", "batch", "lr of G", "sec/kimg"],
        rows,
        right=["from kimg", "batch", "lr of G", "sec/kimg"],
    )
