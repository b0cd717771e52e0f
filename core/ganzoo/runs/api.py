"""Training and measuring from Python: what `gz train` and `gz metrics` do, as functions.

run = ganzoo.train("stylegan2-tiny", data="photos/", kimg=10)
run.model.sample(seeds=[1, 2])[0].save("one.png")
(record,) = ganzoo.measure(run.model, "swd", num=1024)
record["results"]["swd"]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.evaluation.score import Scorer, real_set
from ganzoo.io.log import read_json_lines
from ganzoo.model.model import Model, load
from ganzoo.recipe.datasets import section
from ganzoo.recipe.loading import checked
from ganzoo.recipe.merge import override, read
from ganzoo.recipe.source import Source, load_yaml, to_json
from ganzoo.registry.arguments import checked_arguments, require_type
from ganzoo.registry.lookup import registry
from ganzoo.runs import run
from ganzoo.runs.folder import Policy, RunOptions, newest
from ganzoo.types import Progress

Recipe = str | Path | Mapping[str, Any]
Overrides = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class TrainingRun:
    """A run's directory, as `train` leaves it. `TrainingRun(Path("runs/00000-mine"))` opens an earlier one.

    Args:
        folder: the directory
        device: of the model
    """

    folder: Path
    device: str = "auto"

    def __post_init__(self) -> None:
        """Take a folder as text too. Raises ArgumentError for another type, UsageError where there is none."""
        folder = require_type(self.folder, Path, "TrainingRun()", "folder")
        if not folder.is_dir():
            raise UsageError("is no run directory", place=str(folder), cure="name one, as runs/00000-mine")
        object.__setattr__(self, "folder", folder)

    @property
    def snapshots(self) -> list[Path]:
        """The snapshots that the run has kept, the newest first."""
        return newest(self.folder, "snapshot")

    @cached_property
    def model(self) -> Model:
        """The newest snapshot, loaded. Raises CheckpointError where there is none, or none of a generator."""
        if not self.snapshots:
            raise CheckpointError("holds no snapshot", place=str(self.folder), cure="train with a larger kimg")
        return load(self.snapshots[0], self.device)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A record for each metric of the recipe at each snapshot, by kimg: values, and what was measured how."""
        files = sorted(self.folder.glob("metric-*.jsonl"))
        return sorted((row for file in files for row in read_json_lines(file)), key=lambda row: float(row["kimg"]))

    @property
    def statistics(self) -> list[dict[str, Any]]:
        """The rows of stats.jsonl, one a tick: kimg, seconds per kimg, means of losses, scores and penalties."""
        return read_json_lines(self.folder / "stats.jsonl")

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every option filled in; `train(run.recipe, resume=run.folder, kimg=...)` goes on."""
        return load_yaml(self.folder / "recipe.resolved.yaml").tree


@checked_arguments
def train(
    recipe: Recipe,
    data: str | Path | None = None,
    *,
    kimg: float | None = None,
    outdir: str | Path = "runs",
    overrides: Overrides = (),
    resume: str | Path | None = None,
    init_from: str | Path | None = None,
    device: str = "auto",
    workers: int = 2,
    watchdog: Policy = "warn",
    desc: str = "",
) -> TrainingRun:
    """Train what a recipe describes, as `gz train` does, and return the run. Progress goes to stderr.

    Torch's global random state is set to the recipe's seed. SIGINT and SIGTERM end the training after the present
    step, with the state written.

    Args:
        recipe: the name of an architecture, a file, or a recipe's tree as Python values; `extends` works in each
        data: real images: a folder, a .zip, tar shards, or the name of a dataset such as "shapes"; None for the
            recipe's own
        kimg: length, in thousands of real images shown; None for the recipe's
        outdir: the folder in which the run's directory is made
        overrides: values put into the recipe, by dotted names: `{"training.batch": 16}`, or `["training.batch=16"]`
        resume: a run directory or a state to continue; "latest" for the newest run, "auto" for the newest of this
            recipe and data if there is one; None for a new run
        init_from: a snapshot whose weights a new run begins with
        device: "auto", "cpu", "cuda", "cuda:1" or "mps"
        workers: threads that read images
        watchdog: what to do when training goes wrong: "warn" says so, "stop" ends it, "off" does not look
        desc: a word for the run directory's name

    Raises:
        RecipeError: where the recipe cannot be built
        DataError: where images cannot be used
        CheckpointError: where `resume` or `init_from` cannot be continued or begun from
        Diverged: where training ended with numbers that are not finite
        Interrupted: after a signal, once the state is written
    """
    _require_options(watchdog, workers)
    written = read(recipe)
    settings = [f"dataset.{name}={json.dumps(value)}" for name, value in _section(data).items()]
    settings += [] if kimg is None else [f"training.kimg={json.dumps(kimg)}"]
    settings += _settings(overrides)
    if init_from is not None:
        settings = [*without_rampup(override(written, settings)), *settings]
    options = RunOptions(
        name=Path(str(recipe.get("extends", "recipe")) if isinstance(recipe, Mapping) else written.name).stem,
        outdir=Path(outdir),
        desc=desc,
        resume=None if resume is None else str(resume),
        init_from=None if init_from is None else Path(init_from),
        device=device,
        workers=workers,
        watchdog=watchdog,
        text=as_given(written, settings),
    )
    return TrainingRun(run.train(checked(override(written, settings)), options), device)


@checked_arguments
def measure(
    model: Model | str | Path,
    metrics: str | Sequence[str] = ("swd",),
    data: str | Path | None = None,
    *,
    num: int | None = None,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measure a generator, as `gz metrics` does: a record for each metric, of its values and what was measured how.

    A metric has the options that the model's recipe gives it. `record["results"]` holds the values by name,
    `record["primary"]` names the one that ranks snapshots.

    Args:
        model: a model, or the path of its snapshot
        metrics: a name, or several, which share one pass of images; published names such as "fid50k_full" too
        data: the real images, as in `train`; None for those of the training
        num: images of each set; None for the recipe's number, or the metric's published one
        seed: of latents, images and metric; None for the recipe's
        options: of the metrics that have them, such as `{"extractor": "conv-random"}`
        device: where a snapshot is loaded to; a model stays where it is
        progress: called with "real" or "fake", the number of images done, and the number of all

    Raises:
        UsageError: for an unknown metric or option
        DataError: where images cannot be used, or the generator is still growing
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise UsageError("measure() is given no metric", cure="name one, as 'swd'")
    loaded = model if isinstance(model, Model) else load(model, device)
    scorer = Scorer(loaded, real_set(loaded, None if data is None else str(data)), names, num, options)
    return scorer.measure(scorer.recipe_seed if seed is None else seed, progress)


def as_given(written: Source, settings: Sequence[str]) -> str:
    """A recipe's own text, and as comments the settings that were put into it."""
    comments = (f"# --set {' '.join(item.splitlines())}\n" for item in settings)
    return "# as given; recipe.resolved.yaml is complete\n" + written.text.rstrip("\n") + "\n" + "".join(comments)


def without_rampup(source: Source) -> list[str]:
    """Settings of a run that begins with the weights of another: their average need not be ramped up."""
    training = source.tree.get("training")
    return ["training.ema_rampup=null"] if isinstance(training, dict) and training.get("ema_rampup") else []


def _require_options(watchdog: str, workers: int) -> None:
    if not 0 <= workers <= 64:  # as of `gz train --workers`
        raise UsageError(f"{workers} workers: choose 0 to 64.")
    if watchdog not in get_args(Policy):
        raise UsageError(f"watchdog '{watchdog}': choose {', '.join(get_args(Policy))}.")


def _section(data: str | Path | None) -> dict[str, str]:
    return {} if data is None else section(str(data), registry())


def _settings(overrides: Overrides) -> list[str]:
    if isinstance(overrides, Mapping):
        return [f"{name}={to_json(value, f'--set {name}')}" for name, value in overrides.items()]
    return list(overrides)
