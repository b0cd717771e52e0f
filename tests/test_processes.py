"""`gz train --gpus`: processes that meet through a file, listen on loopback only, and start anew after a death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ganzoo.model import checkpoint
from ganzoo.runs.folder import newest

TINY = [
    *("image.size=16", "generator.channel_base=128", "discriminator.channel_base=128", "training.batch=4"),
    *("training.precision=fp32", "training.tick_kimg=0.008", "training.snapshot_ticks=1"),
]


def start(outdir: Path, kimg: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ganzoo_cli", "train", "stylegan2-tiny", "--data", "shapes", "--metrics", "none"]
    command += ["--device", "cpu", "--outdir", str(outdir), "--gpus", "2", "--kimg", str(kimg)]
    command += [word for item in TINY for word in ("--set", item)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(pattern: str, folder: Path, launcher: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.02)


def ranks(launcher: "subprocess.Popen[str]") -> dict[str, psutil.Process]:
    return {p.environ()["RANK"]: p for p in psutil.Process(launcher.pid).children() if "RANK" in p.environ()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of which one process was killed, what its processes listened on, and what it said."""
    folder = tmp_path_factory.mktemp("killed")
    launcher = start(folder, 0.08)
    wait_for("*/state-*.safetensors", folder, launcher)
    processes = ranks(launcher)
    family = [psutil.Process(launcher.pid), *processes.values()]
    listening = [c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    processes["1"].send_signal(signal.SIGKILL)
    _, said = launcher.communicate(timeout=400)
    return folder, listening, launcher.returncode, said


@pytest.mark.slow
def test_nothing_listens_beyond_the_loopback_interface(killed):
    _, listening, _, _ = killed
    assert [ip for ip in listening if not ip.startswith("127.") and ip != "::1"] == []


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_the_weights_are_those_of_an_undisturbed_run(killed, tmp_path):
    folder, _, code, said = killed
    assert code == 0, said
    assert "process 1 ended with SIGKILL: all start anew from the last state." in said
    assert "Continuing" in said
    calm = start(tmp_path, 0.08)
    _, said = calm.communicate(timeout=400)
    assert calm.returncode == 0, said
    one, other = (checkpoint.read(newest(next(d.iterdir()), "state")[0])[1] for d in (tmp_path, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_signal_is_passed_on_once_and_the_state_is_written(tmp_path):
    launcher = start(tmp_path, 10.0)
    wait_for("*/state-*.safetensors", tmp_path, launcher)
    launcher.send_signal(signal.SIGTERM)
    _, said = launcher.communicate(timeout=100)
    assert launcher.returncode == 130, said
    assert said.count("stopped by SIGTERM") == 1 and "start anew" not in said
    (run,) = tmp_path.iterdir()
    stopped = float(said.partition(" at ")[2].split()[0]) if " at " in said else None
    assert checkpoint.header(newest(run, "state")[0]).kimg == pytest.approx(stopped, abs=0.1)
