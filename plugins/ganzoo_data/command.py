"""`gz data`."""

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import known, note, say, say_json, table, width_by_height
from ganzoo_cli.host.options import Json

if TYPE_CHECKING:
    from ganzoo.interfaces import Dataset, Finding

app = typer.Typer(no_args_is_help=True, help="Look at training images, and pack them.")

NAMED = 3  # files that `info` names
UNSIZED = 32  # pixels, where nothing else says a size

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a .zip, .tar shards, or 'shapes'.")]
Recipe = Annotated[
    str | None, typer.Option(metavar="RECIPE", help="A recipe whose size, channels, labels and fitting are wanted.")
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Size that is wanted; else the recipe's, or the smallest side."),
]
Channels = Annotated[int | None, typer.Option(min=1, max=4096, help="Channels; else the recipe's, or 3.")]
Labels = Annotated[
    int | None, typer.Option(min=0, help="Classes, or length of a label vector; else the recipe's, or 0 for none.")
]


@app.command()
def info(
    source: Source,
    recipe: Recipe = None,
    size: Size = None,
    channels: Channels = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Say what a set of images is, and how training would see it."""
    dataset = _open(source, recipe, size, channels, labels)
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
        say_json(facts | {"unusable": len(unusable), "odd": len(odd)})
        return
    facts["size"] = f"{dataset.size[1]}x{dataset.size[0]}"
    facts["fitted"] = _words(dataset.fitted)
    facts |= {"unusable": _some(unusable), "odd": _some(odd)}
    table(["", ""], list(facts.items()))
    if findings:
        note(f"'gz data doctor {source}' lists all of them.")


@app.command()
def doctor(
    source: Source,
    recipe: Recipe = None,
    size: Size = None,
    channels: Channels = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Read every image, and name those that are unreadable or odd. Fails if training could not use one."""
    from ganzoo.errors import DataError

    dataset = _open(source, recipe, size, channels, labels)
    findings = _check(dataset)
    fatal = sum(f.fatal for f in findings)
    if as_json:
        about = {"images": len(dataset), "size": list(dataset.size), "fatal": fatal}
        say_json(about | {"findings": [asdict(f) for f in findings]})
    else:
        for f in findings:
            say(f"{'unusable' if f.fatal else 'odd':<9s} {f.file}: {f.problem}")
        say(f"{len(dataset):,} images of {dataset.title}: {fatal} unusable, {len(findings) - fatal} odd.")
    if fatal:
        raise DataError(
            f"{fatal} of {len(dataset)} images of {source} cannot be used: repair or remove them, "
            "or set dataset.upscale=true where they are only too small."
        )


@app.command()
def pack(
    source: Source,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The file to be written, .zip or .tar.")],
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
        typer.Option(help="What other proportions become: dataset.fit of a recipe, whose crop is center-crop here."),
    ] = None,
    resize_filter: Annotated[
        Literal["lanczos", "box"] | None, typer.Option(help="How images are scaled down: dataset.filter of a recipe.")
    ] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent pixels and of bars.")] = None,
    upscale: Annotated[bool, typer.Option("--upscale", help="Accept images that are smaller.")] = False,
    form: Annotated[
        Literal["zip", "tar"] | None, typer.Option("--format", help="Added to a DEST that has no suffix.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DEST where it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Fit all images once and write them into one file, on which training sees the same pixels and reads faster.

    A zip is as StyleGAN's, with dataset.json; a tar as WebDataset's, with key.cls. Either says how it was made.
    """
    from ganzoo.errors import UsageError
    from ganzoo.io.log import Log
    from ganzoo_data import pack

    if size is None and recipe is None:
        raise UsageError("gz data pack: say --resolution WIDTHxHEIGHT, or --recipe RECIPE for its size.")
    out = pack.destination(dest, form, source, overwrite)
    given: dict[str, Any] = {
        "fit": "crop" if transform == "center-crop" else transform,
        "filter": resize_filter,
        "background": background,
        "upscale": upscale or None,
    }
    options = {name: value for name, value in given.items() if value is not None}
    dataset = _open(source, recipe, size, channels, labels, options)
    known_labels = None if labels == 0 else pack.labels_of(dataset)
    with _terminated_as_interrupted(), Log(None, len(dataset)) as log:
        about = pack.write(dataset, out, known_labels, lambda done, total: log.progress(done, f"{done:,} of {total:,}"))
    facts = {"file": str(out), "bytes": out.stat().st_size, "labels": known_labels is not None, **about}
    if as_json:
        return say_json(facts)
    say(str(out))
    with_labels = "with" if known_labels is not None else "without"
    width, height = dataset.size[1], dataset.size[0]
    note(f"{len(dataset):,} images of {width}x{height}, {with_labels} labels, {facts['bytes'] / 1e6:,.1f} MB.")
    return note(f"Train on it with --data {out}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that nothing half-written stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(dataset: "Dataset") -> "list[Finding]":
    from ganzoo.io.log import Log

    with Log(None, len(dataset)) as log:
        return dataset.check(lambda done, total: log.progress(done, f"{done}/{total}"))


def _words(fitted: Mapping[str, Any]) -> str:
    """How images are fitted: 'fit crop, filter box'; of a packed set also how it was packed."""
    own = ", ".join(f"{key} {value}" for key, value in fitted.items() if isinstance(value, str))
    packed = fitted.get("packed")
    return f"{own}; packed with {_words(packed)}" if isinstance(packed, Mapping) else own


def _some(files: Iterable[str]) -> str:
    """How many, and the first few by name."""
    names = list(files)
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names):,} ({', '.join(names[:NAMED])}{more})" if names else "0"


def _fingerprint(dataset: "Dataset") -> str | None:
    from ganzoo.errors import DataError

    try:
        return dataset.fingerprint()
    except DataError:  # a file has no bytes to read; it is among the unusable
        return None


def _open(
    source: str,
    recipe: str | None,
    size: str | None,
    channels: int | None,
    labels: int | None,
    given: Mapping[str, Any] | None = None,
) -> "Dataset":
    """The images as a recipe wants them, where one is named; a flag beside it, or a given option, wins."""
    from ganzoo.recipe import datasets

    registry, wanted, options = known(), None, {}
    if recipe is not None:
        from ganzoo.recipe.loading import load

        node = load(recipe)
        shape = node.value("image").shape()
        wanted, channels, labels = (
            shape.size,
            channels or shape.channels,
            node.value("labels") if labels is None else labels,
        )
        options = datasets.options_for(source, node["dataset"].dump(), registry) if node.has("dataset") else {}
    channels, labels = channels or 3, labels or 0
    if size is not None:
        wanted = width_by_height("--size", size)
    if wanted is None:
        side = datasets.smallest_side(source, channels, registry)
        wanted = (side or UNSIZED,) * 2
        why = "the smallest side" if side else "by default"
        note(f"Assuming {wanted[1]}x{wanted[0]}, {why}: name another with --recipe or --size.")
    return datasets.open_set(source, wanted, channels, labels, registry, {**options, **(given or {})})
