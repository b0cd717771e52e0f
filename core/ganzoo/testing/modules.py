"""TODO docstring."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganzoo.interfaces import Shape, Stage

N, C, W = 4, 6, 8  # batch, channels, style length
Trial = tuple[tuple[Any, ...], tuple[Any, ...], tuple[int, ...] | None]  # sizes, inputs, shape of the output


def _maps(size: tuple[int, int], channels: int = C) -> Tensor:
    return torch.randn(N, channels, *size, requires_grad=True)


def _trial(kind: str, size: tuple[int, int]) -> Trial:
    h, w = size
    half, shape = (h // 2, w // 2), Shape(((h // 2, w // 2), size), 3)
    plan, fine, style = [(half, C), (size, C - 2)], Stage(1), torch.randn(N, W, requires_grad=True)
    table: dict[str, Callable[[], Trial]] = {
        "norm": lambda: ((C,), (_maps(size),), (N, C, h, w)),
        "noise": lambda: ((C, size), (_maps(size),), (N, C, h, w)),
        "statistic": lambda: ((C, size), (_maps(size),), None),
        "mapping": lambda: ((W, W, 0), (style,), (N, W)),
        "stem": lambda: ((W, C, size), (style,), (N, C, h, w)),
        "layer": lambda: ((C, C + 2, W, size, True), (_maps(half), style), (N, C + 2, h, w)),
        "block": lambda: ((C, C + 2, W, size, False), (_maps(half), style[:, None].expand(N, 9, W)), (N, C + 2, h, w)),
        "to_rgb": lambda: ((C, W, 3), (_maps(size), style), (N, 3, h, w)),
        "synthesis": lambda: ((plan, W, 3), (style[:, None].expand(N, 9, W), fine), (N, 3, h, w)),
        "down": lambda: ((C, C + 2, size), (_maps(size),), (N, C + 2, *half)),
        "from_rgb": lambda: ((3, C), (_maps(size, 3),), (N, C, h, w)),
        "trunk": lambda: ((plan, 3), ((_maps(half, 3), _maps(size, 3)), fine), (N, C, *half)),
        "head": lambda: ((C, size, 0), (_maps(size),), (N, 1)),
        "generator": lambda: ((shape, 0), (torch.randn(N, 512, requires_grad=True), None, fine), (N, 3, h, w)),
        "discriminator": lambda: ((shape, 0), ((_maps(half, 3), _maps(size, 3)), None, fine), (N, 1)),
        "augment": lambda: ((), ((_maps(size, 3),),), (N, 3, h, w)),
        "features": lambda: ((3,), (torch.rand(N, 3, *size) * 255,), None),
    }
    if kind not in table:
        raise LookupError(f"no check is known for the kind '{kind}'")
    return table[kind]()


def _last(output: Any) -> Tensor:
    """The finest image of a pyramid; one tensor of a dictionary."""
    if isinstance(output, dict):
        return torch.cat([t.flatten(1) for t in output.values()], dim=1)
    return output if isinstance(output, Tensor) else output[-1]


def check_module(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """Shape, gradients to all parameters, second derivatives, and that saving loses nothing."""
    sizes, inputs, shape = _trial(cls.kind, size)
    if cls.kind == "trunk" and cls.accepts == "image":
        inputs = (inputs[0][-1:], *inputs[1:])
    torch.manual_seed(0)
    module = make(*sizes)
    with torch.no_grad():
        for p in module.parameters():  # strengths that begin at 0 would hide what is behind them
            p.add_(torch.randn_like(p) * 0.1)
    torch.manual_seed(1)
    y = _last(module(*inputs))
    if shape is not None and tuple(y.shape) != shape:
        yield f"gives {tuple(y.shape)}, not {shape}"
    if cls.kind == "statistic" and tuple(y.shape) != (N, module.out_channels, *size):
        yield f"gives {tuple(y.shape)}, not the {module.out_channels} channels it promises"
    if not torch.isfinite(y).all():
        yield "gives values that are not finite"
    if vars(cls).get("samplewise"):
        yield from _company(module, inputs)
    if cls.kind != "features":
        yield from check_gradients(module, inputs, y, cls)
    yield from _round_trip(make, module, sizes, inputs, y)


def check_gradients(module: nn.Module, inputs: tuple[Any, ...], y: Tensor, cls: Any) -> Iterator[str]:
    """First and second derivatives are finite, and reach the inputs and every parameter."""
    leaves = [t for group in inputs for t in (group if isinstance(group, tuple) else (group,)) if isinstance(t, Tensor)]
    weight = torch.randn_like(y)
    grads = torch.autograd.grad((y * weight).sum(), leaves, create_graph=True, allow_unused=True)
    used = [g for g in grads if g is not None]
    if not used and not (cls.kind == "stem" and not cls.styled):
        yield "its output does not depend on its input"
    silent = []
    parameters = dict(module.named_parameters())
    firsts = (
        torch.autograd.grad((y * weight).sum(), list(parameters.values()), retain_graph=True, allow_unused=True)
        if parameters
        else ()
    )
    silent = [name for name, g in zip(parameters, firsts) if g is None or not torch.isfinite(g).all()]
    if silent and cls.kind not in ("synthesis", "trunk", "generator", "discriminator"):
        yield f"no finite gradient reaches {', '.join(silent)}"
    total = sum((g.square().sum() for g in used), torch.zeros(()))
    if total.requires_grad:
        seconds = torch.autograd.grad(total, [*leaves, *parameters.values()], allow_unused=True)
        if any(g is not None and not torch.isfinite(g).all() for g in seconds):
            yield "its second derivative is not finite: gradient penalties would break"


def _company(module: nn.Module, inputs: tuple[Any, ...]) -> Iterator[str]:
    """What the first sample becomes alone, and among others."""

    def first(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(first, value))
        return value[:1] if isinstance(value, Tensor) else value

    alone, among = _last(module(*map(first, inputs))), _last(module(*inputs))[:1]
    if not torch.allclose(alone, among, rtol=1e-4, atol=1e-5):
        yield "is said to be samplewise, but a sample's result depends on the others in its batch"


def _round_trip(
    make: "partial[Any]", module: nn.Module, sizes: tuple[Any, ...], inputs: tuple[Any, ...], y: Tensor
) -> Iterator[str]:
    if not module.state_dict():
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "module.safetensors"
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, file)
        other = make(*sizes)
        other.load_state_dict(load_file(file))
    torch.manual_seed(1)
    if not torch.equal(_last(other(*inputs)), y):
        yield "gives another output after saving and loading: something is missing in its parameters and buffers"
