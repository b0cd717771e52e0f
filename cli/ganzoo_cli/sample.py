"""`gz generate`."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo_cli.console import Device, known, say

Option = typer.Option
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")]
MOST = 1_000_000


def generate(
    ckpt: Checkpoint,
    seeds: Annotated[str | None, Option(help="Seeds, one an image, as 0,3,10-20; else 0 to 7, or as many as the grid holds.")] = None,
    trunc: Annotated[float, Option("--trunc", "--psi", help="Truncation psi: 1 for none; smaller is better and more alike.")] = 1.0,
    trunc_cutoff: Annotated[int | None, Option(min=0, help="Layers that are truncated; else all.")] = None,
    class_: Annotated[int | None, Option("--class", help="Class number, for a conditional model.")] = None,
    noise_mode: Annotated[Literal["const", "random", "none"], Option(help="const: stored noise; random: noise of the seed.")] = "const",
    grid: Annotated[str | None, Option(metavar="COLUMNSxROWS", help="One picture, grid.png, instead of one a seed.")] = None,
    outdir: Annotated[Path, Option(help="Folder for the pictures.")] = Path("out"),
    device: Device = "auto",
) -> None:
    """Draw images from a checkpoint: seed0042.png for each seed, or grid.png."""
    columns, places = _grid(grid)
    chosen = _seeds(seeds if seeds is not None else f"0-{(places or 8) - 1}")
    if places and len(chosen) > places:
        _refuse(f"--grid {grid}: it holds {places} images, --seeds names {len(chosen)}.")
    known()
    import ganzoo
    from ganzoo.checkpoint import recipe_hash
    from ganzoo.data import to_uint8
    from ganzoo.images import grid as tile
    from ganzoo.images import save
    from ganzoo.log import Log

    model = ganzoo.load(ckpt, device)
    outdir.mkdir(parents=True, exist_ok=True)
    about = {"ganzoo": ganzoo.__version__, "recipe": recipe_hash(model.header.recipe), "kimg": model.header.kimg, "psi": trunc,
             "noise": noise_mode} | ({"class": class_} if class_ is not None else {}) | ({"cutoff": trunc_cutoff} if trunc_cutoff is not None else {})
    tiles = []
    with Log(None, len(chosen)) as log:
        for done, seed in enumerate(chosen, 1):
            image = to_uint8(model.images([seed], psi=trunc, cutoff=trunc_cutoff, label=class_, noise=noise_mode))[0].numpy()
            log.progress(done, f"seed {seed}")
            if places:
                tiles.append(image)
            else:
                save(image, outdir / f"seed{seed:04d}.png", about | {"seed": seed})
                say(str(outdir / f"seed{seed:04d}.png"))
    if tiles:
        import numpy as np

        save(tile(np.stack(tiles), columns), outdir / "grid.png", about | {"seeds": chosen})
        say(str(outdir / "grid.png"))


def _refuse(sentence: str) -> None:
    from ganzoo.errors import UsageError

    raise UsageError(sentence)


def _grid(text: str | None) -> tuple[int, int]:
    """(columns, places), 0 places without a grid."""
    if text is None:
        return 0, 0
    match = re.fullmatch(r"([1-9]\d{0,2})[xX]([1-9]\d{0,2})", text)
    if not match:
        _refuse(f"--grid {text}: write it as columns x rows, as 8x4.")
        return 0, 0
    columns, rows = int(match[1]), int(match[2])
    return columns, columns * rows


def _seeds(text: str) -> list[int]:
    """'0,3,10-12' -> [0, 3, 10, 11, 12]."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match:
            _refuse(f"--seeds {text}: '{part}' is no number from 0 on and no range; write 0,3,10-20.")
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or len(found) + last - first >= MOST:
            _refuse(f"--seeds {text}: '{part}' " + ("ends before it begins." if last < first else f"makes more than {MOST:,} images."))
        found += range(first, last + 1)
    return found
