"""Work common to all formats: weights of other precisions, and buffers that are younger than the file.

`single_precision` comes before an importer, `missing_buffers` after it.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.foreign.pickles import Object, refuse
from ganzoo.gan.generator import ComposedGenerator

SAMPLES, BATCH = 10_000, 1_000  # latents for an estimated mean style code, in all and at a time
NAMES = {torch.float16: "half precision", torch.bfloat16: "bfloat16", torch.float64: "float64"}


class _Converter:
    """Converts tensors to float32, each once, and counts them."""

    def __init__(self) -> None:
        self.kinds: Counter[torch.dtype] = Counter()
        self.rounded = 0
        self.values: dict[int, tuple[Tensor, Tensor]] = {}  # id of a tensor: (the tensor, its float32)

    def __call__(self, value: Any) -> Any:
        """Return plain data with all tensors of NAMES in float32; containers are copied."""
        if isinstance(value, Tensor):
            return self.tensor(value) if value.dtype in NAMES else value
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self(item) for item in value)
        if isinstance(value, Object):
            pairs = [(self(key), self(item)) for key, item in value.pairs]
            return Object(value.name, self(value.args), self(value.state), pairs, [self(item) for item in value.added])
        return value

    def tensor(self, tensor: Tensor) -> Tensor:
        """Convert one tensor. Refuses numbers that are too large for float32."""
        if id(tensor) not in self.values:
            single = tensor.float()
            self.kinds[tensor.dtype] += 1
            if bool((single.isinf() & ~tensor.isinf()).any()):
                refuse(f"it holds numbers in {NAMES[tensor.dtype]} above {torch.finfo(torch.float32).max:.1e}.")
            self.rounded += not torch.equal(single.to(tensor.dtype).nan_to_num(), tensor.nan_to_num())
            self.values[id(tensor)] = tensor, single
        return self.values[id(tensor)][1]

    def notes(self) -> list[str]:
        """A sentence on what was converted, and one on what was rounded."""
        kinds = " and ".join(f"{count:,} in {NAMES[dtype]}" for dtype, count in self.kinds.items())
        if not self.rounded:
            return [f"the file holds tensors in another precision, {kinds}: converted to float32 without loss."]
        return [
            f"the file holds tensors in another precision, {kinds}: converted to float32; {self.rounded:,} of them "
            "hold numbers that float32 cannot, which are rounded to the nearest."
        ]


def single_precision(data: Any) -> tuple[Any, list[str]]:
    """(data with half-precision, bfloat16 and float64 tensors in float32, notes). Raises CheckpointError."""
    converter = _Converter()
    converted = converter(data)
    return (converted, converter.notes()) if converter.kinds else (data, [])


def missing_buffers(net: nn.Module, states: Mapping[str, dict[str, Tensor]]) -> list[str]:
    """Add the noise maps and the mean style code that generators' state dicts lack; return notes on them.

    Maps for noise mode "const" are standard normal, from seed 0. The mean is that of SAMPLES latents, also from seed 0.
    Parameters are never made.

    Args:
        net: the generator, on the meta device
        states: {network: state dict} of generators, which are changed
    """
    wanted = net.state_dict()
    maps = [name for name, _ in net.named_buffers() if name.endswith("noise.const") and name in wanted]
    drawn, estimated = 0, False
    for state in states.values():
        source = torch.Generator().manual_seed(0)
        for name in maps:
            if name not in state:
                state[name] = torch.randn(wanted[name].shape, generator=source)
                drawn += 1
        if "w_mean" in wanted and "w_mean" not in state and isinstance(net, ComposedGenerator):
            mean = _mean_style(net, state)
            state.update({} if mean is None else {"w_mean": mean})
            estimated = estimated or mean is not None
    notes = []
    if drawn:
        notes.append(f"the file lacks {drawn:,} maps of noise mode const, a younger buffer: drawn anew from seed 0.")
    if estimated:
        notes.append(
            f"the file holds no mean style code: the mean of {SAMPLES:,} latents (seed 0) stands for it in truncation."
        )
    return notes


def _mean_style(net: ComposedGenerator, state: Mapping[str, Tensor]) -> Tensor | None:
    """Mean style code [W] of latents, and of labels drawn uniformly; None if the mapping's weights do not fit."""
    weights = {key.removeprefix("mapping."): t for key, t in state.items() if key.startswith("mapping.")}
    wanted = net.mapping.state_dict()
    if {key: t.shape for key, t in weights.items()} != {key: t.shape for key, t in wanted.items()}:
        return None
    net.mapping.load_state_dict(weights, assign=True)
    source = torch.Generator().manual_seed(0)
    total = torch.zeros(net.w_mean.shape[0], dtype=torch.float64)
    with torch.no_grad():
        for _ in range(0, SAMPLES, BATCH):
            z = torch.randn(BATCH, net.z_dim, generator=source)
            classes = torch.randint(max(net.labels, 1), (BATCH,), generator=source)
            labels = torch.eye(net.labels)[classes] if net.labels else None
            total += net.mapping(z, labels).double().sum(dim=0)
    return (total / SAMPLES).float()
