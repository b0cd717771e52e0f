"""Running `gz stylize` on small pictures."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from commands import Result
from ganzoo_cli import main

QUICK = ("--features", "conv-random", "--steps", "4", "--optimizer", "adam")


@pytest.fixture
def gz(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Result:
        capsys.readouterr()
        code = main(["stylize", *(str(a) for a in args)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(gz):
    def run(code: int, *args: object) -> str:
        result = gz(*args)
        assert (result.code, result.out) == (code, ""), result.err
        last = result.err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert last.endswith(".")
        assert "Traceback" not in result.err
        return last

    return run


def colours(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(autouse=True)
def pictures(tmp_path) -> Path:
    Image.fromarray(colours(24, 40)).save(tmp_path / "content.png")
    Image.fromarray(colours(30, 20, 1)).save(tmp_path / "style.png")
    Image.fromarray(colours(16, 16, 2)).save(tmp_path / "other.png")
    return tmp_path


def opened(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.asarray(file)
