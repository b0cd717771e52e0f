"""`gz ckpt`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganzoo_cli.host.console import known, say, say_json, table
from ganzoo_cli.host.drawing import newest_snapshot
from ganzoo_cli.host.options import Json

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Inspect and verify checkpoints.")

File = Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot or a state, a run directory, or 'latest'.")]


@app.command()
def info(path: File, as_json: Json = False) -> None:
    """Print what a checkpoint holds: recipe, images seen, data, versions. Needs no plugin."""
    from ganzoo.io.hashes import recipe_hash
    from ganzoo.model.checkpoint import outline

    path = newest_snapshot(path)
    head, tensors = outline(path)
    nets = ("G" if any(name.startswith("G.") for name in tensors) else "G_ema", "D")  # an imported one may lack some
    counts = {net: sum(t.numel() for name, t in tensors.items() if name.startswith(f"{net}.")) for net in nets}
    facts: dict[str, Any] = {
        "kind": head.kind,
        "title": head.recipe.get("title", ""),
        "recipe": recipe_hash(head.recipe),
        "kimg": head.kimg,
        "iteration": head.iteration,
        "image": head.recipe.get("image", {}),
        "parameters+buffers": counts,
        "tensors": len(tensors),
        "bytes": path.stat().st_size,
        "data": head.data,
        "versions": head.versions,
        "digest": head.digest,
        "format": head.format,
    }
    if as_json:
        return say_json({**facts, "filled_recipe": head.recipe})
    return table(["", ""], [(key, _line(value)) for key, value in facts.items()])


def _line(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items() if v is not None)


@app.command()
def verify(path: File) -> None:
    """Check every tensor against the digest it was written with, and that the recipe can be built here."""
    from ganzoo.model import checkpoint
    from ganzoo.model.restore import outline, recipe_of, require_fit

    known()
    path = newest_snapshot(path)
    head, tensors = checkpoint.read(path)
    node = recipe_of(path, head)
    if head.kind == "snapshot":
        require_fit(path, outline(path, node), tensors)
    say(f"OK: {path}, a {head.kind} at {head.kimg:g} kimg")
