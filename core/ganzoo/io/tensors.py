"""Opening safetensors files: the length of the header is checked before the header is parsed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ganzoo.io.budgets import SAFETENSORS_HEADER_BYTES

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class HeaderTooLong(SafetensorError):
    """A safetensors header longer than `budgets.SAFETENSORS_HEADER_BYTES`."""


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file as `safetensors.safe_open` does, for tensors of torch on the CPU.

    Raises HeaderTooLong before the header is parsed, which takes about 20 times its size in memory; SafetensorError for
    a file that is damaged; OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if (
        SAFETENSORS_HEADER_BYTES < length <= path.stat().st_size
    ):  # a longer one is no header: safetensors says so at no cost
        raise HeaderTooLong(f"its header has {length:,} bytes, above the limit of {SAFETENSORS_HEADER_BYTES:,}")
    with safe_open(path, framework="pt") as tensors:
        yield tensors


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype of a name in a safetensors header, as "F32". Raises ValueError for one that ganzoo lacks."""
    if name not in DTYPES:
        raise ValueError(f"its tensors are of the type {name}")
    return DTYPES[name]
