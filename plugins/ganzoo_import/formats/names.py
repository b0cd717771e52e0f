"""Helpers of importers: renaming tensors by rules, checking a file's contents, filters from stored kernels."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ganzoo.foreign.pickles import refuse

State = Mapping[str, Tensor]
Tree = dict[str, Any]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
FILTER = (1.0, 3.0, 3.0, 1.0)


def level(size: int | str) -> int:
    """Level of a square resolution: 0 for 4, 1 for 8, ..."""
    return int(size).bit_length() - 3


def mapped(state: State, rules: Rules, skip: str = r"$^") -> dict[str, Tensor]:
    """Rename each key by the first rule (pattern, replacement) that matches all of it.

    Keys that match `skip` are left out; any other key without a rule is refused, so that no tensor is lost unnoticed.
    """
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        if re.fullmatch(skip, key):
            continue
        ours = next((re.sub(p, r, key, count=1) for p, r in rules if re.fullmatch(p, key)), None)
        if ours is None:
            refuse(f"it holds the tensor '{key}', which networks of this format do not have.")
        if ours in out:
            refuse(f"it holds '{key}' twice, under different names.")
        out[ours] = value
    return out


def reshaped(state: State, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Add axes of length 1 to the tensors whose key ends in a suffix; -1 stands for the tensor's own axes."""
    out = dict(state)
    for key in state:
        for suffix, shape in shapes:
            if key.endswith(suffix):
                at = shape.index(-1)
                out[key] = state[key].reshape(*shape[:at], *state[key].shape, *shape[at + 1 :])
    return out


def tensors_of(value: Any, what: str) -> dict[str, Tensor]:
    """Check that a value is a state dict of float32, and return it."""
    if not isinstance(value, dict) or not value:
        refuse(f"{what} is no state dict.")
    for key, tensor in value.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            refuse(f"{what} holds '{key}', which is no tensor.")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            refuse(f"{what} holds '{key}' in {str(tensor.dtype).removeprefix('torch.')}: float32 is needed.")
        if not tensor.numel():
            refuse(f"{what} holds '{key}' of shape {list(tensor.shape)}, which has no values: save the file again.")
    return value


def shape_of(state: State, key: str, axes: int) -> tuple[int, ...]:
    """Shape of a tensor, which must exist and have this number of axes."""
    if key not in state or state[key].ndim != axes:
        refuse(f"it lacks the tensor '{key}' with {axes} axes, from which the sizes of the network are read.")
    return tuple(state[key].shape)


def image_size(base: Sequence[int], levels: int) -> Tree:
    """{size: side or [height, width]} of a recipe's image with coarsest maps of this size, and `base` if not 4x4."""
    if any(not 0 < side <= 64 for side in base):
        refuse(f"its first maps are of {base[0]}x{base[-1]} pixels, which no GAN's are.")
    height, width = (side << (levels - 1) for side in base)
    return {"size": height} if tuple(base) == (4, 4) else {"size": [height, width], "base": list(base)}


def count_of(state: State, pattern: str) -> int:
    """Count the numbers that the group of a pattern matches in the keys; they must be consecutive."""
    numbers = {int(m[1]) for key in state if (m := re.fullmatch(pattern, key)) and len(m[1]) < 6}
    if numbers and numbers != set(range(min(numbers), max(numbers) + 1)):
        refuse(f"its layers are not numbered one by one: {sorted(numbers)[:20]}.")
    return len(numbers)


def taps_of(kernel: Tensor) -> tuple[float, ...]:
    """Taps of a separable filter from its stored kernel of any gain, as small integers if possible."""
    k = kernel.double()
    if k.ndim not in (1, 2) or not 0 < k.numel() <= 64**2 or not bool(torch.isfinite(k).all()) or abs(k.sum()) < 1e-6:
        refuse(f"it holds a resampling filter of shape {list(k.shape)} that is none.")
    k = k / k.sum()
    taps = k.sum(dim=1) if k.ndim == 2 else k
    if k.ndim == 2 and (k.shape[0] != k.shape[1] or not torch.allclose(torch.outer(taps, taps), k, atol=1e-6)):
        refuse("it holds a resampling filter that is not separable, which ganzoo does not have.")
    scaled = taps / taps.abs()[taps.abs() > 1e-6].min()
    if torch.allclose(scaled, scaled.round(), atol=1e-4) and scaled.abs().max() <= 1000:
        return tuple(scaled.round().tolist())
    return tuple(taps.tolist())


def filter_of(kernels: Iterable[Tensor], what: str) -> Tree:
    """{resample_filter: taps} for kernels with the same taps; {} for the usual taps (1, 3, 3, 1)."""
    every = {taps_of(kernel) for kernel in kernels}
    if len(every) > 1:
        refuse(f"its resampling filters of {what} differ from each other, which ganzoo does not have.")
    return {"resample_filter": list(taps)} if (taps := next(iter(every), FILTER)) != FILTER else {}


def only(values: Iterable[Any], what: str, default: Any) -> Any:
    """Return the value that all have in common; the default if there are none."""
    every = list(values)
    if any(value != every[0] for value in every):
        refuse(f"its layers differ in {what}, which ganzoo does not have.")
    return every[0] if every else default
