"""A checkpoint's networks for other programs: plain weights, and ONNX that is compared with torch.

export.state_dict(Path("snapshot.safetensors"), Path("g.safetensors"))
G = ganzoo.load("snapshot.safetensors").G           # or export.rebuild(...), also for G and D
G.load_state_dict(safetensors.torch.load_file("g.safetensors"))
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

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
from ganzoo.model.restore import growth_note, load_gan, outline_gan
from ganzoo.registry.arguments import checked_arguments
from ganzoo.training.seeds import latents
from ganzoo.types import Image, Label, Latent

Net = Literal["G_ema", "G", "D"]
NETS = get_args(Net)
NEEDED = ("onnx", "onnxscript", "onnxruntime")
BATCHES = (1, 3)  # batch sizes that are compared
TOLERANCE = 1 / 255  # largest difference of images in [-1, 1]: half a step of 8 bits


@checked_arguments
def rebuild(path: Path, net: Net = "G_ema") -> nn.Module:
    """Build a network of a checkpoint with its weights, on the CPU in evaluation mode. Raises CheckpointError."""
    if net not in NETS:
        raise UsageError(f"net '{net}': choose {', '.join(NETS)}.")
    _, _, gan = load_gan(path, net)
    module: nn.Module = gan.D if net == "D" else gan.G
    return module.eval()


@checked_arguments
def state_dict(path: Path, out: Path, net: Net = "G_ema") -> int:
    """Write a network's weights as safetensors, under the names of its module; return how many numbers they are."""
    weights = {name: t.contiguous() for name, t in rebuild(path, net).state_dict().items()}
    recipe = hashes.recipe_hash(checkpoint.header(path).recipe)
    note = f"{net} of {path.name}, recipe {recipe}, written by ganzoo {__version__}"
    with _written(out) as temporary:
        save_file(weights, temporary, metadata={"format": "pt", "note": note})
    return sum(t.numel() for t in weights.values())


@checked_arguments
def unfinished(path: Path) -> str:
    """'still growing at 4x4 of 32x32', or "" for a generator that has its full size."""
    header = checkpoint.header(path)
    gan = outline_gan(path, header)
    return growth_note(gan.shape, gan.stage_at(header.images))


class Sampler(nn.Module):
    """Latents (and labels) to images; truncation, growth and noise are constants of the traced graph."""

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


@checked_arguments
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
    model.truncate(torch.zeros(1, model.G.num_ws, model.G.w_mean.shape[0]), psi, cutoff)  # refuses wrong values
    sampler = Sampler(model, psi, cutoff).eval()
    with _written(out) as temporary:
        program = _traced(sampler, _inputs(model, [0, 1]))
        for node in program.model.graph:  # each node names the source files and lines it came from: kept private
            namespace = {key: value for key, value in node.metadata_props.items() if key == "namespace"}
            node.metadata_props.clear()
            node.metadata_props.update(namespace)
        about = model.about() | {"psi": psi} | ({} if cutoff is None else {"cutoff": cutoff})
        for name, value in about.items():
            program.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value)
        program.save(str(temporary))
        worst = _difference(model, sampler, temporary)
        if not worst <= TOLERANCE:  # so that NaN is refused too
            raise ZooError(
                f"{out} was not written: onnxruntime's images differ from torch's by {worst:.2g}, more than "
                f"{TOLERANCE:.2g}; export with other versions of torch and onnxscript."
            )
    return worst


def _inputs(model: Model, seeds: Sequence[int]) -> tuple[Tensor, ...]:
    """The latents of seeds, [N, Z], and for a conditional model labels [N, K]."""
    z, k = latents(seeds, model.G.z_dim), model.G.labels
    return (z, torch.eye(k)[[seed % k for seed in seeds]]) if k else (z,)


def _traced(sampler: Sampler, inputs: tuple[Tensor, ...]) -> Any:
    """Return torch's ONNXProgram, with a batch axis of any length. Raises ZooError where tracing fails.

    Only constants are folded. The rest of onnxscript's optimizer removes "+ 1e-8" as adding nothing, and with it the
    eps of every normalisation: maps that are nearly constant, as StyleGAN's learned input, then become noise or NaN.
    Even with eps, instance norm enlarges the rounding in such maps, so StyleGAN differs more from torch than StyleGAN2.
    """
    import torch._dynamo  # the exporter imports it too, and turns an interrupt meanwhile into an error of its own
    from onnxscript import optimizer

    names = ["z", "label"][: len(inputs)]
    samples = torch.export.Dim("N")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # warnings are about optional packages
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                sampler,
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
        reason = " ".join(str(err.__cause__ or err).split())[:200]
        raise ZooError(f"this generator cannot be exported as ONNX: {reason}.") from err
    finally:
        logger.setLevel(level)


def _difference(model: Model, sampler: Sampler, file: Path) -> float:
    """Largest difference between onnxruntime's and torch's images, over some seeds and batch sizes; NaN if any is."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in BATCHES:
        for start in (0, 10):
            inputs = _inputs(model, range(start, start + batch))
            (images,) = session.run(["image"], {name: t.numpy() for name, t in zip(("z", "label"), inputs)})
            worst = float(np.maximum(worst, np.abs(images - sampler(*inputs).numpy()).max()))  # maximum keeps NaN
    return worst


@contextmanager
def _written(out: Path) -> Iterator[Path]:
    """Yield a temporary file that takes its name at the end of the block. Raises UsageError, CheckpointError."""
    ensure_folder(out.parent, str(out))
    try:
        with atomic_write(out) as temporary:
            yield temporary
    except SafetensorError as err:
        raise CheckpointError(f"{out} cannot be written: {' '.join(str(err).split())}.") from None
