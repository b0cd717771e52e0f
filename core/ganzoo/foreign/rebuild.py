"""Inert graphs of `ganzoo.foreign.pickles` rebuilt as dictionaries, lists, numbers, text and tensors.

Only objects with a rule below are rebuilt, by this module's code; the names with rules are the names that a pickle may
contain. A tensor must lie inside its storage, and a graph must be a tree of limited depth and size.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.foreign.pickles import DICT, FROZENSET, SET, Global, Object, Reference, quoted, refuse
from ganzoo.io import budgets

DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
STORAGES = {f"{module} {name}": dtype for module in ("torch", "torch.cuda") for name, dtype in DTYPES.items()}
NUMPY_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")


@dataclass(frozen=True)
class Stored:
    """A storage, as its persistent id describes it."""

    dtype: torch.dtype
    key: str
    numel: int


def stored(reference: Reference) -> Stored:
    """Parse torch's persistent id: ("storage", type, key, location, number of elements)."""
    pid = reference.pid
    if isinstance(pid, tuple) and len(pid) == 6 and pid[5] is None:  # older files: metadata of views
        pid = pid[:5]
    fits = isinstance(pid, tuple) and len(pid) == 5 and pid[0:1] == ("storage",) and isinstance(pid[1], Global)
    if not (fits and pid[1].name in STORAGES and isinstance(pid[2], str) and isinstance(pid[3], str)):
        refuse("it refers to data beside its pickle in a way that torch does not.")
    return Stored(STORAGES[pid[1].name], pid[2], count(pid[4], "the size of a storage"))


def count(value: Any, what: str) -> int:
    """Check that a value is an integer from 0 to 2^48 - 1, and return it."""
    if type(value) is not int or not 0 <= value < 1 << 48:
        refuse(f"it is damaged: {what} is {quoted(value if isinstance(value, int | float | str) else type(value))}.")
    return int(value)


def _counts(values: Any, what: str) -> list[int]:
    if not isinstance(values, list | tuple) or len(values) > 16:
        refuse(f"it is damaged: {what} is no short list of numbers.")
    return [count(v, what) for v in values]


class Rebuilder:
    """Converts one graph to plain values.

    Args:
        storage: function from a storage to its data, a tensor of one axis
        nested: function from the bytes of a storage that is a file of its own to its data
        passed: names whose Objects are kept, with plain arguments
    """

    def __init__(
        self, storage: Callable[[Stored], Tensor], nested: Callable[[bytes], Tensor], passed: frozenset[str]
    ) -> None:
        self.storage, self.nested, self.passed = storage, nested, passed
        self.values: dict[int, tuple[Any, int]] = {}  # id of a node -> (its value, its size as a tree)
        self.open: set[int] = set()  # ids of the nodes being converted
        self.size = 0  # values so far
        self.copied = 0  # bytes of text and NumPy values so far
        self.odd_keys = 0  # keys so far that are tuples or fractions

    def __call__(self, node: Any) -> Any:
        """Convert a node, once."""
        if not isinstance(node, list | tuple | Object | Global | Reference):
            self.count(1)
            return node
        if id(node) in self.values:
            value, size = self.values[id(node)]
            self.count(size)
            return value
        if id(node) in self.open or len(self.open) >= budgets.PICKLE_DEPTH:
            refuse(f"it holds something that contains itself, or is nested more than {budgets.PICKLE_DEPTH} deep.")
        self.open.add(id(node))
        before = self.size
        self.count(1)
        value = self._convert(node)
        self.open.remove(id(node))
        self.values[id(node)] = value, self.size - before
        return value

    def count(self, size: int) -> None:
        """Add to the number of values. Refuses more than PICKLE_VALUES."""
        self.size += size
        if self.size > budgets.PICKLE_VALUES:
            refuse(f"it unfolds into more than {budgets.PICKLE_VALUES:,} values, which no checkpoint does.")

    def copy(self, size: int) -> None:
        """Add to the number of copied bytes, also of one string that is copied often. Refuses more than the limit."""
        self.copied += size
        if self.copied > budgets.PICKLE_COPIED_BYTES:
            refuse(f"its pickle holds more than {budgets.PICKLE_COPIED_BYTES >> 20} MiB of NumPy values and text.")

    def key(self, value: Any) -> Any:
        """Convert a key of a dictionary or an element of a set: a scalar or a flat tuple of scalars.

        Refuses values by which a small file would take long to hash: integers from KEY_LIMIT on, which may all have one
        hash, and many tuples or fractions.
        """
        plain = self(value)
        flat = plain if isinstance(plain, tuple) else (plain,)
        if any(not isinstance(part, str | bytes | int | float | None) for part in flat):
            refuse("it holds a dictionary or a set whose keys are no plain values.")
        if any(isinstance(part, int) and abs(part) >= budgets.KEY_LIMIT for part in flat):
            refuse(f"it holds a dictionary or a set with an integer key from {budgets.KEY_LIMIT:,} on, the limit.")
        self.odd_keys += isinstance(plain, tuple | float)
        if self.odd_keys > budgets.ODD_KEYS:
            refuse(f"its dictionaries and sets have more than {budgets.ODD_KEYS:,} keys that are tuples or fractions.")
        return plain

    def _convert(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self(item) for item in node]
        if isinstance(node, tuple):
            return tuple(self(item) for item in node)
        if isinstance(node, Reference):
            return self.storage(stored(node))
        if isinstance(node, Global):
            return NAMES[node.name] if node.name in NAMES else refuse(f"it holds the bare name {quoted(node.name)}.")
        if node.name in RULES:
            return RULES[node.name](self, node)
        if node.name in self.passed:
            pairs = [(self(k), self(v)) for k, v in node.pairs]
            return Object(node.name, self(node.args), self(node.state), pairs, [self(v) for v in node.added])
        return refuse(f"it makes a {quoted(node.name)}, which no GAN's weights need.")

    def args(self, node: Object, least: int, most: int) -> tuple[Any, ...]:
        """Convert the arguments of a call. Refuses a wrong number of them, and items added to the result."""
        if not least <= len(node.args) <= most or node.pairs or node.added:
            refuse(f"it is damaged: {quoted(node.name)} has not the arguments that it takes.")
        return tuple(self(arg) for arg in node.args)


