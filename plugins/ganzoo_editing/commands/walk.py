"""`gz walk`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganzoo_cli.host import drawing as host
from ganzoo_cli.host.console import free_name, say
from ganzoo_cli.host.drawing import MOST, Checkpoint, parse_grid, parse_numbers, refuse, report_on_interrupt
from ganzoo_cli.host.options import with_groups
from ganzoo_editing.commands.workbench import CodeDrawing

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.io.images import Pixels
    from ganzoo.io.log import Log
    from ganzoo.model.model import Model
    from ganzoo_editing.latent_walk import Walk

Option = typer.Option
Latents = Annotated[
    list[Path] | None,
    Option(metavar="FILE", help="Keyframes from an .npz, .npy or .safetensors: z, w or ws; repeatable."),
]
Space = Annotated[
    Literal["z", "w"] | None,
    Option(help="z: great circles between latents; w: a spline through style codes; else w where layers have styles."),
]
Grid = Annotated[
    str | None, Option(metavar="COLUMNSxROWS", help="Several walks at once; the seeds are dealt to them in order.")
]


@with_groups
def walk(
    ckpt: Checkpoint,
    *,
    seeds: Annotated[str | None, Option(help="Seeds of the keyframes, as 0,3,10-20; else 0 to 5.")] = None,
    latents: Latents = None,
    frames: Annotated[int, Option(min=1, max=10_000, help="Steps from one keyframe to the next.")] = 60,
    fps: Annotated[int, Option(min=1, max=120, help="Frames a second.")] = 30,
    out: Annotated[Path, Option(metavar="FILE|DIR", help="A .webp, .gif or .mp4, or a folder for PNGs.")] = Path(
        "walk.webp"
    ),
    loop: Annotated[bool, Option("--loop/--no-loop", help="Return to the first keyframe, or end at the last.")] = True,
    space: Space = None,
    drawing: CodeDrawing,
    grid: Grid = None,
) -> None:
    """Walk from seed to seed: a film in which every keyframe is exactly that seed's image. Prints the file.

    A file that exists is kept: the new one is walk-1.webp.
    """
    if seeds is not None and latents:
        refuse(f"--seeds {seeds} and --latents {latents[0]}: give one of them.")
    numbers = parse_numbers("--seeds", seeds if seeds is not None else "0-5")
    columns, rows = parse_grid(grid) if grid else (1, 1)
    from ganzoo.io import film
    from ganzoo.io.log import Log
    from ganzoo_editing.latent_walk import Walk

    out = free_name(out) if film.check(out, fps) else out
    model = host.load_model(ckpt, drawing.device)
    host.refuse_large_grid(f"--grid {grid}", model, columns, rows)
    source = f"--latents {latents[0]}" if latents else f"--seeds {seeds or '0-5'}"
    keys = _dealt(_keys(model, numbers, latents, space, drawing), columns * rows, source, grid)
    route = Walk(model, keys, frames, loop, **drawing.settings)
    if len(route) > MOST:
        refuse(f"--frames {frames}: {source} then makes {len(route):,} frames, more than {MOST:,}.")
    about = drawing.about(model) | {"space": "z" if keys.ndim == 3 else "w", "frames": frames, "loop": loop}
    about |= {"latents": [file.name for file in latents]} if latents else {"seeds": numbers}
    host.note_limits(model, drawing.trunc)
    with Log(None, len(route)) as log, report_on_interrupt("frames", len(route), out) as written:
        frame_files = written if not film.check(out, fps) else []  # a film takes its name when it is complete
        film.write(out, _pictures(route, columns, log, frame_files), len(route), fps=fps, loop=loop, about=about)
    say(str(out))


def _keys(
    model: "Model",
    seeds: list[int],
    files: list[Path] | None,
    space: Literal["z", "w"] | None,
    drawing: CodeDrawing,
) -> "Tensor":
    """The keyframes of files, or else of seeds: latents [K, Z] or style codes [K, L, W]."""
    from ganzoo.model import latent_files
    from ganzoo.training.seeds import latents
    from ganzoo_editing import latent_walk

    label = drawing.label_input
    sources = (
        [latent_files.stored(file, model, space, foreign=drawing.foreign) for file in files]
        if files
        else [latents(seeds, model.G.z_dim)]
    )
    if all(keys.ndim == 3 for keys in sources):
        if label is not None:
            flag = f"--class {drawing.class_}" if drawing.label is None else f"--label {drawing.label}"
            refuse(f"{flag}: style codes, as --latents holds them, have their class already: leave it out.")
    else:
        model.label(label)  # refuses a label that the model does not have
    return latent_walk.keyframes(model, sources, space, label)


def _dealt(keys: "Tensor", cells: int, source: str, grid: str | None) -> "Tensor":
    """Deal keyframes [K, ...] to the cells of a grid, in order: [cells, K / cells, ...].

    Where there is one for each cell, every cell walks through all of them, and starts at its own. Raises UsageError
    where they cannot be dealt evenly.
    """
    import torch

    count = len(keys)
    if count < 2:
        refuse(f"{source}: a walk needs two keyframes or more.")
    if cells == 1:
        return keys[None]
    if count == cells:
        return torch.stack([keys.roll(-i, dims=0) for i in range(cells)])
    if count % cells or count < cells:
        more = -(-count // cells) * cells
        refuse(f"--grid {grid}: {source} gives {count} keyframes for {cells} walks: give {more}, or another multiple.")
    return keys.unflatten(0, (cells, count // cells))


def _pictures(walk: "Walk", columns: int, log: "Log", written: list[int]) -> Iterator["Pixels"]:
    """Yield the frames as pictures [C, H, W]; `written` grows by each that the reader is done with."""
    from ganzoo.io.images import grid

    for i in range(len(walk)):
        yield grid(walk.frame(i), columns)
        written.append(i)
        log.progress(i + 1, f"frame {i + 1} of {len(walk)}")
