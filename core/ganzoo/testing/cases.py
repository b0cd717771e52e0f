"""How a module of each kind is built and called when it is tried: sizes, inputs, and the shape that comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Shape, Stage
from ganzoo.registry.component import Component, options
from ganzoo.types import Size

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


def maps(size: Size, channels: int = C) -> Tensor:
    """Draw normal maps [N, channels, *size]."""
    return torch.randn(N, channels, *size, requires_grad=True)


def codes(*shape: int) -> Tensor:
    """Draw normal latents or style codes [N, *shape]."""
    return torch.randn(N, *shape, requires_grad=True)


def labels(count: int = K) -> Tensor | None:
    """Return one-hot labels [N, K]; None where there are no classes."""
    return torch.eye(count)[torch.arange(N) % count] if count else None


def images(size: Size, stage: Stage, accepts: str) -> tuple[Tensor, ...]:
    """Draw what a discriminator of two sizes takes at a stage: the finest image in use, or all of them."""
    pyramid = tuple(maps(s, 3) for s in (_halved(size), size)[: stage.level + 1])
    return pyramid if accepts == "pyramid" else pyramid[-1:]


def cases(cls: type[Component], size: Size) -> list[Case]:
    """Return the cases of a class of one of core's kinds, at a size."""
    return CASES[cls.kind](cls, size)


def _halved(size: Size) -> Size:
    return size[0] // 2, size[1] // 2


def _half_maps(module: nn.Module, inputs: Inputs) -> Inputs:
    return inputs[0].detach().bfloat16().requires_grad_(), *inputs[1:]


def _half_topology(module: nn.Module, inputs: Inputs) -> Inputs:
    module.dtype = torch.bfloat16  # type: ignore[assignment]
    return inputs


def _half_network(module: Any, inputs: Inputs) -> Inputs:
    module.set_dtype(torch.bfloat16)
    return inputs


def _part(sizes: tuple[Any, ...], shape: tuple[int | None, ...], inputs: Callable[[Any], Inputs], **more: Any) -> Case:
    """The case of a part that is called once, on maps of any precision."""
    return Case(sizes, lambda m: [inputs(m)], shape, half=_half_maps, **{"keeps_half": True} | more)


def _stages(grows: bool) -> list[Stage]:
    """The last one is the finest: what only the others use, is reached by them."""
    return [*([Stage(0), Stage(1, 0.5)] if grows else []), Stage(1)]


def _mapping(cls: Any, size: Size) -> list[Case]:
    def case(z_dim: int, k: int) -> Case:
        w_dim = z_dim + k if cls.keeps_size else W
        return Case((z_dim, w_dim, k), lambda m: [(codes(z_dim), labels(k))], (N, w_dim), optional=bool(k))

    return [case(W, 0), case(W + 3, 0), case(W, K)]


def _generator(cls: Any, size: Size) -> list[Case]:
    shape = Shape((_halved(size), size), 3)

    def case(k: int, **chosen: int) -> Case:
        def calls(m: Any) -> list[Inputs]:
            grows = getattr(m, "synthesis", m).grows
            return [(codes(m.z_dim), labels(k), stage) for stage in _stages(grows)]

        return Case((shape, k), calls, (N, 3, *size), chosen, half=_half_network, optional=bool(k))

    if "z_dim" in options(cls).model_fields:
        return [case(0, z_dim=5), case(0, z_dim=7), case(K, z_dim=5)]
    return [case(0), case(K)]


def _discriminator(cls: Any, size: Size) -> list[Case]:
    shape = Shape((_halved(size), size), 3)

    def case(k: int) -> Case:
        def calls(m: Any) -> list[Inputs]:
            grows = getattr(m, "trunk", m).grows
            return [(images(size, stage, m.accepts), labels(k), stage) for stage in _stages(grows)]

        return Case((shape, k), calls, (N, None), half=_half_network, optional=bool(k))

    return [case(0), case(K)]


def _layer(cls: Any, s: Size) -> list[Case]:
    return [
        _part((C, C + 2, W, s, True), (N, C + 2, *s), lambda m: (maps(_halved(s)), codes(W))),
        _part((C, C + 2, W, s, False), (N, C + 2, *s), lambda m: (maps(s), codes(W))),
    ]


def _block(cls: Any, s: Size) -> list[Case]:
    return [
        _part((C, C + 2, W, s, False), (N, C + 2, *s), lambda m: (maps(_halved(s)), codes(m.num_ws, W))),
        _part((C, C, W, s, True), (N, C, *s), lambda m: (maps(s), codes(m.num_ws, W))),
    ]


def _synthesis(cls: Any, s: Size) -> list[Case]:
    plan = [(_halved(s), C), (s, C - 2)]
    calls: Calls = lambda m: [(codes(m.num_ws, W), stage) for stage in _stages(cls.grows)]  # noqa: E731
    return [Case((plan, W, 3), calls, (N, 3, *s), half=_half_topology, optional=cls.square and s[0] != s[1])]


def _trunk(cls: Any, s: Size) -> list[Case]:
    plan = [(_halved(s), C), (s, C)]
    calls: Calls = lambda m: [(images(s, stage, m.accepts), stage) for stage in _stages(cls.grows)]  # noqa: E731
    return [Case((plan, 3), calls, (N, None, *_halved(s)), half=_half_topology)]


def _head(cls: Any, s: Size) -> list[Case]:
    return [Case((C, s, k), lambda m, k=k: [(maps(s), labels(k))], (N, None), optional=bool(k)) for k in (0, K)]  # type: ignore[misc]


CASES: dict[str, Callable[[Any, Size], list[Case]]] = {
    "norm": lambda cls, s: [_part((C,), (N, C, *s), lambda m: (maps(s),))],
    "noise": lambda cls, s: [_part((C, s), (N, C, *s), lambda m: (maps(s),))],
    "statistic": lambda cls, s: [Case((C, s), lambda m: [(maps(s),)], (N, None, *s))],
    "mapping": _mapping,
    "stem": lambda cls, s: [Case((W, C, s), lambda m: [(codes(W),)], (N, C, *s))],
    "layer": _layer,
    "block": _block,
    "to_rgb": lambda cls, s: [_part((C, W, 3), (N, 3, *s), lambda m: (maps(s), codes(W)), keeps_half=False)],
    "synthesis": _synthesis,
    "down": lambda cls, s: [_part((C, C + 2, s), (N, C + 2, *_halved(s)), lambda m: (maps(s),))],
    "from_rgb": lambda cls, s: [_part((3, C), (N, C, *s), lambda m: (maps(s, 3),))],
    "trunk": _trunk,
    "head": _head,
    "generator": _generator,
    "discriminator": _discriminator,
    "augment": lambda cls, s: [Case((), lambda m: [((maps(s, 3),),)], (N, 3, *s))],
}
