"""Recorded cases of operations, random inputs in float64, and derivatives compared with recorded ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import grad

from reference import EXACT, assert_close, cases

TAPS = [(1, 1), (1, 2, 1), (1, 3, 3, 1)]


def by_key(name: str, wanted: Callable[[dict[str, Any]], Any] = bool) -> list[Any]:
    return [pytest.param(case, id=case["key"]) for case in cases(name) if wanted(case)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def check_derivatives(y: Tensor, inputs: dict[str, Tensor], case: dict[str, Tensor]) -> None:
    """Compare y, d<input> for the recorded upstream gradient, and gg_*, the gradients of Σ d<input> · v<input>."""
    assert_close(y, case["y"], EXACT, "y")
    dy = case["dy"].requires_grad_()
    first = grad(y, list(inputs.values()), dy, create_graph=True)
    for name, g in zip(inputs, first):
        assert_close(g, case[f"d{name}"], EXACT, f"d{name}")
    if "gg_dy" not in case:
        return
    total = sum((g * case[f"v{name}"]).sum() for name, g in zip(inputs, first))
    names = [*inputs, "dy"]
    second = grad(total, [*inputs.values(), dy], allow_unused=True, materialize_grads=True)
    for name, g in zip(names, second):
        assert_close(g, case[f"gg_{name}"], EXACT, f"gg_{name}", floor=1e-6)  # some are 0
