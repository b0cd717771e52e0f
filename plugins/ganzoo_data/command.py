"""`gz data`."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import known, note, note_namesake, say, say_json, table, width_by_height
from ganzoo_cli.host.options import FOLDERS, Json, parse_labels, with_groups

if TYPE_CHECKING:
    from ganzoo.interfaces import Dataset, Finding
    from ganzoo.types import Size
    from ganzoo_data.images import ImageSet

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check training images, and pack them.")

FIRST = 5  # files of a kind that `doctor` lists, and names of others
DEFAULT_SIDE = 32  # pixels, for a dataset without a size of its own

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a .zip, .tar shards, or 'shapes'.")]
Recipe = Annotated[
    str | None, typer.Option(metavar="RECIPE", help="A recipe that gives size, channels, labels and fitting.")
]
SizeFlag = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Size of images; else the recipe's, or the smallest side."),
]
Channels = Annotated[int | None, typer.Option(min=1, max=4096, help="Channels; else the recipe's, or 3.")]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="N|folders",
        help="Classes, or length of a label vector, 0 for none; folders: each folder is a class. Else the recipe's.",
    ),
]

PackedLabels = Annotated[
    str | None,
    typer.Option(
        metavar="N|folders",
        help="Classes, or length of a vector; 0 for none; folders: each folder is a class. Else what SOURCE has.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Format in which a dataset is opened: the recipe's, with the other options in its place where they are given."""

    recipe: Recipe = None
    size: SizeFlag = None
    channels: Channels = None
    labels: Labels = None

    def open(self, source: str, fitting: Mapping[str, Any] | None = None, size_flag: str = "--size") -> "Dataset":
        """Open a dataset.

        Args:
            source: its path, or its name
            fitting: options of the dataset, in place of the recipe's
            size_flag: flag that has given the size, for messages
        """
        from ganzoo.recipe import datasets
        from ganzoo_data import flags
        from ganzoo_data.images import ImageSet

        note_namesake(source)
        registry, size, channels, options = known(), None, self.channels, {}
        count, by_folders = parse_labels(self.labels)
        if self.recipe is not None:
            from ganzoo.recipe.loading import load

            node = load(self.recipe)
            shape = node.value("image").shape()
            size, channels = shape.size, channels or shape.channels
            count = node.value("labels") if count is None else count
            options = datasets.options_for(source, node["dataset"].dump(), registry) if node.has("dataset") else {}
        if self.size is not None:
            size = width_by_height(size_flag, self.size)
        given = {**(fitting or {}), **({"labels": FOLDERS} if by_folders else {})}
        flags.require_options(datasets.dataset_for(source, registry, ""), given)
        channels, count, options = channels or 3, count or 0, {**options, **given}
        with flags.in_flags(vars(self), size_flag, source):
            if size and not by_folders:
                return datasets.open_set(source, size, channels, count, registry, options, "")
            dataset = datasets.open_set(source, size or (1, 1), channels, 0, registry, options, "")
            if isinstance(dataset, ImageSet):
                return _completed(dataset, size, count, by_folders)
            size = _assumed(dataset.smallest_side() if isinstance(dataset, datasets.Measured) else None)
            return datasets.open_set(source, size, channels, count, registry, options, "")


def _completed(dataset: "ImageSet", size: "Size | None", labels: int, by_folders: bool) -> "ImageSet":
    """Give a dataset a label for each class folder, and the size of its smallest image where no other is known."""
    if by_folders:
        dataset.given_labels()  # refuses images that lie in no folder
        labels = max(labels, len(dataset.class_names))
    if size is None:
        with _progress(len(dataset)) as progress:
            dataset.read_all(progress)
        size = _assumed(dataset.smallest_side())
    return dataset.adapted(size=size, labels=labels)


