"""`gz metrics`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.console import Device, Json, known, note, say_json, table, write_text

if TYPE_CHECKING:
    from ganzoo.interfaces import Dataset
    from ganzoo.model import Model
    from ganzoo.score import Score

Option = typer.Option


def metrics(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A metric, as swd; 'gz components list metric' shows all.")
    ],
    ckpt: Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")],
    data: Annotated[str | None, Option(metavar="PATH|NAME", help="Real images; else those of the training.")] = None,
    num: Annotated[
        int | None, Option(min=2, help="Images of each set; else the recipe's, or the metric's published number.")
    ] = None,
    seed: Annotated[int | None, Option(min=0, help="Of latents, images and the metric; else the recipe's.")] = None,
    repeat: Annotated[int, Option(min=1, max=1000, help="Measure with so many seeds, and give mean and spread.")] = 1,
    floor: Annotated[
        bool, Option("--floor", help="Compare real images with other real ones: what a perfect model would get.")
    ] = False,
    device: Device = "auto",
    out: Annotated[Path | None, Option(metavar="FILE", help="Write the JSON to a file too.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a checkpoint. Prints a table, or JSON that says what exactly was measured."""
    registry = known()
    registry.get("metric", name)
    import ganzoo
    from ganzoo import score
    from ganzoo.log import Log

    model = ganzoo.load(ckpt, device)
    dataset = score.real_set(model, data)
    _compare(model, dataset, ckpt, data)
    scorer = score.Scorer(model, dataset, name, num)
    first = scorer.recipe_seed if seed is None else seed
    records = []
    for at in range(first, first + repeat):
        with Log(None, 200) as log:

            def progress(which: str, done: int, total: int, at: int = at, log: Log = log) -> None:
                log.progress(100 * done // total + 100 * (which == "fake"), f"{name} seed {at}: {which} {done}/{total}")

            records.append(scorer.floor(at, progress) if floor else scorer.measure(at, progress))
    result = score.summarise(records)
    if out:
        write_text(out, json.dumps(result.record(), indent=1) + "\n")
    if as_json:
        say_json(result.record())
    else:
        _show(name, result)


def _compare(model: "Model", dataset: "Dataset", ckpt: Path, data: str | None) -> None:
    trained: dict[str, Any] = model.header.data
    if trained.get("fingerprint") not in (None, dataset.fingerprint()):
        which = (
            f"--data {data}" if data else f"the images at {model.header.recipe['dataset'].get('path', dataset.title)}"
        )
        note(
            f"warning: {which} are not those that {ckpt} was trained on "
            f"({trained.get('images')} of {trained.get('title')}): the value is not comparable with the training's own."
        )


def _show(name: str, result: "Score") -> None:
    record, spread = result.records[0], result.spread
    rows = [[key, f"{value:.4f}", *([f"± {spread[key]:.4f}"] if spread else [])] for key, value in result.mean.items()]
    table(["metric", "value", *(["spread"] if spread else [])], rows, right=["value"])
    what = "real against real" if record["compared"] == "real halves" else f"{record['kimg']:g} kimg"
    note(
        f"{name} of {record['num_real']:,} images a set, {what}, {record['data']['title']}, seed {record['seed']}"
        + (f" to {result.records[-1]['seed']}" if len(result.records) > 1 else "")
    )
