"""How a module of each kind is built and called when it is tried: sizes, inputs, and the shape that comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Shape, Stage
from ganzoo.registry.component import Component, options

N, C, W, K = 4, 6, 8, 3  # samples, channels, length of a style code, labels
Inputs = tuple[Any, ...]
Calls = Callable[[Any], Sequence[Inputs]]


@dataclass(frozen=True)
class Case:
    """One way to build and to call a module.

    Args:
        sizes: positional arguments of the constructor
        calls: from the module to the inputs of `forward`, once for each call; parameters are reached by some of them
        shape: of the (finest) output of the last call; None for any length along an axis, or for any shape
        options: keyword arguments of the constructor
        half: brings module and inputs to bfloat16, and returns the inputs; None where maps are always float32
        keeps_half: whether the output has the precision of the inputs
        optional: whether the constructor may refuse these sizes with a RecipeError
    """

    sizes: tuple[Any, ...]
    calls: Calls
    shape: tuple[int | None, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    half: Callable[[Any, Inputs], Inputs] | None = None
    keeps_half: bool = False
    optional: bool = False

    def fits(self, y: Tensor) -> bool:
        """Whether an output has the shape."""
        return self.shape is None or (
            y.ndim == len(self.shape) and all(b is None or a == b for a, b in zip(y.shape, self.shape))
        )

    @property
    def wanted(self) -> str:
        """The shape in words, with 'any' where an axis may have any length."""
        shape = self.shape or ()
        return f"({', '.join('any' if n is None else str(n) for n in shape)})" if None in shape else str(shape)


def maps(size: tuple[int, int], channels: int = C) -> Tensor:
    """Draw normal maps [N, channels, *size]."""
    return torch.randn(N, channels, *size, requires_grad=True)


def codes(*shape: int) -> Tensor:
    """Draw normal latents or style codes [N, *shape]."""
    return torch.randn(N, *shape, requires_grad=True)


def labels() -> Tensor:
    """One-hot labels [N, K]."""
    return torch.eye(K)[torch.arange(N) % K]


def _half_maps(module: nn.Module, inputs: Inputs) -> Inputs:
    return inputs[0].detach().bfloat16().requires_grad_(), *inputs[1:]


def _half_topology(module: nn.Module, inputs: Inputs) -> Inputs:
    module.dtype = torch.bfloat16  # type: ignore[assignment]
    return inputs


def _half_network(module: Any, inputs: Inputs) -> Inputs:
    module.set_dtype(torch.bfloat16)
    return inputs


def _part(sizes: tuple[Any, ...], shape: tuple[int | None, ...], calls: Calls, keeps_half: bool = True) -> Case:
    return Case(sizes, calls, shape, half=_half_maps, keeps_half=keeps_half)


def _stages(grows: bool) -> list[Stage]:
    """The last one is the finest: what only the others use, is reached by them."""
    return [*([Stage(0), Stage(1, 0.5)] if grows else []), Stage(1)]


def _norm(cls: Any, h: int, w: int) -> list[Case]:
    return [_part((C,), (N, C, h, w), lambda m: [(maps((h, w)),)])]


def _noise(cls: Any, h: int, w: int) -> list[Case]:
    return [_part((C, (h, w)), (N, C, h, w), lambda m: [(maps((h, w)),)])]


def _statistic(cls: Any, h: int, w: int) -> list[Case]:
    return [Case((C, (h, w)), lambda m: [(maps((h, w)),)], (N, None, h, w))]


def _mapping(cls: Any, h: int, w: int) -> list[Case]:
    found = []
    for z_dim, k in ((W, 0), (W + 3, 0), (W, K)):
        w_dim = z_dim + k if cls.keeps_size else W
        label = labels() if k else None
        calls: Calls = lambda m, z_dim=z_dim, label=label: [(codes(z_dim), label)]  # type: ignore[misc]  # noqa: E731
        found.append(Case((z_dim, w_dim, k), calls, (N, w_dim), optional=bool(k)))
    return found


def _stem(cls: Any, h: int, w: int) -> list[Case]:
    return [Case((W, C, (h, w)), lambda m: [(codes(W),)], (N, C, h, w))]


def _layer(cls: Any, h: int, w: int) -> list[Case]:
    shape, half = (N, C + 2, h, w), (h // 2, w // 2)
    return [
        _part((C, C + 2, W, (h, w), True), shape, lambda m: [(maps(half), codes(W))]),
        _part((C, C + 2, W, (h, w), False), shape, lambda m: [(maps((h, w)), codes(W))]),
    ]


def _block(cls: Any, h: int, w: int) -> list[Case]:
    half = (h // 2, w // 2)
    return [
        _part((C, C + 2, W, (h, w), False), (N, C + 2, h, w), lambda m: [(maps(half), codes(m.num_ws, W))]),
        _part((C, C, W, (h, w), True), (N, C, h, w), lambda m: [(maps((h, w)), codes(m.num_ws, W))]),
    ]


def _to_rgb(cls: Any, h: int, w: int) -> list[Case]:
    return [_part((C, W, 3), (N, 3, h, w), lambda m: [(maps((h, w)), codes(W))], keeps_half=False)]


def _synthesis(cls: Any, h: int, w: int) -> list[Case]:
    plan = [((h // 2, w // 2), C), ((h, w), C - 2)]
    calls: Calls = lambda m: [(codes(m.num_ws, W), stage) for stage in _stages(cls.grows)]  # noqa: E731
    return [Case((plan, W, 3), calls, (N, 3, h, w), half=_half_topology)]


def _down(cls: Any, h: int, w: int) -> list[Case]:
    return [_part((C, C + 2, (h, w)), (N, C + 2, h // 2, w // 2), lambda m: [(maps((h, w)),)])]


def _from_rgb(cls: Any, h: int, w: int) -> list[Case]:
    return [_part((3, C), (N, C, h, w), lambda m: [(maps((h, w), 3),)])]


def images(size: tuple[int, int], stage: Stage, accepts: str) -> tuple[Tensor, ...]:
    """Draw what a discriminator of two sizes takes at a stage: the finest image in use, or all of them."""
    half = (size[0] // 2, size[1] // 2)
    pyramid = tuple(maps(s, 3) for s in (half, size)[: stage.level + 1])
    return pyramid if accepts == "pyramid" else pyramid[-1:]


def _trunk(cls: Any, h: int, w: int) -> list[Case]:
    plan = [((h // 2, w // 2), C), ((h, w), C)]
    calls: Calls = lambda m: [(images((h, w), s, m.accepts), s) for s in _stages(cls.grows)]  # noqa: E731
    return [Case((plan, 3), calls, (N, None, h // 2, w // 2), half=_half_topology)]


def _head(cls: Any, h: int, w: int) -> list[Case]:
    return [
        Case((C, (h, w), 0), lambda m: [(maps((h, w)),)], (N, None)),
        Case((C, (h, w), K), lambda m: [(maps((h, w)), labels())], (N, None), optional=True),
    ]


def _generator(cls: Any, h: int, w: int) -> list[Case]:
    shape, found = Shape(((h // 2, w // 2), (h, w)), 3), []
    lengths = [{"z_dim": n} for n in (5, 7)] if "z_dim" in options(cls).model_fields else [{}]
    for k, chosen in [(0, each) for each in lengths] + [(K, lengths[0])]:
        label = labels() if k else None

        def calls(m: Any, label: Tensor | None = label) -> list[Inputs]:
            grows = getattr(getattr(m, "synthesis", m), "grows", False)
            return [(codes(m.z_dim), label, stage) for stage in _stages(grows)]

        found.append(Case((shape, k), calls, (N, 3, h, w), chosen, half=_half_network, optional=bool(k)))
    return found


def _discriminator(cls: Any, h: int, w: int) -> list[Case]:
    shape, found = Shape(((h // 2, w // 2), (h, w)), 3), []
    for k in (0, K):
        label = labels() if k else None

        def calls(m: Any, label: Tensor | None = label) -> list[Inputs]:
            grows = getattr(getattr(m, "trunk", m), "grows", False)
            return [(images((h, w), stage, m.accepts), label, stage) for stage in _stages(grows)]

        found.append(Case((shape, k), calls, (N, None), half=_half_network, optional=bool(k)))
    return found


def _augment(cls: Any, h: int, w: int) -> list[Case]:
    return [Case((), lambda m: [((maps((h, w), 3),),)], (N, 3, h, w))]


CASES: dict[str, Callable[[Any, int, int], list[Case]]] = {
    "norm": _norm,
    "noise": _noise,
    "statistic": _statistic,
    "mapping": _mapping,
    "stem": _stem,
    "layer": _layer,
    "block": _block,
    "to_rgb": _to_rgb,
    "synthesis": _synthesis,
    "down": _down,
    "from_rgb": _from_rgb,
    "trunk": _trunk,
    "head": _head,
    "generator": _generator,
    "discriminator": _discriminator,
    "augment": _augment,
}


def cases(cls: type[Component], size: tuple[int, int]) -> list[Case]:
    """Return the cases of a class's kind, at a size."""
    return CASES[cls.kind](cls, *size)
