"""Models whose styles are edited, and codes."""

import pytest
import torch

import sampling
from snapshots import family

MODELS = sampling.MODELS | {"stylegan": ("stylegan-tiny",)}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("edit"), MODELS)


def code(layers: int = 6, w_dim: int = 8) -> torch.Tensor:
    return torch.randn(1, layers, w_dim)
