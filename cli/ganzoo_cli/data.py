"""`gz data`."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo_cli.console import Json, known, say, say_json, table

if TYPE_CHECKING:
    from ganzoo.interfaces import Dataset

app = typer.Typer(no_args_is_help=True, help="Look at training images.")

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a .zip, or 'shapes'.")]
Size = Annotated[str, typer.Option(metavar="WIDTHxHEIGHT", help="Size of the recipe's images, in pixels.")]
Channels = Annotated[int, typer.Option(min=1, max=4096, help="Channels of the recipe's images.")]
Labels = Annotated[int, typer.Option(min=0, help="Classes, or length of a label vector; 0 for none.")]


@app.command()
def info(
    source: Source, size: Size = "32x32", channels: Channels = 3, labels: Labels = 0, as_json: Json = False
) -> None:
    """Say what a set of images is, and how training would see it."""
    dataset = _open(source, size, channels, labels)
    facts = {
        "dataset": dataset.name,
        "title": dataset.title,
        "images": len(dataset),
        "size": list(dataset.size),
        "channels": dataset.channels,
        "labels": dataset.labels,
        "fingerprint": dataset.fingerprint(),
    }
    if as_json:
        return say_json(facts)
    return table(
        ["", ""], [(k, f"{dataset.size[1]}x{dataset.size[0]}" if k == "size" else v) for k, v in facts.items()]
    )


@app.command()
def doctor(
    source: Source, size: Size = "32x32", channels: Channels = 3, labels: Labels = 0, as_json: Json = False
) -> None:
    """Read every image, and name those that are unreadable or odd. Fails if training could not use one."""
    from ganzoo.errors import DataError
    from ganzoo.log import Log

    dataset = _open(source, size, channels, labels)
    with Log(None, len(dataset)) as log:
        findings = dataset.check(lambda done, total: log.progress(done, f"{done}/{total}"))
    fatal = sum(f.fatal for f in findings)
    if as_json:
        say_json({"images": len(dataset), "fatal": fatal, "findings": [asdict(f) for f in findings]})
    else:
        for f in findings:
            say(f"{'unusable' if f.fatal else 'odd':<9s} {f.file}: {f.problem}")
        say(f"{len(dataset):,} images of {dataset.title}: {fatal} unusable, {len(findings) - fatal} odd.")
    if fatal:
        raise DataError(f"{fatal} of {len(dataset)} images of {source} cannot be used: repair or remove them.")


def _open(source: str, size: str, channels: int, labels: int) -> "Dataset":
    from ganzoo.data import open_set
    from ganzoo.errors import UsageError

    match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", size)
    if not match:
        raise UsageError(f"--size {size}: write it as width x height, as 32x32.")
    return open_set(source, (int(match[2]), int(match[1])), channels, labels, known())
