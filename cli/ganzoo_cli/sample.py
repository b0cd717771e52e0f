"""`gz generate`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ganzoo_cli.console import Device, known, say

if TYPE_CHECKING:
    from ganzoo.model import Model

MOST = 1_000_000

Option = typer.Option
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")]
Seeds = Annotated[
    str | None, Option(help="Seeds, one an image, as 0,3,10-20; else 0 to 7, or as many as the grid holds.")
]
Psi = Annotated[float, Option("--trunc", "--psi", help="Truncation psi: 1 for none; smaller is better and more alike.")]
Cutoff = Annotated[int | None, Option(min=0, help="Layers that are truncated, from the coarsest; else all.")]
Class = Annotated[int | None, Option("--class", help="Class number, for a conditional model.")]
Noise = Annotated[Literal["const", "random", "none"], Option(help="const: stored noise; random: noise of the seed.")]
Grid = Annotated[str | None, Option(metavar="COLUMNSxROWS", help="One picture, grid.png, instead of one a seed.")]
Outdir = Annotated[Path, Option(help="Folder for the pictures.")]


def generate(
    ckpt: Checkpoint,
    seeds: Seeds = None,
    trunc: Psi = 1.0,
    trunc_cutoff: Cutoff = None,
    class_: Class = None,
    noise_mode: Noise = "const",
    grid: Grid = None,
    outdir: Outdir = Path("out"),
    device: Device = "auto",
) -> None:
    """Draw images from a checkpoint: seed0042.png for each seed, or grid.png. Prints the files."""
    columns, places = _grid(grid)
    chosen = _seeds(seeds if seeds is not None else f"0-{(places or 8) - 1}")
    if places and len(chosen) > places:
        _refuse(f"--grid {grid}: it holds {places} images, --seeds names {len(chosen)}.")
    known()
    import ganzoo

    model = ganzoo.load(ckpt, device)
    outdir.mkdir(parents=True, exist_ok=True)
    how = {"psi": trunc, "cutoff": trunc_cutoff, "label": class_, "noise": noise_mode}
    _draw(model, chosen, how, outdir, columns)


def _draw(model: "Model", seeds: Sequence[int], how: dict[str, Any], outdir: Path, columns: int) -> None:
    """Write a picture a seed, or with `columns` one of all."""
    import numpy as np

    import ganzoo
    from ganzoo import images
    from ganzoo.checkpoint import recipe_hash
    from ganzoo.data import to_uint8
    from ganzoo.log import Log

    head = model.header
    about = {"ganzoo": ganzoo.__version__, "recipe": recipe_hash(head.recipe), "kimg": head.kimg}
    about |= {name: value for name, value in how.items() if value is not None}
    tiles = []
    with Log(None, len(seeds)) as log:
        for done, seed in enumerate(seeds, 1):
            image = to_uint8(model.images([seed], **how))[0].numpy()
            log.progress(done, f"seed {seed}")
            if columns:
                tiles.append(image)
                continue
            path = outdir / f"seed{seed:04d}.png"
            images.save(image, path, about | {"seed": seed})
            say(str(path))
    if columns:
        images.save(images.grid(np.stack(tiles), columns), outdir / "grid.png", about | {"seeds": list(seeds)})
        say(str(outdir / "grid.png"))


def _refuse(sentence: str) -> NoReturn:
    from ganzoo.errors import UsageError

    raise UsageError(sentence)


def _grid(text: str | None) -> tuple[int, int]:
    """(columns, places); zeros without a grid."""
    if text is None:
        return 0, 0
    match = re.fullmatch(r"([1-9]\d{0,2})[xX]([1-9]\d{0,2})", text)
    if not match:
        _refuse(f"--grid {text}: write it as columns x rows, as 8x4.")
    return int(match[1]), int(match[1]) * int(match[2])


def _seeds(text: str) -> list[int]:
    """'0,3,10-12' -> [0, 3, 10, 11, 12]."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match:
            _refuse(f"--seeds {text}: '{part}' is no number from 0 on and no range; write 0,3,10-20.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            _refuse(f"--seeds {text}: '{part}' ends before it begins.")
        if len(found) + last - first >= MOST:
            _refuse(f"--seeds {text}: '{part}' makes more than {MOST:,} images.")
        found += range(first, last + 1)
    return found
