"""Gradients that are not finite: no optimizer takes them, and the recipe decides what happens next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganzoo.errors import Diverged

OnNan = Literal["stop", "skip-step", "reload"]


class Reload(Exception):
    """A gradient is not finite, and the recipe says to go back to the last state."""


@dataclass(frozen=True)
class GradientNorms:
    """Norms of one step's gradients.

    Args:
        network: name of the network that the step trains
        phase: the step's purpose and time, for messages
        parameters: names [P]
        norms: [P], on the parameters' device
    """

    network: str
    phase: str
    parameters: Sequence[str]
    norms: Tensor


class GradientChecks:
    """Norms of gradients that are still to be checked: reading them waits for the device, so it is put off.

    Args:
        on_nan: what follows from a gradient that is not finite, as in `Schedule`
    """

    def __init__(self, on_nan: OnNan) -> None:
        self.on_nan = on_nan
        self._unchecked: list[GradientNorms] = []

    def add(self, norms: GradientNorms) -> None:
        """Keep the norms of a step for the next check."""
        self._unchecked.append(norms)

    def check(self, notice: Callable[[str], None]) -> None:
        """Report gradients since the last check that were not finite. Raises Diverged or Reload, as the recipe says."""
        unchecked, self._unchecked = self._unchecked, []
        for step in unchecked:
            bad = (~step.norms.isfinite()).nonzero().flatten().tolist()
            if bad:
                self._report(step, bad, notice)

    def _report(self, step: GradientNorms, bad: list[int], notice: Callable[[str], None]) -> None:
        fault = (
            f"the gradient of {step.network}.{step.parameters[bad[0]]} is not finite in phase {step.phase} "
            f"({len(bad)} of {len(step.parameters)} parameters)"
        )
        if self.on_nan == "stop":
            raise Diverged(
                f"training diverged: {fault}. Its step was not taken. Lower training.lr, strengthen the penalty "
                f"(regularizers.*.gamma), use training.precision=fp32, or set training.on_nan to skip-step or reload; "
                f"what was written before is untouched."
            )
        if self.on_nan == "reload":
            raise Reload(fault)
        notice(f"{fault}: this step was skipped.")


def step_if_finite(optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
    """Let an optimizer step if its gradients' total norm [] is finite; else weights and moments stay as they are.

    Fused Adam reads a flag on the device, so nothing waits for a GPU.
    """
    if optimizer.defaults.get("fused"):
        optimizer.grad_scale, optimizer.found_inf = None, (~norm.isfinite()).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif bool(norm.isfinite()):
        optimizer.step()
