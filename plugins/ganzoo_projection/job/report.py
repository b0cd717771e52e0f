"""How near projections came to their targets: numbers, contact sheets, curves, and one page of all of them."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image as PIL

from ganzoo.io.files import atomic_write
from ganzoo.io.images import TILE, Pixels, grid, save
from ganzoo.io.log import duration

ROWS = 100  # images on one contact sheet
MEASURES = {
    "mse": "mean squared difference of pixels, which run from -1 to 1",
    "psnr": "peak signal-to-noise ratio in dB, 10 log10(4 / mse)",
    "psnr_stored_noise": "the same with the generator's stored noise, as other commands draw the codes",
    "ssim": "structural similarity: 11x11 Gaussian window, mean over channels",
    "perceptual": "distance that the projector minimised",
    "from_mean": "norm of the difference between the style codes of all layers and the mean style code",
    "spreads": "the same, root mean square over the layers, in spreads: 1 for the code of a random latent",
    "steps": "of the optimization",
    "seconds": "of the batch, over its number of images",
}
Record = dict[str, Any]


def pixels(path: Path) -> Pixels:
    """An image that was written here, uint8 [C, H, W]."""
    beside = path.with_suffix(".npy")
    if beside.exists():
        return np.asarray(np.load(beside, allow_pickle=False))
    array = np.asarray(PIL.open(path))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def difference(target: Pixels, made: Pixels) -> Pixels:
    """Where two images differ: black where they are equal, white where they are furthest apart. Alpha stays opaque."""
    distance = np.abs(target.astype(np.int16) - made).astype(np.uint8)
    if len(distance) == 4:
        distance[:3], distance[3] = np.maximum(distance[:3], distance[3]), 255
    return distance


def triple(target: Pixels, made: Pixels) -> Pixels:
    """Target, projection, difference: [3, C, H, W]."""
    return np.stack([target, made, difference(target, made)])


def contact(triples: Sequence[Pixels], path: Path, about: Mapping[str, Any]) -> None:
    """One picture: a row an image, or two images a row where there are many."""
    columns = 3 if len(triples) <= 8 else 6 if len(triples) <= 40 else 9
    save(grid(np.concatenate(list(triples[:ROWS])), columns, TILE), path, about)


def curves(losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Losses over steps, a line an image; the one with the median of the last losses is strong."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    some = {name: values for name, values in losses.items() if len(values)}
    ranked = sorted(some, key=lambda name: some[name][-1])
    for name, values in some.items():
        middle = name == ranked[len(ranked) // 2]
        axis.plot(values, label=name if middle or len(some) <= 8 else None, lw=2 if middle else 0.7)
    axis.set(xlabel="step", ylabel="loss", yscale="log" if some else "linear", title="what was minimised")
    axis.grid(alpha=0.3)
    if some:
        axis.legend(fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def summary(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Mean, median, smallest and largest of each number over the images."""
    found = {}
    for key in MEASURES:
        values = [record[key] for record in records if key in record]
        if values:
            numbers = np.array(values, np.float64)
            found[key] = {
                "mean": float(numbers.mean()),
                "median": float(np.median(numbers)),
                "min": float(numbers.min()),
                "max": float(numbers.max()),
            }
    return found


def write(folder: Path, about: Record, records: Sequence[Record], pages: Sequence[str] = ()) -> Record:
    """Write report.json and report.html; returns what the first one holds. `pages` are further pictures to show."""
    whole_report = {**about, "measures": MEASURES, "summary": summary(records), "images": list(records)}
    with atomic_write(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(whole_report, indent=1), encoding="utf-8")
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(_page(about, records, pages), encoding="utf-8")
    return whole_report


STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}td,th{padding:.2em .7em;"
    "text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "img{image-rendering:pixelated;max-width:100%}td img{width:64px}pre{background:#f4f4f4;padding:1em;overflow:auto}"
)


def _page(about: Record, records: Sequence[Record], pictures: Sequence[str]) -> str:
    """The report as HTML without scripts; pictures lie beside it."""
    keys = [key for key in MEASURES if any(key in record for record in records)]
    head = "".join(f'<th title="{html.escape(MEASURES[key])}">{key}</th>' for key in keys)
    rows = "".join(_row(record, keys) for record in records)
    totals = summary(records)
    means = "".join(f"<td>{_number(totals[key]['mean'])}</td>" for key in keys)
    legend = "".join(f"<li><b>{key}</b>: {html.escape(MEASURES[key])}</li>" for key in keys)
    shown = "".join(f'<p><img src="{quote(name)}" alt="{html.escape(name)}"></p>' for name in pictures)
    title = f"{about['method']} on {html.escape(about['checkpoint'])}"
    took = duration(sum(record["seconds"] for record in records))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>{len(records)} images in {html.escape(about['space'])}, {took}.</p>{shown}"
        f"<table><tr><th>image</th><th>target</th><th>projection</th>{head}</tr>{rows}"
        f"<tr><td><b>mean</b></td><td></td><td></td>{means}</tr></table><ul>{legend}</ul>"
        f"<pre>{html.escape(json.dumps(about, indent=1))}</pre></html>\n"
    )


def _row(record: Record, keys: Sequence[str]) -> str:
    folder = quote(record["name"])
    cells = "".join(f"<td>{_number(record.get(key))}</td>" for key in keys)
    pictures = "".join(f'<td><img src="{folder}/{name}.png" alt="{name}"></td>' for name in ("target", "proj"))
    return f"<tr><td>{html.escape(record['name'])}</td>{pictures}{cells}</tr>"


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
