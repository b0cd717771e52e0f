"""Files of weights, and networks without any."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn


def meta(make: Any) -> nn.Module:
    with torch.device("meta"):
        return make()


def torch_file(path: Path, state: dict[str, Tensor], old: bool = True) -> Path:
    """As torch.save writes it, in the format of the published files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=not old)
    return path


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights of a cache directory that does not exist yet."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"