def _dict(make: Rebuilder, node: Object) -> dict[Any, Any]:
    """dict, OrderedDict, defaultdict, EasyDict, Namespace; attributes are ignored, except of a Namespace."""
    if node.added or (node.args and node.name != "collections defaultdict"):
        refuse("it is damaged: a dictionary is made with arguments.")
    state = node.state if node.name == "argparse Namespace" else None
    if state is not None and not (isinstance(state, Object) and state.name == DICT):
        refuse("it is damaged: the arguments of a command line are no dictionary.")
    items: dict[Any, Any] = {}
    for key, value in node.pairs + (state.pairs if state else []):
        plain = make.key(key)
        if plain in items:
            refuse(f"it is damaged: the key {quoted(plain)} stands twice in one dictionary.")
        items[plain] = make(value)
    return items


def _set(make: Rebuilder, node: Object) -> Any:
    first = node.args[0] if len(node.args) == 1 else [] if not node.args else None
    if not isinstance(first, list | tuple) or node.pairs:
        refuse("it is damaged: a set is made of what is no list.")
    items = [make.key(value) for value in [*first, *node.added]]
    return frozenset(items) if "frozen" in node.name else set(items)


def _bytes(make: Rebuilder, node: Object) -> bytes:
    text, encoding = make.args(node, 2, 2)
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        refuse("it is damaged: bytes are written in an unknown encoding.")
    make.copy(len(text))
    return text.encode("latin-1")


def _text(make: Rebuilder, node: Object) -> str:
    """A path or a device, as text."""
    parts = make.args(node, 0, 64)
    return (":" if "device" in node.name else "/").join(str(p) for p in parts if isinstance(p, str | int))


def _size(make: Rebuilder, node: Object) -> tuple[int, ...]:
    return tuple(_counts(make.args(node, 1, 1)[0], "a size"))


# --- torch -----------------------------------------------------------------------------------------------------------


def _nested(make: Rebuilder, node: Object) -> Tensor:
    (data,) = make.args(node, 1, 1)
    return make.nested(data) if isinstance(data, bytes) else refuse("it is damaged: a storage is no bytes.")


def _tensor(make: Rebuilder, node: Object) -> Tensor:
    """_rebuild_tensor(storage, offset, size, stride), and _rebuild_tensor_v2 with further arguments on gradients."""
    storage, offset, size, stride = make.args(node, 4, 7)[:4]
    if not isinstance(storage, Tensor) or storage.ndim != 1:
        refuse("it is damaged: a tensor lies in what is no storage.")
    sizes, strides = _counts(size, "a tensor's size"), _counts(stride, "a tensor's stride")
    start, numel = count(offset, "a tensor's offset"), math.prod(sizes)
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides))
    inside = numel == 0 or last < storage.numel()
    if len(sizes) != len(strides) or not inside or numel > storage.numel() or start > storage.numel():
        refuse(
            f"it is damaged: a tensor of size {sizes} does not lie inside its storage of {storage.numel():,} values."
        )
    return storage.new_empty(sizes) if numel == 0 else storage.as_strided(sizes, strides, start)


