"""Hashes that say whether files, tensors and recipes are those they are thought to be."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import CheckpointError


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in order of names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        total.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Twelve hex digits that name a filled recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes. Raises CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or err}.") from None


def fingerprint(net: nn.Module, *about: str) -> str:
    """sha256 over a network's weights, whatever file they came in, and over what else decides its outputs."""
    return hashlib.sha256(" ".join([digest(net.state_dict()), *about]).encode()).hexdigest()
