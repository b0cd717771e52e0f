"""Running commands that sample small models."""

import numpy as np
import pytest
from PIL import Image

from commands import fails as fails
from ganzoo_cli import main
from snapshots import family

MODELS = {
    "stylegan2": ("stylegan2-tiny",),
    "progan": ("progan-tiny",),
    "adain": ("stylegan2-tiny", "generator.synthesis.block.layer=adain"),
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
    return family(tmp_path_factory.mktemp("sampling"), MODELS)


@pytest.fixture
def good(capsys):
    def run(*args: object) -> list[str]:
        capsys.readouterr()
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out.splitlines()

    return run


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))
