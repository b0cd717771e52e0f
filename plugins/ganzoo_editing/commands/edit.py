"""`gz edit`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ganzoo_cli.host.console import note
from ganzoo_cli.host.drawing import Checkpoint, parse_numbers, refuse, report_on_interrupt
from ganzoo_cli.host.options import with_groups
from ganzoo_editing.commands.workbench import CodeDrawing, signed, strengths

STRIP, FILM = 8, 60  # frames of a morph in one picture, and as a film

Option = typer.Option
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Edit style codes: those of seeds, or of images that 'gz project' found. FILE is an .npz, .npy or "
    ".safetensors; FILE:2 is the third code in it. A file that exists is kept: the new one is morph-1.webp.",
)


def _code(name: str, text: str) -> Any:
    return typer.Argument(metavar=name, help=f"FILE or seed: {text}", show_default=False)


Picture = Annotated[Path, Option(metavar="FILE.png", help="The picture; the codes are written beside it.")]
Strengths = Annotated[str, Option(help="How far to go, as 0.5,1,1.5; one image each. 0 changes nothing.")]


@app.command()
@with_groups
def morph(
    ckpt: Checkpoint,
    *,
    a: Annotated[str, _code("A", "where it begins.")],
    b: Annotated[str, _code("B", "where it ends.")],
    frames: Annotated[
        int | None, Option(min=2, max=10_000, help=f"With both ends; else {FILM}, or {STRIP} in a picture.")
    ] = None,
    fps: Annotated[int, Option(min=1, max=120, help="Frames a second.")] = 30,
    out: Annotated[
        Path, Option(metavar="FILE|DIR", help="A film (.webp, .gif, .mp4), a .png with all frames, or a folder.")
    ] = Path("morph.webp"),
    drawing: CodeDrawing,
) -> None:
    """Go from one image to another, in a straight line between their codes; both ends are exact. Prints the files."""
    from ganzoo.io import film
    from ganzoo_editing import style_codes

    still = out.suffix.lower() == ".png"
    if out.suffix and not still and not out.is_dir() and out.suffix.lower() not in film.LARGEST:
        refuse(
            f"--out {out}: '{out.suffix}' cannot be written: choose {', '.join(film.LARGEST)} or a folder for a film, "
            f"or .png for a picture of all frames."
        )
    count = frames or (STRIP if still else FILM)
    folder = not still and not film.check(out, fps)
    work = drawing.workbench(ckpt)
    ws = style_codes.morph(work.code("A", a), work.code("B", b), count, arc=not work.model.has_mapping)
    if not work.model.has_mapping:
        note(f"{work.model.path.name} has no learned mapping: the codes are latents, and move along a great circle.")
    about = work.about() | {"from": a, "to": b}
    if still:
        work.strip(ws, [f"{i / (count - 1):.2f}" for i in range(count)], out, about)
    else:
        if folder:
            work.require_writable(out, out / "morph")
        else:
            out = work.free_name(out)
        stem = out / "morph" if folder else out.with_suffix("")
        with report_on_interrupt("frames", count, out) as written:
            images = work.images(ws, written if folder else [])
            film.write(out, images, count, fps=fps, loop=True, about=about)
        work.save(out, stem, ws, about)


@app.command()
@with_groups
def crossover(
    ckpt: Checkpoint,
    *,
    content: Annotated[str, _code("CONTENT", "whose first layers decide on the shape.")],
    style: Annotated[str, _code("STYLE", "whose other layers decide on colours and texture.")],
    layers: Annotated[
        str | None, Option(help="How many layers are the content's, as 3, or several as 0,3,6; else half of them.")
    ] = None,
    out: Picture = Path("crossover.png"),
    drawing: CodeDrawing,
) -> None:
    """Join the first layers of one image with the other layers of another; shown between the two. Prints the files."""
    asked = None if layers is None else parse_numbers("--layers", layers)
    from ganzoo_editing import style_codes

    work = drawing.workbench(ckpt)
    used = work.styled("to cross")[-1] + 1
    cuts = asked if asked is not None else [style_codes.split(used)]
    for k in cuts:
        if k > used:
            refuse(f"--layers {layers}: {k} is more than the {used} layers that {work.model.path} uses.")
    first, rest = work.code("CONTENT", content), work.code("STYLE", style)
    crossed = [style_codes.crossover(first, rest, k) for k in cuts]
    names = ["content", *(f"{k} of {used}" for k in cuts), "style"]
    about = work.about() | {"content": content, "style": style, "layers": cuts}
    work.strip([first, *crossed, rest], names, out, about, crossed)


@app.command()
@with_groups
def transfer(
    ckpt: Checkpoint,
    *,
    target: Annotated[str, _code("TARGET", "what is to change.")],
    neutral: Annotated[str, Option(metavar="FILE|SEED", help="An image of another subject.")],
    expressive: Annotated[str, Option(metavar="FILE|SEED", help="The same subject, changed as the target shall be.")],
    strength: Strengths = "0.5,1,1.5",
    threshold: Annotated[
        float, Option(min=0, help="Move a channel only if it differs by at least this, as an L2 norm over layers.")
    ] = 0.0,
    out: Picture = Path("transfer.png"),
    drawing: CodeDrawing,
) -> None:
    """Put what differs between two images of a subject, as an expression, on another subject. Prints the files."""
    steps = strengths("--strength", strength)
    if not math.isfinite(threshold):
        refuse(f"--threshold {threshold}: give a finite number.")
    from ganzoo_editing import style_codes

    work = drawing.workbench(ckpt)
    work.styled("to transfer")
    ws = work.code("TARGET", target)
    pair = work.code("--neutral", neutral), work.code("--expressive", expressive)
    moved = [style_codes.transfer(ws, *pair, step, threshold) for step in steps]
    about = work.about() | {"target": target, "neutral": neutral, "expressive": expressive}
    about |= {"strength": steps, "threshold": threshold}
    work.strip([*pair, ws, *moved], ["neutral", "expressive", "target", *signed(steps)], out, about, moved)


@app.command()
@with_groups
def directions(
    ckpt: Checkpoint,
    *,
    layers: Annotated[str | None, Option(help="Layers that are factorized and moved, as 0-3; else all.")] = None,
    count: Annotated[int, Option(min=1, help="How many directions.")] = 5,
    strength: Annotated[float, Option(help="How far to go to either side.")] = 3.0,
    steps: Annotated[int, Option(min=2, max=99, help="Images a row.")] = 7,
    seeds: Annotated[str | None, Option(help="Images to move, as 0,3; a row each a direction. Else 0.")] = None,
    latents: Annotated[
        list[str] | None, Option(metavar="FILE", help="Move these codes instead of seeds; repeatable.")
    ] = None,
    out: Picture = Path("directions.png"),
    drawing: CodeDrawing,
) -> None:
    """Find directions from the weights alone, those first that change most; a row each. Prints the files.

    They are written beside the picture, as .npz and .safetensors, for 'gz edit apply'.
    """
    if seeds is not None and latents:
        refuse(f"--seeds {seeds} and --latents {latents[0]}: give one of them.")
    chosen = None if layers is None else parse_numbers("--layers", layers)
    starts = latents or [str(seed) for seed in parse_numbers("--seeds", seeds or "0")]
    strengths("--strength", str(strength))
    from ganzoo.model import latent_files
    from ganzoo_editing import style_codes

    work = drawing.workbench(ckpt)
    sefa = style_codes.directions(work.model, work.styled("to move") if chosen is None else chosen, count)
    ws = [work.code("--latents" if latents else "--seeds", text) for text in starts]
    distances = [strength * (2 * i / (steps - 1) - 1) for i in range(steps)]
    moved = [style_codes.apply(w, offset[None], far) for offset in sefa.offsets for w in ws for far in distances]
    rows = [f"{d} of {Path(text).name}" if len(starts) > 1 else str(d) for d in range(count) for text in starts]
    about = work.about() | {"layers": chosen or "all", "changes": [round(x, 6) for x in sefa.changes.tolist()]}
    out = work.picture(moved, signed(distances), rows, out, about | {"strength": strength})
    work.save(out, out.with_suffix(""), sefa.offsets, about, latent_files.DIRECTIONS)


@app.command("apply")
@with_groups
def apply_(
    ckpt: Checkpoint,
    *,
    latent: Annotated[str, _code("LATENT", "what is to move.")],
    directions: Annotated[Path, typer.Argument(metavar="DIRECTIONS", help="What 'gz edit directions' wrote.")],
    number: Annotated[int, Option(min=0, help="Which direction, from 0 on.")] = 0,
    strength: Strengths = "-3,-1.5,0,1.5,3",
    out: Picture = Path("apply.png"),
    drawing: CodeDrawing,
) -> None:
    """Move a code along a direction. Prints the files."""
    steps = strengths("--strength", strength)
    from ganzoo.model import latent_files
    from ganzoo_editing import style_codes

    work = drawing.workbench(ckpt)
    offsets = latent_files.directions(directions, work.model, foreign=drawing.foreign)
    if number >= len(offsets):
        refuse(f"--number {number}: {directions} holds {len(offsets)} directions: choose from 0 to {len(offsets) - 1}.")
    work.inputs.append(directions)
    ws = work.code("LATENT", latent)
    moved = [style_codes.apply(ws, offsets[number][None], step) for step in steps]
    about = work.about() | {"latent": latent, "directions": directions.name, "number": number, "strength": steps}
    work.strip(moved, signed(steps), out, about)
