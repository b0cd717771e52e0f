"""Files: written whole or not at all, and errors that name them; and a log whose reader goes away."""

import os
import sys

import pytest

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.io.files import atomic_write, require_writable
from ganzoo.io.log import Log
from ganzoo.model import checkpoint


def test_an_error_names_the_file_that_was_to_be(tmp_path):
    wanted = tmp_path / "none" / "x.png"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(wanted) as temporary:
        temporary.write_text("x")
    assert caught.value.filename == str(wanted)
    with pytest.raises(OSError, match="other") as caught, atomic_write(tmp_path / "x.png"):
        (tmp_path / "other" / "y").read_text()
    assert str(caught.value.filename) == str(tmp_path / "other" / "y")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert caught.value.filename == str(tmp_path / "folder")


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    require_writable(tmp_path / "x.png", "--out")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"--out: .* is a folder"):
        require_writable(tmp_path, "--out")
    with pytest.raises(UsageError, match=r"--out: cannot write into .*nowhere"):
        require_writable(tmp_path / "nowhere" / "x.png", "--out")


@pytest.mark.parametrize("broken", ["a pipe without a reader", "a full disk"])
def test_a_log_that_nobody_can_read_stops_nothing(monkeypatch, tmp_path, broken):
    if broken == "a full disk":
        stderr = open("/dev/full", "w", buffering=1)  # noqa: PTH123, SIM115
    else:
        read, write = os.pipe()
        os.close(read)
        stderr = os.fdopen(write, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stderr)
    with Log(tmp_path / "log.txt", 2) as log:
        for i in range(2):
            log.say(f"line {i}")
            log.progress(i + 1)
    print("more", file=sys.stderr, flush=True)  # what is said elsewhere goes nowhere, too
    stderr.close()
    assert (tmp_path / "log.txt").read_text() == "line 0\nline 1\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no checkpoint file"),
        (b"text that is no header", "name a snapshot-"),
        (b"\x10\0\0\0\0\0\0\0{", "copy it again"),
        (b"PK\3\4", "'gz import'"),
    ],
)
def test_what_is_no_checkpoint_is_said_with_a_cure(tmp_path, content, said):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said) as caught:
        checkpoint.header(path)
    assert ": " in str(caught.value).partition(str(path))[2]
    assert str(caught.value).endswith(".")