def _parameter(make: Rebuilder, node: Object) -> Tensor:
    """_rebuild_parameter(data, requires_grad, hooks), and the variant with a state, which is ignored."""
    data = make.args(node, 3, 4)[0]
    return data if isinstance(data, Tensor) else refuse("it is damaged: a parameter is no tensor.")


# --- numpy -----------------------------------------------------------------------------------------------------------


def _dtype(make: Rebuilder, node: Object) -> str:
    """numpy.dtype(name, ...) and its state, whose second value is the byte order, as text such as "<f4"."""
    name, state = make.args(node, 1, 3)[0], make(node.state)
    order = state[1] if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "=") else "="
    if not isinstance(name, str) or not NUMPY_DTYPE.fullmatch(name):
        refuse(f"it holds NumPy values of type {quoted(name)}, which are no plain numbers.")
    return str(order) + name.lstrip("<>|=")


def _values(make: Rebuilder, data: Any, dtype: Any) -> np.ndarray[Any, Any]:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(raw, bytes) or not isinstance(dtype, str) or not NUMPY_DTYPE.fullmatch(dtype):
        refuse("it is damaged: NumPy values are no bytes.")
    make.copy(len(raw))
    stored_dtype = np.dtype(dtype)
    return np.frombuffer(raw, stored_dtype).astype(stored_dtype.newbyteorder("="))


def _scalar(make: Rebuilder, node: Object) -> Any:
    dtype, data = make.args(node, 2, 2)
    values = _values(make, data, dtype)
    return values[0].item() if len(values) == 1 else refuse("it is damaged: a NumPy number is not one number.")


def _array(make: Rebuilder, node: Object) -> Tensor:
    """numpy's _reconstruct(ndarray, (0,), b"b"), with the state (version, shape, dtype, Fortran order, data)."""
    state = make(node.state)
    if node.pairs or node.added or not isinstance(state, tuple) or len(state) != 5:
        refuse("it is damaged: a NumPy array has no contents.")
    return _shaped(_values(make, state[4], state[2]), state[1], "F" if state[3] else "C")


def _buffer(make: Rebuilder, node: Object) -> Tensor:
    """numpy's _frombuffer(data, dtype, shape, order), of protocol 5."""
    data, dtype, shape, order = make.args(node, 4, 4)
    return _shaped(_values(make, data, dtype), shape, "F" if order == "F" else "C")


def _shaped(values: np.ndarray[Any, Any], shape: Any, order: Any) -> Tensor:
    sizes = _counts(shape, "a NumPy array's shape")
    if math.prod(sizes) != values.size:
        refuse(f"it is damaged: a NumPy array of shape {sizes} has {values.size:,} values.")
    return torch.from_numpy(np.ascontiguousarray(values.reshape(sizes, order=order)).reshape(sizes))


Rule = Callable[[Rebuilder, Object], Any]
RULES: dict[str, Rule] = {
    DICT: _dict,
    SET: _set,
    FROZENSET: _set,
    "__builtin__ set": _set,
    "__builtin__ frozenset": _set,
    "collections OrderedDict": _dict,
    "collections defaultdict": _dict,
    "dnnlib.util EasyDict": _dict,
    "argparse Namespace": _dict,
    "_codecs encode": _bytes,
    "pathlib PosixPath": _text,
    "pathlib PurePosixPath": _text,
    "pathlib WindowsPath": _text,
    "pathlib PureWindowsPath": _text,
    "torch device": _text,
    "torch Size": _size,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch.storage _load_from_bytes": _nested,
    "numpy dtype": _dtype,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "numpy.core.numeric _frombuffer": _buffer,
    "numpy._core.numeric _frombuffer": _buffer,
}
# names that may occur without a call, as types
NAMES: dict[str, Any] = {f"torch {str(dtype).removeprefix('torch.')}": str(dtype) for dtype in DTYPES.values()}
_TYPES = {f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("list", "dict", "int", "float")}
ALLOWED = frozenset({*RULES, *NAMES, *STORAGES, *_TYPES, "numpy ndarray"})
