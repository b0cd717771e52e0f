"""Recorded outputs of reference implementations, and comparison with them.

A `.safetensors` file holds `state/` (weights under the reference's names), `in/`, `out/` (computed in float32), for
most outputs `out64/` (the same in float64), and JSON strings about the reference: its repository, arguments and calls.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ganzoo.gan.gan import Gan
from ganzoo.nn.resample import fir
from ganzoo.recipe.node import parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry
from resampling import conv2d_resample

Tree = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"

EXACT = 1e-9  # float64 against float64: leaves no room for another eps or another order of operations
FORWARD = 5e-5  # float32 images, features, logits: relative to max(|reference|, 0.1)
GRADIENT = 2e-4  # float32 gradients


def worst(ours: Tensor, reference: Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the reference's largest value."""
    assert ours.shape == reference.shape, f"{tuple(ours.shape)} is not {tuple(reference.shape)}"
    return float((ours.double() - reference.double()).abs().max() / max(float(reference.abs().max()), floor, 1e-300))


def assert_close(ours: Tensor, reference: Tensor, tolerance: float, what: str, floor: float = 0.0) -> None:
    """Fail, naming the output, when the worst difference exceeds the tolerance."""
    error = worst(ours.detach(), reference, floor)
    assert error <= tolerance, f"{what}: relative error {error:.2e} > {tolerance:.0e}"


@dataclass(frozen=True)
class Recorded:
    """A recorded file, with tensors in the given precision."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    dtype: torch.dtype

    def state(self, part: str = "") -> dict[str, Tensor]:
        """Weights under the reference's names."""
        prefix = f"state/{part}"
        return {k.removeprefix(prefix): v.to(self.dtype) for k, v in self.tensors.items() if k.startswith(prefix)}

    def __getitem__(self, name: str) -> Tensor:
        """Return an input."""
        return self.tensors[f"in/{name}"].to(self.dtype)

    def __contains__(self, name: str) -> bool:
        return f"out/{name}" in self.tensors

    def output(self, name: str) -> tuple[Tensor, bool]:
        """Return an output, and whether it is the float64 one."""
        exact = self.dtype == torch.float64 and f"out64/{name}" in self.tensors
        return self.tensors[f"out64/{name}" if exact else f"out/{name}"], exact

    def check(self, name: str, ours: Tensor, tolerance: float = FORWARD) -> None:
        """Compare an output with the recorded one; `tolerance` applies to float32."""
        reference, exact = self.output(name)
        floor = 0.0 if exact else 0.1 if tolerance == FORWARD else 1e-7
        assert_close(ours, reference, EXACT if exact else tolerance, f"{name} ({self.dtype})", floor)


@cache
def load(name: str, dtype: torch.dtype = torch.float64) -> Recorded:
    """Read a recorded .safetensors file."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        meta = {k: json.loads(v) for k, v in file.metadata().items()}
        return Recorded({k: file.get_tensor(k) for k in file.keys()}, meta, dtype)  # noqa: SIM118 (no mapping)


def cases(name: str) -> list[dict[str, Any]]:
    """Read the calls recorded in an .npz file, each with the file's name, so that `arrays` finds its arrays."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return [{**case, "file": name} for case in json.loads(str(file["__meta__"]))["cases"]]


@cache
def _arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k: file[k] for k in file.files if k != "__meta__"}


def arrays(case: dict[str, Any]) -> dict[str, Tensor]:
    """Read the arrays of a case as float64 tensors; outputs are the reference's float64 ones."""
    prefix = case["key"] + "/"
    stored = {k.removeprefix(prefix): v for k, v in _arrays(case["file"]).items() if k.startswith(prefix)}
    exact = {k: torch.from_numpy(v).double() for k, v in stored.items()}
    return {k: exact.get(f"{k}64", v) for k, v in exact.items() if not k.endswith("64")}


def experiment(size: int, generator: Tree, discriminator: Tree, dtype: torch.dtype, **tree: Any) -> Gan:
    """Build the networks of a recipe: tree -> checked nodes -> bound factories -> modules."""
    tree = {"loss": "logistic", **tree, "generator": generator, "discriminator": discriminator}
    tree["image"] = {"size": size, **tree.get("image", {})}
    built: Gan = parse(Source(tree), registry()).bind()()
    built.G.to(dtype).eval()
    built.D.to(dtype).eval()
    for regularizer in built.regularizers:
        regularizer.to(dtype)
    return built


def modulated_conv2d_reference(
    x: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool = True, up: tuple[float, ...] | None = None
) -> Tensor:
    """Modulated convolution by its definition: build each sample's weights and convolve with them."""
    w = weight[None] * styles[:, None, :, None, None]  # [N O I k k], Eq. 1
    if demodulate:
        w = w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()  # Eq. 3
    resample = {"f": fir(up, x), "up": 2, "flip_weight": False} if up else {}
    one = [conv2d_resample(xi[None], wi, padding=weight.shape[-1] // 2, **resample) for xi, wi in zip(x, w)]  # type: ignore[arg-type]
    return torch.cat(one)
