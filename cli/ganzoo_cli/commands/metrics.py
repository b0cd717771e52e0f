"""`gz metrics`: measure a checkpoint, compare two sets of images, show a run's metrics."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ganzoo_cli.commands.metrics_report import Records, report, say_left_out
from ganzoo_cli.host.console import known, note, note_namesake, pairs, say, say_json, table, width_by_height
from ganzoo_cli.host.drawing import Checkpoint, newest_snapshot
from ganzoo_cli.host.options import Device, Json

if TYPE_CHECKING:
    from ganzoo.errors import ZooError
    from ganzoo.interfaces import Dataset, Shape
    from ganzoo.model.model import Model
    from ganzoo.types import Size

Option = typer.Option


class Names(TyperGroup):
    """Reads `gz metrics swd CKPT` as `gz metrics one swd CKPT`: any word that is no command is a metric's name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names, or the one that measures."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            return "one", self.commands["one"], args
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Names,
    no_args_is_help=True,
    add_completion=False,
    help="Measure: gz metrics swd CKPT, or one of the commands below. 'gz components list metric' lists the metrics.",
)

Data = Annotated[str | None, Option(metavar="PATH|NAME", help="Real images; else those of the training.")]
Num = Annotated[
    int | None, Option(min=2, help="Images of each set; else the recipe's, or the metric's published number.")
]
Seed = Annotated[int | None, Option(min=0, help="Of latents, images and the metric; else the recipe's.")]
Repeat = Annotated[int, Option(min=1, max=1000, help="Measure with so many seeds, and give mean and spread.")]
Floor = Annotated[
    bool, Option("--floor", help="Compare real images with other real ones: what a perfect model would get.")
]
Settings = Annotated[
    list[str],
    Option("--set", metavar="KEY=VALUE", help="An option of the metric, as extractor=conv-random; repeatable."),
]
Out = Annotated[Path | None, Option(metavar="FILE", help="Write the JSON to a file too; one that exists is kept.")]
Which = Annotated[
    str | None, Option("--metrics", metavar="NAME,NAME", help="Which; 'gz components list metric' shows all.")
]