def _assumed(side: int | None) -> "Size":
    """A size for a dataset whose images have this smallest side, in pixels; noted on stderr."""
    size = (side or DEFAULT_SIDE,) * 2
    why = "the smallest side" if side else "by default"
    note(f"Assuming {size[1]}x{size[0]}, {why}: name another with --recipe or --size.")
    return size


@app.command()
@with_groups
def info(source: Source, wanted: Wanted, as_json: Json = False) -> None:
    """Describe a dataset, and how its images are fitted for training."""
    from ganzoo_data import describe

    dataset = wanted.open(source)
    findings = _check(dataset)
    unusable, odd = ({f.file: None for f in findings if f.fatal is fatal} for fatal in (True, False))
    facts = {
        "dataset": dataset.name,
        "title": dataset.title,
        "images": len(dataset),
        "size": list(dataset.size),
        "channels": dataset.channels,
        "labels": dataset.labels,
        "fitted": dict(dataset.fitted),
        "fingerprint": describe.fingerprint(dataset),
    }
    gray, given = describe.gray_images(dataset), describe.given_labels(dataset)
    if as_json:
        counts = {"unusable": len(unusable), "odd": len(odd), "left_out": dict(dataset.left_out), "gray": gray}
        return say_json(facts | counts | {"given_labels": given, "classes": getattr(dataset, "class_names", [])})
    facts["size"] = f"{dataset.size[1]}x{dataset.size[0]}"
    facts["channels"] = f"{dataset.channels}{describe.gray_in_words(dataset, gray)}"
    facts["labels"] = f"{dataset.labels:,} ({given})" if dataset.labels or given != "none" else "0"
    facts["fitted"] = describe.fit_in_words(dataset.fitted)
    facts |= {"unusable": describe.count_and_names(unusable), "odd": describe.count_and_names(odd)}
    facts["left out"] = dataset.left_out_in_words() or "0"
    table(["", ""], list(facts.items()))
    from ganzoo.io.files import quoted

    if findings:
        note(f"'gz data doctor {quoted(source)}' lists all of them.")
    if folders := describe.unused_folders(dataset, given):
        note(f"The folders {folders} could be classes: add --labels folders, here and in training.")
    return None


@app.command()
@with_groups
def doctor(source: Source, wanted: Wanted, as_json: Json = False) -> None:
    """Read every image, and list those that are unreadable or odd. Fails if training could not use one."""
    from ganzoo.errors import DataError
    from ganzoo_data import describe

    dataset = wanted.open(source)
    findings = _check(dataset)
    unusable, odd = (len({f.file for f in findings if f.fatal is fatal}) for fatal in (True, False))
    if as_json:
        summary = {"images": len(dataset), "size": list(dataset.size), "fatal": unusable}
        summary |= {"left_out": dict(dataset.left_out), "gray": describe.gray_images(dataset)}
        say_json(summary | {"findings": [asdict(f) for f in findings]})
    else:
        _list_findings(findings)
        say(f"{len(dataset):,} images of {dataset.title}: {unusable:,} unusable, {odd:,} odd.")
        if words := describe.gray_in_words(dataset, describe.gray_images(dataset)):
            say(f"Channels: {dataset.channels}{words}.")
        if dataset.left_out:
            say(f"Files left out: {dataset.left_out_in_words()}.")
    if unusable:
        small = any("upscale" in f.problem for f in findings)
        larger = ", or set dataset.upscale=true where they are only too small" if small else ""
        raise DataError(
            f"{unusable} of {len(dataset)} images of {source} cannot be used: repair or remove them{larger}."
        )


def _list_findings(findings: "Sequence[Finding]") -> None:
    """Print findings by kind: the first files with their problems, then the number of the others and some names."""
    from ganzoo.runs.dataset import grouped, listed

    for group in grouped(findings):
        for f in group[:FIRST]:
            say(f"{'unusable' if f.fatal else 'odd':<9s} {f.file}: {f.problem}")
        if others := group[FIRST:]:
            names = listed([f.file for f in others[:FIRST]], len(others))
            say(f"{'':<9s} and {len(others):,} others of this kind: {names}")


