"""Models whose styles are edited, and codes."""

import pytest
import torch

from snapshots import family

MODELS = {
    "stylegan2": ("stylegan2-tiny",),
    "adain": ("stylegan2-tiny", "generator.synthesis.block.layer=adain"),
    "stylegan": ("stylegan-tiny",),
    "progan": ("progan-tiny",),
    "gray": ("stylegan2-tiny", "image.channels=1"),
    "rgba": ("stylegan2-tiny", "image.channels=4", "image.size=[8, 16]"),
    "two channels": ("stylegan2-tiny", "image.channels=2"),
    "growing": (
        "progan-tiny",
        "generator.synthesis.block.layer=modconv",
        "growth.train_kimg=1",
        "growth.fade_kimg=1",
    ),
    "conditional": ("stylegan2-tiny", "labels"),
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("edit"), MODELS)


def code(layers: int = 6, w_dim: int = 8) -> torch.Tensor:
    return torch.randn(1, layers, w_dim)
