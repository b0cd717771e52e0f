"""Running `gz project` on photos of many kinds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snapshots import family

MODELS = {
    "stylegan2": ["stylegan2-tiny"],
    "progan": ["progan-tiny"],
    "growing": [
        "progan-tiny",
        "generator.synthesis.block.layer=modconv",
        "generator.mapping=mlp",
        "growth.train_kimg=1",
        "growth.fade_kimg=1",
    ],
    "conditional": ["stylegan2-tiny", "labels"],
    "gray": ["stylegan2-tiny", "image.channels=1"],
    "rgba": ["stylegan2-tiny", "image.channels=4", "image.size=[16,8]"],
    "two channels": ["stylegan2-tiny", "image.channels=2"],
}
QUICK = ["--perceptual", "pixel", "--steps", "4"]


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    return family(tmp_path_factory.mktemp("models"), MODELS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Photos of all kinds: RGB, alpha, gray, turned by EXIF, not square, in a subfolder; and one file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, np.uint8)

    Image.fromarray(noise(16, 16, 3)).save(folder / "a.png")
    Image.fromarray(noise(20, 20, 4)).save(folder / "alpha.png")
    Image.fromarray(noise(24, 18)).save(folder / "gray.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(30, 20, 3)).save(folder / "turned.jpg", exif=exif)
    (folder / "more").mkdir()
    Image.fromarray(noise(16, 40, 3)).save(folder / "more" / "a.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def loaded(path: Path) -> np.ndarray:
    array = np.asarray(Image.open(path))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
