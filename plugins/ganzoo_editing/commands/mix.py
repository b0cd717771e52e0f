"""`gz mix`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo_cli.host import drawing as host
from ganzoo_cli.host.console import free_names, say
from ganzoo_cli.host.drawing import Checkpoint, ClassDrawing, Outdir, parse_numbers, refuse, report_on_interrupt
from ganzoo_cli.host.options import with_groups

if TYPE_CHECKING:
    from ganzoo.model.model import Model

COARSE = 7  # layers 0-6, which the StyleGAN tools mix by default
MOST_CELLS = 10_000  # images of one grid

Option = typer.Option


@with_groups
def mix(
    ckpt: Checkpoint,
    *,
    rows: Annotated[str, Option(help="Seeds that give each row its image, as 85,100,10-12.")],
    cols: Annotated[str, Option(help="Seeds whose styles are taken, one a column.")],
    styles: Annotated[
        str | None, Option(help="Layers whose style comes from the column, as 0-6; else those of the coarser half.")
    ] = None,
    drawing: ClassDrawing,
    outdir: Outdir = Path("out"),
) -> None:
    """Mix styles: grid.png, with the row seeds down its left side and the column seeds above.

    Also writes each image, as 85-55.png for row 85 and column 55. Prints the files. A file that exists is kept: the
    new one is grid-1.png.
    """
    row_seeds, column_seeds = parse_numbers("--rows", rows), parse_numbers("--cols", cols)
    if (len(row_seeds) + 1) * (len(column_seeds) + 1) > MOST_CELLS:
        refuse(f"--rows and --cols: {len(row_seeds):,} by {len(column_seeds):,} images are more than {MOST_CELLS:,}.")
    asked = None if styles is None else parse_numbers("--styles", styles)
    model = host.load_model(ckpt, drawing.device)
    model.label(drawing.label_input)  # refuses a label that the model does not have
    layers = _layers(model, asked, styles)
    host.refuse_large_grid("--rows and --cols", model, len(column_seeds) + 1, len(row_seeds) + 1)
    host.note_limits(model, drawing.trunc)
    host.ensure_outdir(outdir)
    _draw(model, row_seeds, column_seeds, layers, drawing, outdir)


def _layers(model: "Model", asked: list[int] | None, text: str | None) -> list[int]:
    """The layers to mix: those that --styles names, or the coarser half.

    Raises UsageError where there is no such layer, and for a generator in which mixing would change nothing.
    """
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
    model: "Model",
    row_seeds: list[int],
    column_seeds: list[int],
    layers: list[int],
    drawing: ClassDrawing,
    outdir: Path,
) -> None:
    import numpy as np

    from ganzoo.io import images
    from ganzoo.io.log import Log

    about = drawing.about(model) | {"styles": layers}
    mixed: dict[tuple[int, int], images.Pixels] = {}
    sources = [(seed, seed) for seed in dict.fromkeys([*column_seeds, *row_seeds])]
    wanted = sources + [(row, col) for row in row_seeds for col in column_seeds if row != col]
    names = free_names([*(outdir / f"{row}-{col}.png" for row, col in wanted), outdir / "grid.png"], ".npy")
    with report_on_interrupt("images", len(set(wanted)), outdir) as written, Log(None, len(wanted)) as log:
        for done, (row, col) in enumerate(wanted, 1):
            if (row, col) in mixed:  # a seed that was named twice
                continue
            mixed[row, col] = image = model.pixels(model.mix(row, col, layers, **drawing.settings))[0]
            log.progress(done, f"{row}-{col}")
            path = names[outdir / f"{row}-{col}.png"]
            images.save(image, path, about | {"row": row, "col": col})
            written.append(path)
            say(str(path))
        corner = np.full_like(image, 255)
        tiles = [corner, *(mixed[col, col] for col in column_seeds)]
        for row in row_seeds:
            tiles += [mixed[row, row], *(mixed[row, col] for col in column_seeds)]
        grid = images.grid(np.stack(tiles), len(column_seeds) + 1)
        path = names[outdir / "grid.png"]
        images.save(grid, path, about | {"rows": row_seeds, "cols": column_seeds})
        say(str(path))
