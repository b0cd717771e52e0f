"""`gz mix`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.host.console import say
from ganzoo_cli.host.drawing import (
    Checkpoint,
    Class,
    Cutoff,
    Noise,
    Outdir,
    Psi,
    about_with,
    cautions,
    fits,
    loaded,
    new_outdir,
    numbers,
    refuse,
    report_on_interrupt,
)
from ganzoo_cli.host.options import Device

if TYPE_CHECKING:
    from ganzoo.model.model import Model

COARSE = 7  # layers 0-6, which the StyleGAN tools mix unless told otherwise
MOST_CELLS = 10_000

Option = typer.Option


def mix(
    ckpt: Checkpoint,
    rows: Annotated[str, Option(help="Seeds that give each row its image, as 85,100,10-12.")],
    cols: Annotated[str, Option(help="Seeds whose styles are taken, one a column.")],
    styles: Annotated[
        str | None, Option(help="Layers whose style comes from the column, as 0-6; else those of the coarser half.")
    ] = None,
    trunc: Psi = 1.0,
    trunc_cutoff: Cutoff = None,
    class_: Class = None,
    noise_mode: Noise = "const",
    outdir: Outdir = Path("out"),
    device: Device = "auto",
) -> None:
    """Mix styles: grid.png, with the row seeds down its left side and the column seeds above.

    Also writes each image, as 85-55.png for row 85 and column 55. Prints the files.
    """
    down, across = numbers("--rows", rows), numbers("--cols", cols)
    if (len(down) + 1) * (len(across) + 1) > MOST_CELLS:
        refuse(f"--rows and --cols: {len(down):,} by {len(across):,} images are more than {MOST_CELLS:,}.")
    asked = None if styles is None else numbers("--styles", styles)
    model = loaded(ckpt, device)
    model.label(class_)  # refuses what cannot be
    layers = _layers(model, asked, styles)
    fits("--rows and --cols", model, len(across) + 1, len(down) + 1)
    cautions(model, trunc)
    new_outdir(outdir)
    how = {"psi": trunc, "cutoff": trunc_cutoff, "label": class_, "noise": noise_mode}
    _draw(model, down, across, layers, how, outdir)


def _layers(model: "Model", asked: list[int] | None, text: str | None) -> list[int]:
    """The layers to mix. Refuses those that are not, and a generator in which mixing would change nothing."""
    used = model.styled
    if len(used) < 2:
        refuse(
            f"{model.path}: its generator takes no style in its layers, so there is nothing to mix; 'gz walk' shows "
            f"what lies between two seeds."
        )
    last = used[-1]
    if asked is None:
        return list(range(min(COARSE, (last + 1) // 2)))
    for layer in asked:
        if layer > last:
            grown = f" at the size it has grown to, of {model.G.num_ws}" if last + 1 < model.G.num_ws else ""
            refuse(
                f"--styles {text}: there is no layer {layer}: choose from 0 to {last}, those of {model.path}{grown}."
            )
    return sorted(set(asked))


def _draw(
    model: "Model", down: list[int], across: list[int], layers: list[int], how: dict[str, Any], outdir: Path
) -> None:
    import numpy as np

    from ganzoo.io import images
    from ganzoo.io.log import Log

    about = about_with(model, how) | {"styles": layers}
    made: dict[tuple[int, int], images.Pixels] = {}
    sources = [(seed, seed) for seed in dict.fromkeys([*across, *down])]
    wanted = sources + [(row, col) for row in down for col in across if row != col]
    with report_on_interrupt("images", len(set(wanted)), outdir) as written, Log(None, len(wanted)) as log:
        for done, (row, col) in enumerate(wanted, 1):
            if (row, col) in made:  # a seed that was named twice
                continue
            made[row, col] = image = model.pixels(model.mix(row, col, layers, **how))[0]
            log.progress(done, f"{row}-{col}")
            path = outdir / f"{row}-{col}.png"
            images.save(image, path, about | {"row": row, "col": col})
            written.append(path)
            say(str(path))
        corner = np.full_like(image, 255)
        tiles = [corner, *(made[col, col] for col in across)]
        for row in down:
            tiles += [made[row, row], *(made[row, col] for col in across)]
        images.save(
            images.grid(np.stack(tiles), len(across) + 1), outdir / "grid.png", about | {"rows": down, "cols": across}
        )
        say(str(outdir / "grid.png"))
