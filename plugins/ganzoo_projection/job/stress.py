"""Stress tests: an image shifted, scaled, turned, or with parts masked (arXiv:1904.03189, section 4)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ganzoo.io.files import atomic_write
from ganzoo.io.images import Pixels, picture
from ganzoo_projection.job import report
from ganzoo_projection.job.pictures import Picture


def moved(image: Pixels, right: float, down: float, scale: float, degrees: float) -> Pixels:
    """uint8 [C, H, W], shifted, then scaled and turned around its centre; border pixels fill what is uncovered.

    Args:
        image: the image
        right: shift, as a part of the width
        down: shift, as a part of the height
        scale: above 1 enlarges
        degrees: angle
    """
    h, w = image.shape[1:]
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    theta = torch.tensor([[cos, -sin * h / w, 0.0], [sin * w / h, cos, 0.0]], dtype=torch.float64)
    theta[:, 2] = -theta[:, :2] @ torch.tensor([2.0 * right, 2.0 * down], dtype=torch.float64)
    x = torch.from_numpy(image.astype(np.float64))[None]
    positions = F.affine_grid(theta[None], [1, len(image), h, w], align_corners=False)
    sampled = F.grid_sample(x, positions, mode="bilinear", padding_mode="border", align_corners=False)
    pixels: Pixels = sampled[0].round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels


def masked(image: Pixels, top: float, left: float, bottom: float, right: float) -> Pixels:
    """uint8 [C, H, W] with a medium gray rectangle, whose sides are parts of the height and width."""
    h, w = image.shape[1:]
    covered = image.copy()
    covered[:, round(top * h) : round(bottom * h), round(left * w) : round(right * w)] = 128
    return covered


# shifts of 15% are about those of 150 of 1024 pixels in the paper
STRESS: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda image: image,
    "right 15%": lambda image: moved(image, 0.15, 0, 1, 0),
    "left 15%": lambda image: moved(image, -0.15, 0, 1, 0),
    "down 15%": lambda image: moved(image, 0, 0.15, 1, 0),
    "zoom 1.4": lambda image: moved(image, 0, 0, 1.4, 0),
    "zoom 0.7": lambda image: moved(image, 0, 0, 0.7, 0),
    "turned 45": lambda image: moved(image, 0, 0, 1, 45),
    "turned 90": lambda image: moved(image, 0, 0, 1, 90),
    "middle masked": lambda image: masked(image, 0.35, 0.35, 0.65, 0.65),
    "half masked": lambda image: masked(image, 0, 0.5, 1, 1),
}


def stressed(pictures: Sequence[Picture]) -> list[Picture]:
    """Each image in all variants of STRESS."""

    def variant(original: Picture, name: str, change: Callable[[Pixels], Pixels]) -> Picture:
        folder = f"{original.name}-{name.replace(' ', '-').replace('%', '')}"
        return Picture(folder, f"{original.source} ({name})", lambda: np.ascontiguousarray(change(original.read())))

    return [variant(original, name, change) for original in pictures for name, change in STRESS.items()]


def figure(records: Sequence[report.Record], outdir: Path, path: Path) -> None:
    """Draw the variants in the order of `stressed`: targets over projections, with PSNR."""
    from matplotlib.figure import Figure

    columns = len(STRESS)
    rows = 2 * (len(records) // columns)
    canvas = Figure(figsize=(1.5 * columns, 1.75 * rows), layout="constrained")
    axes = canvas.subplots(rows, columns, squeeze=False)
    for i, record in enumerate(records):
        row, column = divmod(i, columns)
        for j, which in enumerate(("target", "proj")):
            axis = axes[2 * row + j][column]
            image = picture(report.pixels(outdir / record["name"] / f"{which}.png"))
            axis.imshow(np.asarray(image.convert("RGBA")), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{record['psnr']:.1f} dB" if j else list(STRESS)[column], fontsize=9)
    with atomic_write(path) as temporary:
        canvas.savefig(temporary, dpi=90, format="png")