@app.command("one", hidden=True)
def one(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A metric, as swd; 'gz components list metric' shows all.")
    ],
    ckpt: Checkpoint,
    data: Data = None,
    num: Num = None,
    set_: Settings = [],  # noqa: B006 (typer copies it)
    seed: Seed = None,
    repeat: Repeat = 1,
    floor: Floor = False,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure a checkpoint. Prints a table, or JSON that says what exactly was measured."""
    scores, _ = _measured([name], ckpt, data, num, set_, seed, repeat, floor, device)
    report(scores, out, as_json)


@app.command("all")
def all_(
    ckpt: Checkpoint,
    metrics: Which = None,
    data: Data = None,
    num: Num = None,
    set_: Settings = [],  # noqa: B006 (typer copies it)
    seed: Seed = None,
    repeat: Repeat = 1,
    floor: Floor = False,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure several metrics in one pass of generation and of each extractor; else those of the recipe.

    Those whose weights or classifiers are missing are left out, which is said; then the exit code is 1.
    """
    from ganzoo.errors import UsageError
    from ganzoo.model.checkpoint import header

    ckpt = newest_snapshot(ckpt)
    names = _listed(metrics) or [m["use"] for m in header(ckpt).recipe.get("metrics", [])]
    if not names:
        raise UsageError(f"the recipe of {ckpt} names no metrics", cure="add --metrics swd,msssim")
    scores, left_out = _measured(names, ckpt, data, num, set_, seed, repeat, floor, device)
    report(scores, out, as_json)
    say_left_out(left_out)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="A folder, a .zip, a dataset's name, or a checkpoint.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another, which stands for the real images.")],
    metrics: Which = "swd",
    size: Annotated[
        str | None, Option(metavar="WIDTHxHEIGHT", help="Where neither is a checkpoint; else the smallest.")
    ] = None,
    channels: Annotated[int, Option(min=1, max=4096, help="Where neither is a checkpoint.")] = 3,
    num: Num = None,
    set_: Settings = [],  # noqa: B006
    seed: Annotated[int, Option(min=0, help="Of everything random.")] = 0,
    device: Device = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compare any two sets of images."""
    known()
    from ganzoo.errors import UsageError
    from ganzoo.evaluation import choose, compare
    from ganzoo.training.device import choose_device

    names = _listed(metrics)
    if not names:
        raise UsageError("names none", place="--metrics", cure="write it as swd,msssim")
    for name in names:
        choose.resolve_metric(name, known())
    a, b, shape = compare.open_sources(one, other, _shape(one, other, size, channels), device)
    for source in (a, b):
        _warn_of_parts(source.source, source.dataset, shape.size)
    left_out = compare.left_out(names, shape, num, pairs(set_))
    names = [name for name in names if name not in left_out]
    with _Progress(", ".join(names)) as progress:
        records = compare.compare(
            a,
            b,
            names,
            shape,
            seed=seed,
            num=num,
            options=pairs(set_),
            device=choose_device(device),
            progress=progress.show,
        )
    report([[record] for record in records], out, as_json)
    say_left_out(left_out)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    as_json: Json = False,
) -> None:
    """Show how a run's metrics changed: a table, and metrics.png in its directory."""
    from ganzoo.errors import UsageError
    from ganzoo.io.log import read_json_lines
    from ganzoo.runs import plot

    files = sorted(run.glob("metric-*.jsonl")) if run.is_dir() else []
    if not files and (run / "recipe.resolved.yaml").is_file():
        cure = "train with --metrics swd, or measure one of its snapshots"
        raise UsageError("was trained without metrics", place=str(run), cure=cure)
    if not files:
        raise UsageError(f"{run} is no run directory: name one, as runs/00000-...")
    rows = {path.stem.removeprefix("metric-"): read_json_lines(path) for path in files}
    if as_json:
        return say_json(rows)
    names = [key for records in rows.values() for key in (records[-1]["results"] if records else ())]
    kimgs = sorted({record["kimg"] for records in rows.values() for record in records})
    values = {
        (record["kimg"], key): value
        for records in rows.values()
        for record in records
        for key, value in record["results"].items()
    }
    table(
        ["kimg", *names],
        [[f"{k:g}", *(f"{values[k, n]:.4g}" if (k, n) in values else "" for n in names)] for k in kimgs],
        right=["kimg", *names],
    )
    plot.metrics(run, run / "metrics.png")
    return note(str(run / "metrics.png"))


