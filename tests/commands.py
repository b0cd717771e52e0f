"""Running `gz` on a tiny recipe."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ganzoo_cli import main

TINY = """\
title: tiny
extends: stylegan2-tiny
image: {size: 16}
generator: {z_dim: 8, w_dim: 8, channel_max: 8}
discriminator: {channel_max: 8}
dataset: {use: shapes, count: 64}
training: {kimg: 0.03, batch: 8}
metrics:
  - {use: swd, num: 16, patches_per_image: 8, directions: 8}
"""


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def gz(capsys):
    def run(*args: object) -> Result:
        capsys.readouterr()
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def good(gz):
    def run(*args: object) -> str:
        result = gz(*args)
        assert result.code == 0, result.err
        assert "Traceback" not in result.err
        return result.out

    return run


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with this exit code and one sentence that holds these words."""

    def run(code: int, words: list[object], *args: object) -> str:
        capsys.readouterr()
        got = main([str(a) for a in args])
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert got == code, captured.err
        assert "Traceback" not in captured.err + captured.out
        assert len(errors) == 1, captured.err
        assert errors[0].endswith("."), errors[0]
        for word in words:
            assert str(word) in errors[0]
        return errors[0]

    return run


@pytest.fixture
def recipe(tmp_path):
    """A recipe file with this text instead of, or after, the tiny one's."""

    def write(text: str = "", *, whole: bool = False) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(text if whole else TINY + text)
        return path

    return write