@app.command()
def pack(
    source: Source,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The file to write, .zip or .tar.")],
    size: Annotated[
        str | None, typer.Option("--resolution", metavar="WIDTHxHEIGHT", help="Size of the images; else the recipe's.")
    ] = None,
    recipe: Recipe = None,
    channels: Channels = None,
    labels: PackedLabels = None,
    transform: Annotated[
        Literal["center-crop", "fit", "error"] | None,
        typer.Option(help="Fitting of other proportions: dataset.fit of a recipe, whose crop is center-crop here."),
    ] = None,
    resize_filter: Annotated[
        Literal["lanczos", "box"] | None, typer.Option(help="Filter for scaling down: dataset.filter of a recipe.")
    ] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent pixels and of bars.")] = None,
    upscale: Annotated[bool, typer.Option("--upscale", help="Accept images that are smaller.")] = False,
    form: Annotated[
        Literal["zip", "tar"] | None, typer.Option("--format", help="Suffix for a DEST that has none.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing DEST.")] = False,
    as_json: Json = False,
) -> None:
    """Fit all images once and write them into one file, which gives training the same pixels and reads faster.

    A zip is as StyleGAN's, with dataset.json; a tar as WebDataset's, with key.cls. Both record how they were made.
    """
    from ganzoo.errors import UsageError
    from ganzoo_data import flags, pack

    if size is None and recipe is None:
        raise UsageError("gz data pack: say --resolution WIDTHxHEIGHT, or --recipe RECIPE for its size.")
    out = pack.destination(dest, form, source, overwrite)
    fitting: dict[str, Any] = {
        "fit": "crop" if transform == "center-crop" else transform,
        "filter": resize_filter,
        "background": background,
        "upscale": upscale or None,
    }
    fitting = {name: value for name, value in fitting.items() if value is not None}
    pack.require_colour(background)
    wanted = Wanted(recipe=recipe, size=size, channels=channels, labels=labels)
    dataset = wanted.open(source, fitting, "--resolution")
    with flags.in_flags(vars(wanted), "--resolution", source):
        values = None if labels == "0" else pack.labels_of(dataset)
        grays: list[int] = []
        with _terminated_as_interrupted(), _progress(len(dataset)) as progress:
            record = pack.write(dataset, out, values, progress, grays)
    facts = {"file": str(out), "bytes": out.stat().st_size, "labels": values is not None, **record}
    if as_json:
        return say_json(facts)
    say(str(out))
    if dataset.channels == 3 and len(grays) == len(dataset):
        note("All images are gray, and are packed as RGB: --channels 1 packs gray.")
    _note_packed(dataset, out, values, record)
    return None


def _note_packed(dataset: "Dataset", out: Path, values: "Sequence[Any] | None", record: Mapping[str, Any]) -> None:
    """Say on stderr what has been packed, and how to train on it."""
    from ganzoo.io.files import quoted
    from ganzoo_data import labels

    if dataset.left_out:
        note(f"Files left out: {dataset.left_out_in_words()}.")
    if record.get("classes"):
        note(f"Classes: {labels.numbered(record['classes'])}.")
    with_labels = f"with labels ({labels.described(values)})" if values is not None else "without labels"
    height, width = dataset.size
    note(f"{len(dataset):,} images of {width}x{height}, {with_labels}, {out.stat().st_size / 1e6:,.1f} MB.")
    note(f"Train on it with --data {quoted(out)}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that no incomplete file remains."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(dataset: "Dataset") -> "list[Finding]":
    with _progress(len(dataset)) as progress:
        return dataset.check(progress)


@contextmanager
def _progress(count: int) -> "Iterator[Callable[[int, int], None]]":
    """Yield a function (done, total) that shows how many of so many images are done."""
    from ganzoo.io.log import Log
    from ganzoo.runs.dataset import counted

    with Log(None, count) as log:
        yield counted(log)
