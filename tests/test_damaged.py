"""Damaged foreign files: one sentence each, wherever they are cut off or changed."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ganzoo.errors import CheckpointError, ZooError
from ganzoo.foreign import torchfile
from ganzoo.foreign.pickles import Object
from ganzoo_import import convert
from pickles import GENUINE, PERSISTENT, refused
from pickles import _nothing_ran as _nothing_ran


def survives(path: Path) -> None:
    """Either it is read, or refused in one sentence; in either case as plain data."""
    try:
        found = torchfile.read(path, PERSISTENT)
    except CheckpointError as err:
        assert len(str(err).splitlines()) == 1
    else:
        assert plain(found)


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(k) and plain(v) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(plain, value))
    if isinstance(value, Object):
        return value.name in PERSISTENT and plain(value.args) and plain(value.state)
    return value is None or isinstance(value, bool | int | float | str | bytes | Tensor)


@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.stem)
def test_genuine_files_are_plain_data(path):
    found = torchfile.read(path, PERSISTENT)
    assert plain(found)
    assert all(np.isfinite(t.numpy()).all() for _, t in torchfile.tensors(found))


@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.stem)
@pytest.mark.parametrize("step", [9973, pytest.param(97, marks=pytest.mark.slow)])
def test_truncated(path, step, tmp_path):
    data = path.read_bytes()
    for end in range(0, len(data), step if len(data) < 300_000 else 4 * step):
        (tmp_path / "cut.pkl").write_bytes(data[:end])
        refused(tmp_path / "cut.pkl", PERSISTENT)


@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.stem)
@pytest.mark.parametrize("count", [10, pytest.param(80, marks=pytest.mark.slow)])
def test_flipped_bits(path, count, tmp_path):
    data, rng = path.read_bytes(), random.Random(count)
    for at in range(count):
        damaged = bytearray(data)
        for _ in range(1 + at % 3):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "flipped.pkl").write_bytes(damaged)
        survives(tmp_path / "flipped.pkl")


@pytest.mark.slow
@pytest.mark.parametrize("path", GENUINE, ids=lambda p: p.stem)
def test_flipped_bits_of_what_is_no_tensor(path, tmp_path):
    """The importers meet data of the wrong kind; they too say one thing, and never a traceback."""
    data, rng = path.read_bytes(), random.Random(1)
    words = [at for at in range(len(data)) if 32 < data[at] < 127]
    for _ in range(80):
        damaged = bytearray(data)
        damaged[rng.choice(words)] ^= 1 << rng.randrange(7)
        (tmp_path / "flipped.pkl").write_bytes(damaged)
        try:
            convert.convert(tmp_path / "flipped.pkl")
        except ZooError as err:
            assert len(str(err).splitlines()) == 1, str(err)
