"""`gz export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo_cli.host.console import free_name, known, note, say
from ganzoo_cli.host.drawing import Checkpoint, Cutoff, load_model, newest_snapshot, note_limits, refuse

Option = typer.Option
Net = Annotated[Literal["G_ema", "G", "D"], Option(help="Which network, for a state-dict.")]
SUFFIX = {"state-dict": ".safetensors", "onnx": ".onnx"}


def export(
    ckpt: Checkpoint,
    format_: Annotated[
        Literal["state-dict", "onnx"],
        Option("--format", help="state-dict: weights as plain safetensors; onnx: the generator as a graph."),
    ],
    out: Annotated[Path | None, Option(metavar="FILE", help="The file; else named after the checkpoint, here.")] = None,
    net: Net = "G_ema",
    trunc: Annotated[
        float | None, Option("--trunc", "--psi", help="Truncation psi, a constant of the graph; else 1, none.")
    ] = None,
    trunc_cutoff: Cutoff = None,
) -> None:
    """Write a network for other programs. Prints the file; one that exists is kept, and the new one has a number.

    ONNX takes z, [N, z_dim], and for a conditional model label, [N, classes]; it gives image, [N, C, H, W] in about
    [-1, 1], with the stored noise. Its images are compared with torch's before the file is kept.
    """
    ckpt = newest_snapshot(ckpt)
    suffix = SUFFIX[format_]
    path = out or Path(f"{ckpt.stem}-{net}{suffix}")
    if path.suffix != suffix:
        refuse(f"--out {path}: a {format_} is a {suffix} file: choose a name that ends so.")
    if path.is_dir():
        refuse(f"--out {path}: that is a folder: name a file, as {path / f'{net}{suffix}'}.")
    if path.exists() and ckpt.exists() and path.samefile(ckpt):
        refuse(f"--out {path}: that is the checkpoint itself: choose another name.")
    path = free_name(path)
    if format_ == "onnx":
        _onnx(ckpt, path, net, 1.0 if trunc is None else trunc, trunc_cutoff)
    else:
        if trunc is not None or trunc_cutoff is not None:
            refuse("--trunc and --trunc-cutoff: weights know no truncation: leave them out, or choose --format onnx.")
        _weights(ckpt, path, net)
    say(str(path))


def _weights(ckpt: Path, path: Path, net: Net) -> None:
    """Write a network's weights, and note how they are loaded."""
    known()
    from ganzoo_export import export

    if growth := export.unfinished(ckpt):
        note(f"{ckpt.name}: {growth}: the layers of larger sizes are not trained.")
    count = export.state_dict(ckpt, path, net)
    note(f"{count:,} numbers of {net}. In Python:")
    note(
        f"  from pathlib import Path\n  from safetensors.torch import load_file\n"
        "  from ganzoo_export.export import rebuild\n"
        f'  net = rebuild(Path("{ckpt}"), "{net}"); net.load_state_dict(load_file("{path}"))'
    )


def _onnx(ckpt: Path, path: Path, net: Net, psi: float, cutoff: int | None) -> None:
    """Write the generator as a graph, and note how far its images are from torch's."""
    if net != "G_ema":
        refuse(f"--net {net}: --format onnx exports G_ema, the generator that images are drawn with: leave --net out.")
    from ganzoo_export import export

    export.require_onnx()
    model = load_model(ckpt, "cpu")
    note_limits(model, psi)
    note("Tracing; this takes some seconds, and minutes for a large generator.")
    worst = export.onnx(model, path, psi=psi, cutoff=cutoff)
    batches = " and ".join(map(str, export.BATCHES))
    note(f"onnxruntime gives torch's images: largest difference {worst:.2g} in [-1, 1], in batches of {batches}.")
