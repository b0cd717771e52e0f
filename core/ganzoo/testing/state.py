"""State: all that a module keeps is in its parameters and buffers, and all that it draws is determined by torch's seed.

A run writes parameters and buffers, and seeds torch: what is kept or drawn elsewhere, a resumed run lacks.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Values = dict[str, Any]
OF_TORCH = frozenset(vars(nn.Module()))  # attributes of every module
DEPTH = 4  # nested containers that are searched


def check_state(
    build: Callable[[], Any], module: Any, output: Callable[[Any], Tensor], use: Callable[[Any], Any]
) -> Iterator[str]:
    """Compare a used module with a new one that is given its parameters and buffers, in evaluation and in training.

    Args:
        build: builds a new one
        module: the used one
        output: runs one on fixed inputs
        use: runs one as training does, on new inputs at every call
    """
    module.train()
    use(module)
    before = attributes(module)
    for _ in range(2):
        use(module)
    if changed := sorted(name for name, value in attributes(module).items() if before.get(name, value) != value):
        yield (
            f"keeps {', '.join(changed)} outside of its saved state: register_buffer() what changes, so that a resumed "
            "run has it"
        )
    other = build()
    if module.state_dict():
        other.load_state_dict(_reloaded(module))
    for training in (False, True):  # in training, both move what they keep alike
        results = []
        for each in (module, other):
            each.train(training)
            torch.manual_seed(1)
            results.append(output(each))
        if not torch.equal(*results):
            yield "gives another output after saving and loading: something is missing in its parameters and buffers"
            return
    yield from _check_seed(module.eval(), output)
    module.train()


def _check_seed(module: Any, output: Callable[[Any], Tensor]) -> Iterator[str]:
    """Its random numbers depend on torch's seed, and not on those of Python and numpy."""
    states, results = (random.getstate(), np.random.get_state()), []
    kept = {name: t.clone() for name, t in module.state_dict().items()}
    for seed in (1, 2):
        module.load_state_dict(kept)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(3)
        results.append(output(module))
    random.setstate(states[0])
    np.random.set_state(states[1])
    if not torch.equal(*results):
        yield "draws numbers that torch's seed does not determine: draw them from torch"


def _reloaded(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as a safetensors file gives them back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "module.safetensors"
        save_file({k: v.detach().contiguous() for k, v in module.state_dict().items()}, file)
        return load_file(file)


def attributes(module: nn.Module) -> Values:
    """{dotted name: value} of what a module and those in it hold beside parameters, saved buffers and functions."""
    found: Values = {}
    for prefix, part in module.named_modules():
        held = {name: value for name, value in vars(part).items() if name not in OF_TORCH}
        held |= {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        for name, value in held.items():
            found[f"{prefix}.{name}".lstrip(".")] = frozen(value, DEPTH)
    return found


def frozen(value: Any, depth: int) -> Any:
    """Copy a value that may change in place, so that it can be compared later; None for one that holds no state."""
    if isinstance(value, Tensor):
        return tuple(value.shape), tuple(value.detach().cpu().flatten().tolist())
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if depth == 0 or isinstance(value, nn.Module | type) or callable(value):
        return None
    if isinstance(value, Mapping):
        return tuple((repr(key), frozen(inner, depth - 1)) for key, inner in value.items())
    if hasattr(value, "__iter__") and hasattr(value, "__len__"):
        return tuple(frozen(inner, depth - 1) for inner in value)
    return frozen(vars(value), depth - 1) if hasattr(value, "__dict__") else None
