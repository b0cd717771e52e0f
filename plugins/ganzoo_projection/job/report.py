"""How near projections came to their targets: numbers, contact sheets, curves, and one page with all of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image as PIL

from ganzoo.io.files import atomic_write
from ganzoo.io.images import TILE, Pixels, grid, save
from ganzoo.io.log import duration

TEMPLATE = Path(__file__).with_name("report.html.jinja")
ROWS = 100  # projected images on the contact sheet
MEASURES = {
    "mse": "mean squared difference of pixels, which run from -1 to 1",
    "psnr": "peak signal-to-noise ratio in dB, 10 log10(4 / mse)",
    "psnr_stored_noise": "the same with the generator's stored noise, as other commands draw the codes",
    "ssim": "structural similarity: 11x11 Gaussian window, mean over channels",
    "perceptual": "distance that the projector minimised",
    "from_mean": "norm of the difference between the style codes of all layers and the mean style code",
    "spreads": "the same, root mean square over the layers, in spreads: 1 for the code of a random latent",
    "steps": "steps of the optimization",
    "seconds": "time of the batch, over its number of images",
}
Record = dict[str, Any]


def pixels(path: Path) -> Pixels:
    """Read an image that was written here: uint8 [C, H, W]."""
    exact = path.with_suffix(".npy")  # there only if the channels are no colours
    if exact.exists():
        return np.asarray(np.load(exact, allow_pickle=False))
    array = np.asarray(PIL.open(path))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def difference(target: Pixels, image: Pixels) -> Pixels:
    """Absolute difference of uint8 images [C, H, W]; of RGBA, opaque, with the difference of alpha in all colours."""
    distance = np.abs(target.astype(np.int16) - image).astype(np.uint8)
    if len(distance) == 4:
        distance[:3], distance[3] = np.maximum(distance[:3], distance[3]), 255
    return distance


def triple(target: Pixels, image: Pixels) -> Pixels:
    """Target, projection and difference: uint8 [3, C, H, W]."""
    return np.stack([target, image, difference(target, image)])


def contact(triples: Sequence[Pixels], path: Path, about: Mapping[str, Any]) -> None:
    """Write one picture of up to ROWS triples [3, C, H, W]: one a row, or two or three where there are many."""
    columns = 3 if len(triples) <= 8 else 6 if len(triples) <= 40 else 9
    save(grid(np.concatenate(list(triples[:ROWS])), columns, TILE), path, about)


def curves(losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw each image's losses over the steps; the line whose last loss is the median is wide."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    lines = {name: values for name, values in losses.items() if len(values)}
    ranked = sorted(lines, key=lambda name: lines[name][-1])
    for name, values in lines.items():
        is_median = name == ranked[len(ranked) // 2]
        axis.plot(values, label=name if is_median or len(lines) <= 8 else None, lw=2 if is_median else 0.7)
    axis.set(xlabel="step", ylabel="loss", yscale="log" if lines else "linear", title="minimised loss")
    axis.grid(alpha=0.3)
    if lines:
        axis.legend(fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def summary(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """{measure: mean, median, min and max over the images that have it}."""
    statistics = {}
    for key in MEASURES:
        values = [record[key] for record in records if key in record]
        if values:
            numbers = np.array(values, np.float64)
            statistics[key] = {
                "mean": float(numbers.mean()),
                "median": float(np.median(numbers)),
                "min": float(numbers.min()),
                "max": float(numbers.max()),
            }
    return statistics


def write(folder: Path, about: Record, records: Sequence[Record], pictures: Sequence[str] = ()) -> Record:
    """Write report.json and report.html, and return what the first one holds.

    Args:
        folder: where they are written
        about: the model and the method
        records: numbers of each image
        pictures: files in the folder that the page shows
    """
    report = {**about, "measures": MEASURES, "summary": summary(records), "images": list(records)}
    with atomic_write(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1), encoding="utf-8")
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(_page(about, records, pictures), encoding="utf-8")
    return report


def _page(about: Record, records: Sequence[Record], pictures: Sequence[str]) -> str:
    """The report as HTML without scripts; pictures lie beside it."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["number"] = _number
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about,
        records=records,
        pictures=pictures,
        summary=summary(records),
        measures={name: text for name, text in MEASURES.items() if any(name in record for record in records)},
        took=duration(sum(record["seconds"] for record in records)),
        details=json.dumps(about, indent=1),
    )


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
