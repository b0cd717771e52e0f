"""`gz data`."""

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import known, note, say, say_json, table, width_by_height
from ganzoo_cli.host.options import Json, with_groups

if TYPE_CHECKING:
    from ganzoo.interfaces import Dataset, Finding

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check training images, and pack them.")

NAMED = 3  # files that `info` lists by name
DEFAULT_SIDE = 32  # pixels, for a dataset without a size of its own

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a .zip, .tar shards, or 'shapes'.")]
Recipe = Annotated[
    str | None, typer.Option(metavar="RECIPE", help="A recipe that gives size, channels, labels and fitting.")
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Size of images; else the recipe's, or the smallest side."),
]
Channels = Annotated[int | None, typer.Option(min=1, max=4096, help="Channels; else the recipe's, or 3.")]
Labels = Annotated[
    int | None, typer.Option(min=0, help="Classes, or length of a label vector; else the recipe's, or 0 for none.")
]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Format in which a dataset is opened: the recipe's, with the other options in its place where they are given."""

    recipe: Recipe = None
    size: Size = None
    channels: Channels = None
    labels: Labels = None

    def open(self, source: str, fitting: Mapping[str, Any] | None = None) -> "Dataset":
        """Open a dataset. Options of the dataset in `fitting` replace the recipe's."""
        from ganzoo.recipe import datasets

        registry, size, channels, labels, options = known(), None, self.channels, self.labels, {}
        if self.recipe is not None:
            from ganzoo.recipe.loading import load

            node = load(self.recipe)
            shape = node.value("image").shape()
            size, channels = shape.size, channels or shape.channels
            labels = node.value("labels") if labels is None else labels
            options = datasets.options_for(source, node["dataset"].dump(), registry) if node.has("dataset") else {}
        channels, labels = channels or 3, labels or 0
        if self.size is not None:
            size = width_by_height("--size", self.size)
        if size is None:
            side = datasets.smallest_side(source, channels, registry)
            size = (side or DEFAULT_SIDE,) * 2
            why = "the smallest side" if side else "by default"
            note(f"Assuming {size[1]}x{size[0]}, {why}: name another with --recipe or --size.")
        return datasets.open_set(source, size, channels, labels, registry, {**options, **(fitting or {})})


@app.command()
@with_groups
def info(source: Source, wanted: Wanted, as_json: Json = False) -> None:
    """Describe a dataset, and how its images are fitted for training."""
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
        "fingerprint": _fingerprint(dataset),
    }
    if as_json:
        say_json(facts | {"unusable": len(unusable), "odd": len(odd), "left_out": dict(dataset.left_out)})
        return
    facts["size"] = f"{dataset.size[1]}x{dataset.size[0]}"
    facts["fitted"] = _describe_fit(dataset.fitted)
    facts |= {"unusable": _count_and_names(unusable), "odd": _count_and_names(odd)}
    facts["left out"] = dataset.left_out_in_words() or "0"
    table(["", ""], list(facts.items()))
    if findings:
        from ganzoo.io.files import quoted

        note(f"'gz data doctor {quoted(source)}' lists all of them.")


@app.command()
@with_groups
def doctor(source: Source, wanted: Wanted, as_json: Json = False) -> None:
    """Read every image, and list those that are unreadable or odd. Fails if training could not use one."""
    from ganzoo.errors import DataError

    dataset = wanted.open(source)
    findings = _check(dataset)
    fatal = sum(f.fatal for f in findings)
    if as_json:
        summary = {"images": len(dataset), "size": list(dataset.size), "fatal": fatal}
        summary |= {"left_out": dict(dataset.left_out)}
        say_json(summary | {"findings": [asdict(f) for f in findings]})
    else:
        for f in findings:
            say(f"{'unusable' if f.fatal else 'odd':<9s} {f.file}: {f.problem}")
        say(f"{len(dataset):,} images of {dataset.title}: {fatal} unusable, {len(findings) - fatal} odd.")
        if dataset.left_out:
            say(f"Files left out: {dataset.left_out_in_words()}.")
    if fatal:
        raise DataError(
            f"{fatal} of {len(dataset)} images of {source} cannot be used: repair or remove them, "
            "or set dataset.upscale=true where they are only too small."
        )


@app.command()
def pack(
    source: Source,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The file to write, .zip or .tar.")],
    size: Annotated[
        str | None, typer.Option("--resolution", metavar="WIDTHxHEIGHT", help="Size of the images; else the recipe's.")
    ] = None,
    recipe: Recipe = None,
    channels: Channels = None,
    labels: Annotated[
        int | None, typer.Option(min=0, help="Classes, or length of a vector; 0 for none; else what the source has.")
    ] = None,
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
    from ganzoo.io.log import Log
    from ganzoo_data import pack

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
    dataset = Wanted(recipe=recipe, size=size, channels=channels, labels=labels).open(source, fitting)
    values = None if labels == 0 else pack.labels_of(dataset)
    with _terminated_as_interrupted(), Log(None, len(dataset)) as log:
        record = pack.write(dataset, out, values, lambda done, total: log.progress(done, f"{done:,} of {total:,}"))
    facts = {"file": str(out), "bytes": out.stat().st_size, "labels": values is not None, **record}
    if as_json:
        return say_json(facts)
    say(str(out))
    if dataset.left_out:
        note(f"Files left out: {dataset.left_out_in_words()}.")
    with_labels = "without" if values is None else "with"
    height, width = dataset.size
    note(f"{len(dataset):,} images of {width}x{height}, {with_labels} labels, {facts['bytes'] / 1e6:,.1f} MB.")
    return note(f"Train on it with --data {out}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that no incomplete file remains."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(dataset: "Dataset") -> "list[Finding]":
    from ganzoo.io.log import Log

    with Log(None, len(dataset)) as log:
        return dataset.check(lambda done, total: log.progress(done, f"{done}/{total}"))


def _describe_fit(fitted: Mapping[str, Any]) -> str:
    """Describe how images are fitted, as 'fit crop, filter box', and how a packed dataset was packed."""
    text = ", ".join(f"{key} {value}" for key, value in fitted.items() if isinstance(value, str))
    packed = fitted.get("packed")
    return f"{text}; packed with {_describe_fit(packed)}" if isinstance(packed, Mapping) else text


def _count_and_names(files: Iterable[str]) -> str:
    """Number of files, and the names of the first ones."""
    names = list(files)
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names):,} ({', '.join(names[:NAMED])}{more})" if names else "0"


def _fingerprint(dataset: "Dataset") -> str | None:
    from ganzoo.errors import DataError

    try:
        return dataset.fingerprint()
    except DataError:  # a file cannot be read; it is among the unusable ones
        return None
