"""The check of modules: shapes, derivatives, samples that do not mix where it says so, state, half precision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import RecipeError
from ganzoo.interfaces import TrunkPart
from ganzoo.testing.cases import Case, Inputs, cases
from ganzoo.testing.state import check_state

HALF_ERROR = 0.1  # of the output's norm, between bfloat16 (8 bits of mantissa) and float32


def last(output: Any) -> Tensor:
    """The finest image of a pyramid; a tensor itself."""
    return output if isinstance(output, Tensor) else output[-1]


def joined(output: Any) -> Tensor:
    """All that comes out, as one tensor: the images of a pyramid side by side."""
    if isinstance(output, Tensor):
        return output
    tensors = output.values() if isinstance(output, dict) else output
    return torch.cat([t.flatten(1) for t in tensors], dim=1)


def check_module(
    make: "partial[Any]", cls: Any, size: tuple[int, int], tried: Sequence[Case] | None = None
) -> Iterator[str]:
    """Yield all that a class does wrong, each fault once.

    Args:
        make: builds the module, from sizes
        cls: its class
        size: (height, width) of the finest maps
        tried: how it is built and called; None for the cases of its kind, which must be one of core's
    """
    faults: dict[str, None] = {}
    for case in cases(cls, size) if tried is None else tried:
        faults |= dict.fromkeys(_check(make, cls, case))
    yield from faults


def _check(make: "partial[Any]", cls: Any, case: Case) -> Iterator[str]:
    torch.manual_seed(0)
    build = partial(make, *case.sizes, **case.options)
    try:
        module = build()
    except RecipeError:
        if case.optional:
            return
        raise
    stir(module)
    calls = case.calls(module)
    torch.manual_seed(1)
    results = [module(*inputs) for inputs in calls]
    yield from _check_outputs(module, cls, case, results)
    outputs = [joined(result) for result in results]
    if not all(torch.isfinite(y).all() for y in outputs):
        yield "gives values that are not finite"
    if issubclass(cls, TrunkPart) and cls.samplewise:
        yield from _check_samplewise(module, calls[-1])
    yield from check_gradients(module, calls, outputs, cls)
    yield from check_state(build, module, lambda m: joined(m(*calls[-1])), lambda m: m(*case.calls(m)[-1]))
    if case.half:
        yield from _check_half(module, case)


def stir(module: nn.Module) -> None:
    """Add normal numbers to all parameters: a strength that begins at 0 would hide what is behind it."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.1)


def _check_outputs(module: Any, cls: Any, case: Case, results: Sequence[Any]) -> Iterator[str]:
    if cls.kind in ("generator", "synthesis") and not all(isinstance(result, tuple) for result in results):
        yield "gives no tuple of images: a generator's output is a pyramid, of one image or more"
        return
    y = last(results[-1])
    if not case.fits(y):
        yield f"gives {tuple(y.shape)}, not {case.shape}"
    if cls.kind in ("statistic", "trunk") and y.shape[1] != module.out_channels:
        yield f"gives {tuple(y.shape)}, not the {module.out_channels} channels it promises"
    if cls.kind == "generator":
        z, label, stage = case.calls(module)[-1]
        codes = module.styles(z, label, stage)
        if tuple(codes.shape) != (len(z), module.num_ws, len(module.w_mean)):
            yield (
                f"styles() gives {tuple(codes.shape)}, and num_ws and w_mean promise "
                f"{(len(z), module.num_ws, len(module.w_mean))}"
            )


@dataclass
class Derivatives:
    """First and second derivatives of some calls: what they reach, and what is not finite."""

    inputs: bool = False  # whether an output depends on an input
    reached: set[str] = field(default_factory=set)  # parameters with a gradient that is not zero
    broken: set[str] = field(default_factory=set)  # parameters with a gradient that is not finite
    smooth: bool = True  # whether second derivatives are finite


def derivatives(module: nn.Module, calls: Sequence[Inputs], outputs: Sequence[Tensor]) -> Derivatives:
    """Differentiate each call's output, in a random direction, by inputs and parameters; twice."""
    found, parameters = Derivatives(), dict(module.named_parameters())
    for inputs, y in zip(calls, outputs):
        flat = [t for group in inputs for t in (group if isinstance(group, tuple) else (group,))]
        leaves = [t for t in flat if isinstance(t, Tensor) and t.requires_grad]
        if not y.requires_grad:
            continue
        score = (y * torch.randn_like(y)).sum()
        grads = torch.autograd.grad(score, [*leaves, *parameters.values()], create_graph=True, allow_unused=True)
        for name, grad in zip(parameters, grads[len(leaves) :]):
            if grad is not None and not torch.isfinite(grad).all():
                found.broken.add(name)
            elif grad is not None and grad.any():
                found.reached.add(name)
        used = [g for g in grads[: len(leaves)] if g is not None]
        found.inputs |= bool(used)
        total = sum((g.float().square().sum() for g in used), torch.zeros(()))
        if total.requires_grad:
            seconds = torch.autograd.grad(total, [*leaves, *parameters.values()], allow_unused=True)
            found.smooth &= all(bool(torch.isfinite(g).all()) for g in seconds if g is not None)
    return found


def check_gradients(module: nn.Module, calls: Sequence[Inputs], outputs: Sequence[Tensor], cls: Any) -> Iterator[str]:
    """Derivatives are finite; some call's reach the inputs, and each parameter."""
    found = derivatives(module, calls, outputs)
    if not found.inputs and not (cls.kind == "stem" and not cls.styled):
        yield "its output does not depend on its input"
    if silent := [name for name, _ in module.named_parameters() if name not in found.reached - found.broken]:
        yield f"no finite gradient reaches {', '.join(silent)}"
    if not found.smooth:
        yield "its second derivative is not finite: gradient penalties would break"


CURE = "leave casts_weights False, so that it runs under torch.autocast, or cast parameters to the maps' dtype"


def _check_half(module: Any, case: Case) -> Iterator[str]:
    """It takes bfloat16 maps, gives about what it gives for float32, and is differentiated twice."""
    assert case.half is not None
    single = case.calls(module)[-1]
    torch.manual_seed(1)
    expected = joined(module(*single)).detach()
    inputs = case.half(module, single)
    try:
        torch.manual_seed(1)
        y = joined(module(*inputs))
        found = derivatives(module, [inputs], [y.float()])
    except RuntimeError as err:  # as torch reports dtypes that do not meet
        yield f"fails on bfloat16 maps ({' '.join(str(err).split())[:160].rstrip('.')}): {CURE}"
        return
    if case.keeps_half and y.dtype != torch.bfloat16:
        yield f"gives {y.dtype} for bfloat16 maps, not bfloat16"
    difference = torch.linalg.vector_norm(y.detach().float() - expected)
    if not difference <= HALF_ERROR * torch.linalg.vector_norm(expected) + 1e-3:
        yield f"gives other values for bfloat16 maps: they differ from those for float32 by {float(difference):.3g}"
    if found.broken or not found.smooth:
        yield "has derivatives that are not finite for bfloat16 maps"


def _check_samplewise(module: nn.Module, inputs: Inputs) -> Iterator[str]:
    """The first sample becomes the same on its own and with others."""

    def first(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(first, value))
        return value[:1] if isinstance(value, Tensor) else value

    single, among = joined(module(*map(first, inputs))), joined(module(*inputs))[:1]
    if not torch.allclose(single, among, rtol=1e-4, atol=1e-5):
        yield "is said to be samplewise, but a sample's result depends on the others in its batch"
