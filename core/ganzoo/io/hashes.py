"""Hashes of files, tensors, networks and recipes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import CheckpointError


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and bytes of tensors, in order of names, in hexadecimal."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        sha256.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        sha256.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits of the sha256 of a filled recipe, as names and metadata have it."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal. Raises CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise CheckpointError(f"{path} cannot be read: {err.strerror or err}.") from None


def fingerprint(net: nn.Module, *about: str) -> str:
    """Return the sha256 over a network's weights, whatever file they came in, and over other text, in hexadecimal.

    Args:
        net: the network
        about: what else decides its outputs, such as preprocessing
    """
    return hashlib.sha256(" ".join([digest(net.state_dict()), *about]).encode()).hexdigest()