@app.command()
def fetch(
    extractor: Annotated[str, typer.Argument(metavar="EXTRACTOR", help="inception, vgg16 or vgg19.")],
    offline: Annotated[
        bool, Option("--offline", envvar="GZ_OFFLINE", help="Fetch nothing: only say what belongs where.")
    ] = False,
) -> None:
    """Download the weights of an extractor into the cache directory (GZ_CACHE). Nothing else ever fetches anything."""
    from ganzoo.io.log import Log

    cls: Any = known().get("extractor", extractor)
    for line in cls.weight_files():
        note(line)
    with Log(None, 100) as log:

        def progress(what: str, done: int, total: int) -> None:
            log.progress(100 * done // max(total, 1), f"{extractor}: {done:,} of {total:,} {what}")

        paths = cls.fetch(offline, progress)
    for path in paths:
        say(str(path))


# --- measuring and reporting -----------------------------------------------------------------------------------------


class _Progress:
    """A progress bar of two halves: for the real images, then for the generated ones."""

    def __init__(self, what: str) -> None:
        from ganzoo.io.log import Log

        self.what, self.log = what, Log(None, 200)

    def __enter__(self) -> "_Progress":
        self.log.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self.log.__exit__(*failure)

    def show(self, which: str, done: int, total: int) -> None:
        """Show how many images of a set, "real" or "fake", are done."""
        self.log.progress(100 * done // max(total, 1) + 100 * (which != "real"), f"{self.what}: {which} {done}/{total}")


def _measured(
    names: Sequence[str],
    ckpt: Path,
    data: str | None,
    num: int | None,
    set_: Sequence[str],
    seed: int | None,
    repeat: int,
    floor: bool,
    device: str,
) -> "tuple[list[Records], dict[str, ZooError]]":
    """Measure a checkpoint, or the floor: for each metric a record a seed; and what is left out, with its error."""
    registry = known()
    import ganzoo
    from ganzoo.evaluation import choose, score
    from ganzoo.interfaces import GeneratorMetric

    classes = [choose.resolve_metric(name, registry)[0] for name in names]
    ckpt = newest_snapshot(ckpt)
    model = ganzoo.load(ckpt, device)
    dataset = score.real_set(model, data)
    if not all(issubclass(cls, GeneratorMetric) for cls in classes):  # these ask the generator alone
        _warn_of_other_images(model, dataset, ckpt, data)
    if data is not None:
        note_namesake(data, "--data ")
        _warn_of_parts(f"--data {data}", dataset, model.G.shape.size)
    scorer = score.Scorer(model, dataset, names, num, pairs(set_))
    left_out = scorer.leave_out_unready()
    measure: Callable[..., Records] = scorer.floor if floor else scorer.measure
    first = scorer.recipe_seed if seed is None else seed
    runs: list[Records] = []
    for each in range(first, first + repeat):
        with _Progress(f"{', '.join(scorer.names)} seed {each}") as progress:
            runs.append(measure(each, progress.show))
    if num is not None and runs and (fewest := min(record["num_fake"] for record in runs[0])) < num:
        note(f"warning: --num {num:,}: there are only {len(dataset):,} real images, so {fewest:,} were compared.")
    return [list(records) for records in zip(*runs)], left_out


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _shape(one: str, other: str, size: str | None, channels: int) -> "Shape | None":
    """The size at which two sets of images are compared; None where a checkpoint gives it."""
    from ganzoo.evaluation import compare
    from ganzoo.interfaces import Shape

    if compare.is_checkpoint(one) or compare.is_checkpoint(other):
        return None
    if size is not None:
        return Shape((width_by_height("--size", size),), channels)
    sizes = compare.sizes_of(one, channels) | compare.sizes_of(other, channels)
    if not sizes:
        return None
    common = compare.common_size(sizes)
    kind = "size" if compare.are_whole(sizes, common) else "side"
    note(f"Assuming {common[1]}x{common[0]}, the smallest {kind}: name another with --size.")
    return Shape((common,), channels)


def _warn_of_parts(source: str, dataset: "Dataset | None", size: "Size") -> None:
    """Say that only the middle of some images is compared, since these have other proportions, or that bars are."""
    from ganzoo.evaluation import compare
    from ganzoo.recipe.datasets import image_sizes

    if dataset and not compare.are_whole(image_sizes(dataset), size):
        how = (
            "the others get bars" if dataset.fitted.get("fit") == "fit" else "of the others only the middle is compared"
        )
        note(f"warning: {source}: not all images have the proportions of {size[1]}x{size[0]}: {how}.")


def _warn_of_other_images(model: "Model", dataset: "Dataset", ckpt: Path, data: str | None) -> None:
    """Warn where real images are compared, and are not those of the training."""
    trained: dict[str, Any] = model.header.data
    if trained.get("fingerprint") not in (None, dataset.fingerprint()):
        which = (
            f"--data {data}" if data else f"the images at {model.header.recipe['dataset'].get('path', dataset.title)}"
        )
        note(
            f"warning: {which} are not those that {ckpt} was trained on "
            f"({trained.get('images')} of {trained.get('title')}): the value is not comparable with the training's own."
        )
