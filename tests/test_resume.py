"""Stopping and resuming gives the very same weights, tensor for tensor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import small
from ganzoo.errors import CheckpointError
from ganzoo.model import checkpoint
from ganzoo.runs import folder as folder_
from ganzoo.runs import run

GROWING = ["growth.train_kimg=0.02", "growth.fade_kimg=0.02"]  # 4x4 -> 8x8 -> 16x16 within 0.08 kimg
CASES = {
    "stylegan2": ("stylegan2-tiny", []),
    "stylegan2-bf16-parts": ("stylegan2-tiny", ["training.precision=bf16", "training.batch_gpu=2"]),
    "progan-across-growth": ("progan-tiny", GROWING),
}


def train(name: str, folder: Path, *overrides: str, resume: str | None = None) -> Path:
    return run.train(small(name, *overrides), folder_.RunOptions(outdir=folder, resume=resume, workers=1, device="cpu"))


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(sorted(folder.glob("state-*"))[-1])[1]


def assert_identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different[:5]


@pytest.mark.parametrize("case", CASES)
def test_half_and_half_equals_whole(case, tmp_path):
    name, overrides = CASES[case]
    whole = train(name, tmp_path / "whole", *overrides, "training.kimg=0.104")
    half = train(name, tmp_path / "half", *overrides, "training.kimg=0.052")
    resumed = train(name, tmp_path / "half", *overrides, "training.kimg=0.104", resume="latest")
    assert resumed == half
    assert_identical(state_of(whole), state_of(resumed))


def test_resume_auto_continues_its_own_recipe_only(tmp_path):
    first = train("stylegan2-tiny", tmp_path, "training.kimg=0.02")
    assert train("stylegan2-tiny", tmp_path, "training.kimg=0.04", resume="auto") == first
    assert train("stylegan2-tiny", tmp_path, "training.kimg=0.02", "training.lr=0.001", resume="auto") != first


def test_resume_refuses_another_recipe(tmp_path):
    folder = train("stylegan2-tiny", tmp_path, "training.kimg=0.02")
    with pytest.raises(CheckpointError, match=r"loss.use \(was 'logistic', now 'hinge'\)"):
        train("stylegan2-tiny", tmp_path, "training.kimg=0.04", "loss=hinge", resume=str(folder))


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_resume import train
from ganzoo.errors import Interrupted
torch.set_num_threads(1)
try:
    train({name!r}, Path({out!r}), *{overrides!r}, "training.kimg=0.1", "training.snapshot_ticks=2",
    resume={resume!r})
except Interrupted as stop:
    sys.exit(stop.exit_code)
"""


def start(out: Path, resume: str | None = None, name: str = "progan-tiny") -> subprocess.Popen[bytes]:
    overrides = GROWING if name == "progan-tiny" else []
    code = SCRIPT.format(tests=str(Path(__file__).parent), out=str(out), overrides=overrides, resume=resume, name=name)
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for_ticks(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        files = list(out.glob("*/stats.jsonl"))
        if files and len(files[0].read_text().splitlines()) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the run did not get going")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["progan-tiny", "stylegan2-tiny"])
def test_sigterm_writes_the_state_and_resuming_is_exact(tmp_path, name):
    process = start(tmp_path / "stopped", name=name)
    wait_for_ticks(tmp_path / "stopped", 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert start(tmp_path / "stopped", resume="latest", name=name).wait(120) == 0
    assert start(tmp_path / "whole", name=name).wait(120) == 0
    whole, stopped = (next(iter(folder.iterdir())) for folder in (tmp_path / "whole", tmp_path / "stopped"))
    assert_identical(state_of(whole), state_of(stopped))


@pytest.mark.slow
def test_kill_leaves_whole_files(tmp_path):
    process = start(tmp_path)
    wait_for_ticks(tmp_path, 4)
    process.kill()
    process.wait()
    files = [*tmp_path.glob("*/*.safetensors")]
    assert any("state" in f.name for f in files)
    assert any("snapshot" in f.name for f in files)
    for file in files:
        checkpoint.read(file)


def test_a_crash_while_writing_leaves_the_previous_file(tmp_path, monkeypatch):
    path, head = tmp_path / "x.safetensors", checkpoint.Header("snapshot", {}, 0)
    checkpoint.write(path, {"a": torch.ones(3)}, head)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.write(path, {"a": torch.zeros(3)}, head)
    assert torch.equal(checkpoint.read(path)[1]["a"], torch.ones(3))
    assert [*tmp_path.iterdir()] == [path]
