"""After a training: how its metrics changed, its newest samples, the next commands; and where an earlier run ended."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ganzoo.io.files import quoted
from ganzoo_cli.host.console import note

if TYPE_CHECKING:
    from ganzoo.recipe.node import Node
    from ganzoo.recipe.source import Source


def summary(folder: Path, node: "Node", source: "Source", reference: str) -> None:
    """Print on stderr what a run has given: metrics before and after, the newest samples, the next commands.

    Args:
        folder: the run directory
        node: the recipe, checked
        source: the recipe, as it was read
        reference: how the command named it
    """
    metrics = node.children.get("metrics")
    chosen = metrics if isinstance(metrics, list) else []
    for metric in chosen:
        for line in _moved(folder / f"metric-{metric.cls.name}.jsonl"):
            note(line)
    if fakes := sorted(folder.glob("fakes[0-9]*.png")):
        note(f"Look at {fakes[-1]}")
    snapshots = sorted(folder.glob("snapshot-*.safetensors"))
    if snapshots and (step := node.cls.next_step):  # type: ignore[attr-defined]
        note("Next:")
        note(f"  {step.format(folder=quoted(folder))}")
    if not snapshots or not node.has("generator"):
        return
    note("Next:")
    note(f"  gz generate {quoted(snapshots[-1])} {_grid(node.value('labels'), snapshots[-1])}")
    names = [metric.cls.name for metric in chosen] or _metrics()
    if names and not _grows(folder, names[0], node):
        note(f"  gz metrics {names[0]} {quoted(snapshots[-1])}")
    if not (node.has("dataset") and node["dataset"].cls.needs_path):  # type: ignore[attr-defined]
        note(f"  gz train {quoted(_for_other_images(source, reference))} --data PATH/TO/YOUR/IMAGES")


def _grid(labels: int, snapshot: Path) -> str:
    """The flags for a grid of images: of a label vector of the training, or a row for each class, up to eight."""
    from ganzoo.errors import CheckpointError
    from ganzoo.model import checkpoint

    with suppress(CheckpointError):
        if labels and (vector := checkpoint.header(snapshot).data.get("label")):
            return f"--label {','.join(f'{value:g}' for value in vector)} --seeds 0-31 --grid 8x4"
    rows = min(labels, 8)
    classes = f"0-{rows - 1}" if rows > 1 else "0"
    return f"--class {classes} --seeds 0-7 --grid 8x{rows}" if rows else "--seeds 0-31 --grid 8x4"


def _grows(folder: Path, metric: str, node: "Node") -> bool:
    """Whether the generator is still growing, so that no metric could measure it yet."""
    from ganzoo.io.log import read_json_lines

    rows = read_json_lines(folder / f"metric-{metric}.jsonl")
    return node.has("growth") and not any(row["snapshot"] for row in rows)


def _moved(path: Path) -> Iterator[str]:
    """'swd 171.98 -> 38.06 (1024 images; kimg 0 -> 40)'."""
    from ganzoo.io.log import read_json_lines

    rows = read_json_lines(path) if path.is_file() else []
    if rows:
        ends = [rows[0], rows[-1]] if len(rows) > 1 else rows
        name = rows[-1]["primary"]
        values = " -> ".join(f"{row['results'][name]:.2f}" for row in ends)
        kimg = " -> ".join(f"{row['kimg']:g}" for row in ends)
        yield f"{name} {values} ({rows[-1]['num_fake']} images; kimg {kimg})"


def _metrics() -> list[str]:
    """Names of metrics that need neither weights nor a generator; those that compare with real images come first."""
    from ganzoo.interfaces import GeneratorMetric, Metric
    from ganzoo.registry.component import slots
    from ganzoo.registry.lookup import registry

    metrics = [
        cls for cls in registry() if issubclass(cls, Metric) and not issubclass(cls, GeneratorMetric) and not slots(cls)
    ]
    return [cls.name for cls in sorted(metrics, key=lambda cls: not cls.paired)]


def _for_other_images(source: "Source", reference: str) -> str:
    """The recipe to train on other images: the same, or the parent of a shipped one that names its images."""
    parent = source.own.get("extends")
    shipped = Path(source.name) != Path(reference)
    return parent if isinstance(parent, str) and "dataset" in source.own and shipped else reference


def left_off(resume: str | None, outdir: Path) -> tuple[str, str]:
    """(recipe, state) of the run that --resume means where no recipe is named. Raises UsageError, CheckpointError."""
    from ganzoo.errors import CheckpointError, UsageError
    from ganzoo.runs.folder import candidate_states

    if resume is None or resume == "auto":
        raise UsageError(
            "name a RECIPE (see 'gz recipe list'), or continue a run with --resume latest or --resume PATH."
        )
    state = candidate_states(resume, outdir)[0]
    if not state.is_file():
        raise CheckpointError("there is no state-*.safetensors", place=f"--resume {resume}:")
    recipe = state.parent / "recipe.resolved.yaml"
    if not recipe.is_file():
        cure = f"name the RECIPE that {state.name} belongs to, or begin with its weights: --init-from {quoted(state)}"
        raise UsageError(f"{recipe} is missing", place=f"--resume {resume}:", cure=cure)
    return str(recipe), str(state)
