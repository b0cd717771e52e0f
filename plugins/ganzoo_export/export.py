"""A checkpoint's networks for other programs: plain weights, and ONNX that is compared with torch.

export.state_dict(Path("snapshot.safetensors"), Path("g.safetensors"))
G = ganzoo.load("snapshot.safetensors").G               # or export.rebuild(...), also for G and D
G.load_state_dict(safetensors.torch.load_file("g.safetensors"))
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo import __version__
from ganzoo.errors import CheckpointError, UsageError, ZooError
from ganzoo.io import hashes
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.model import checkpoint
from ganzoo.model.model import Model
from ganzoo.model.restore import build_gan, growth_note
from ganzoo.training.seeds import latents
from ganzoo.types import Image, Label, Latent

Net = Literal["G_ema", "G", "D"]
NEEDED = ("onnx", "onnxscript", "onnxruntime")
BATCHES = (1, 3)
TOLERANCE = 1 / 255  # of images in [-1, 1]: half a step of 8 bits


def rebuild(path: Path, net: Net = "G_ema") -> nn.Module:
    """One of a checkpoint's networks, with its weights, on the CPU."""
    head, tensors = checkpoint.read(path)
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        made = build_gan(path, head)
    module: nn.Module = made.D if net == "D" else made.G
    checkpoint.load_weights(module, tensors, net, path)
    return module.eval()


def state_dict(path: Path, out: Path, net: Net = "G_ema") -> int:
    """Write a network's weights under the names its module gives them; return how many numbers they are."""
    weights = {name: t.contiguous() for name, t in rebuild(path, net).state_dict().items()}
    recipe = hashes.recipe_hash(checkpoint.header(path).recipe)
    note = f"{net} of {path.name}, recipe {recipe}, written by ganzoo {__version__}"
    with _written(out) as temporary:
        save_file(weights, temporary, metadata={"format": "pt", "note": note})
    return sum(t.numel() for t in weights.values())


def unfinished(path: Path) -> str:
    """'still growing at 4x4 of 32x32', or "" for a generator that has its full size."""
    head = checkpoint.header(path)
    with torch.device("meta"):  # takes no memory
        made = build_gan(path, head)
    return growth_note(made.shape, made.stage_at(head.images))


class Drawing(nn.Module):
    """Latents (and labels) to images, as a graph: truncation, growth and noise are constants in it."""

    def __init__(self, model: Model, psi: float, cutoff: int | None) -> None:
        super().__init__()
        self.G, self.stage, self.psi, self.cutoff = model.G, model.stage, psi, cutoff

    def forward(self, z: Latent, label: Label = None) -> Image:
        """[N, Z] and, for a conditional model, [N, K] -> [N, C, H, W] in about [-1, 1]."""
        with self.G.noise("const"):
            ws = self.G.truncate(self.G.styles(z, label, self.stage), self.psi, self.cutoff)
            return self.G.synthesize(ws, self.stage)[-1]


def require_onnx() -> None:
    """Raise UsageError where a package that exporting needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"--format onnx needs the package {', '.join(missing)}: pip install 'ganzoo[onnx]'.")


@torch.no_grad()
def onnx(model: Model, out: Path, *, psi: float = 1.0, cutoff: int | None = None) -> float:
    """Write z [N, Z] (and label [N, K]) -> image [N, C, H, W] as ONNX, then run it beside torch.

    Returns the largest difference over some seeds and batch sizes. Raises ZooError where it shows in 8 bits.

    Args:
        model: on the CPU
        out: the file
        psi: truncation
        cutoff: number of layers that are truncated; None for all
    """
    require_onnx()
    model.truncate(torch.zeros(1, model.G.num_ws, model.G.w_mean.shape[0]), psi, cutoff)  # refuses what cannot be
    drawing = Drawing(model, psi, cutoff).eval()
    with _written(out) as temporary:
        program = _traced(drawing, _inputs(model, [0, 1]))
        for node in program.model.graph:  # else each carries the lines of this machine's files it came from
            kept = {key: value for key, value in node.metadata_props.items() if key == "namespace"}
            node.metadata_props.clear()
            node.metadata_props.update(kept)
        about = model.about() | {"psi": psi} | ({} if cutoff is None else {"cutoff": cutoff})
        for name, value in about.items():
            program.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value)
        program.save(str(temporary))
        worst = _difference(model, drawing, temporary)
        if not worst <= TOLERANCE:  # also where it is no number
            raise ZooError(
                f"{out} was not written: onnxruntime's images differ from torch's by {worst:.2g}, more than "
                f"{TOLERANCE:.2g}; export with other versions of torch and onnxscript."
            )
    return worst


def _inputs(model: Model, seeds: Sequence[int]) -> tuple[Tensor, ...]:
    z, k = latents(seeds, model.G.z_dim), model.G.labels
    return (z, torch.eye(k)[[seed % k for seed in seeds]]) if k else (z,)


def _traced(drawing: Drawing, inputs: tuple[Tensor, ...]) -> Any:
    """torch's ONNXProgram; its batch axis is free.

    Only constants are folded. The rest of onnxscript's optimizer removes "+ 1e-8" as adding nothing, and with it the
    eps of every normalisation: maps that are nearly constant, as StyleGAN's learned input, then become noise or NaN.
    Also with it, instance norm enlarges the rounding in such maps, so StyleGAN differs more from torch than StyleGAN2.
    """
    import torch._dynamo  # else the export imports it, and an interrupt meanwhile comes out as another error
    from onnxscript import optimizer

    names = ["z", "label"][: len(inputs)]
    samples = torch.export.Dim("N")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it tells what it has no use for
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                drawing,
                inputs,
                dynamo=True,
                optimize=False,
                verbose=False,
                input_names=names,
                output_names=["image"],
                dynamic_shapes={name: {0: samples} for name in names},
            )
            assert program is not None
            optimizer.inline(program.model)
            optimizer.fold_constants(program.model)
            optimizer.remove_unused_nodes(program.model)
            return program
    except torch.onnx.errors.OnnxExporterError as err:
        first = " ".join(str(err.__cause__ or err).split())[:200]
        raise ZooError(f"this generator cannot be exported as ONNX: {first}.") from err
    finally:
        logger.setLevel(level)


def _difference(model: Model, drawing: Drawing, file: Path) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in BATCHES:
        for start in (0, 10):
            inputs = _inputs(model, range(start, start + batch))
            (got,) = session.run(["image"], {name: t.numpy() for name, t in zip(("z", "label"), inputs)})
            worst = float(np.maximum(worst, np.abs(got - drawing(*inputs).numpy()).max()))  # keeps NaN
    return worst


@contextmanager
def _written(out: Path) -> Iterator[Path]:
    """A temporary file that takes its name only where all went well."""
    ensure_folder(out.parent, str(out))
    try:
        with atomic_write(out) as temporary:
            yield temporary
    except SafetensorError as err:
        raise CheckpointError(f"{out} cannot be written: {' '.join(str(err).split())}.") from None
