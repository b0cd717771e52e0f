"""What a training does when something breaks: memory, gradients, images, processes. Never silence, nothing lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from conftest import small, trainer
from ganzoo.errors import DataError, Diverged
from ganzoo.gan.trainer import Trainer
from ganzoo.model import checkpoint
from ganzoo.runs import folder as folder_
from ganzoo.runs import run, state
from ganzoo.runs.folder import newest
from ganzoo.training.learner import GradientLearner
from test_ranks import HERE, launch

CPU = torch.device("cpu")
TICKS = ["training.tick_kimg=0.008", "training.snapshot_ticks=1", "training.kimg=0.08"]
EXACT = [
    "regularizers=[{use: r1, every: 2}]",
    "generator.synthesis.block.layer.noise=null",
    "generator.mixing=0",
    "discriminator.head.statistic=null",
]


def train(folder: Path, *overrides: str) -> Path:
    node = small("stylegan2-tiny", *TICKS, *overrides)
    return run.train(node, folder_.RunOptions(outdir=folder, workers=1, device="cpu"))


def step(made: Trainer, seed: int = 0) -> None:
    real = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    made.step(real, torch.zeros(4, 0), torch.zeros(4, 0))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out_makes_the_parts_smaller_and_changes_no_step(monkeypatch):
    plain, poor = (
        trainer("stylegan2-tiny", *EXACT, "training.eps=1e-3"),
        trainer("stylegan2-tiny", *EXACT, "training.eps=1e-3"),
    )
    said: list[str] = []
    poor.notice = said.append
    optimize = GradientLearner.optimize

    def scarce(self, who, phase, size, loss):
        def needy(rows, rng):
            if self is poor and len(rows) > 1 and self.iteration == 0:
                loss(
                    range(1), self.sample_rng(range(1), size)
                ).backward()  # something has been computed, and something kept
                raise torch.OutOfMemoryError("CUDA out of memory")
            return loss(rows, rng)

        optimize(self, who, phase, size, needy)

    monkeypatch.setattr(GradientLearner, "optimize", scarce)
    for made in (plain, poor):
        step(made)
    assert poor.micro_batch == 1
    assert [text.split(":")[1][:18] for text in said] == [" going on with 2. ", " going on with 1. "]
    assert "training.batch_gpu to 1" in said[-1]
    for a, b in zip(plain.G.parameters(), poor.G.parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_memory_that_runs_out_with_one_image_is_an_error(monkeypatch):
    made = trainer("stylegan2-tiny", "training.batch_gpu=1")

    def none(self, who, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "adversarial_loss", none)
    with pytest.raises(torch.OutOfMemoryError):
        step(made)


# --- gradients that are no numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_stop_names_the_parameter_and_takes_no_step(monkeypatch, value):
    made = trainer("stylegan2-tiny")
    step(made)
    before = {n: t.clone() for n, t in made.D.state_dict().items()}
    spoiled = next(n for n, p in made.D.named_parameters())
    _spoil_first(monkeypatch, made.D, value)
    with pytest.raises(Diverged, match=f"gradient of d.{spoiled} is not finite in phase 'main' at 0.0 kimg") as err:
        step(made)
    assert "1 of" in str(err.value) and "on_nan" in str(err.value)
    for name, tensor in made.D.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def _spoil_first(monkeypatch, net, value, times=1):
    """Spoil one number of the gradient of a network's first parameter, when it learns next."""
    optimize, first, left = GradientLearner.optimize, next(net.parameters()), [times]

    def spoil(grad):
        if not left[0]:
            return grad
        left[0] -= 1
        grad = grad.clone()
        grad.view(-1)[0] = value
        return grad

    def spoiled(self, who, phase, size, loss):
        learns, first.requires_grad = first.requires_grad, True  # hooks are only for what learns
        hook = first.register_hook(spoil)
        first.requires_grad = learns
        optimize(self, who, phase, size, loss)
        hook.remove()

    monkeypatch.setattr(GradientLearner, "optimize", spoiled)


def test_skip_step_leaves_weights_and_moments_and_says_so(monkeypatch):
    made, said = trainer("stylegan2-tiny", "training.on_nan=skip-step", "regularizers=[]"), []
    made.notice = said.append
    step(made)
    moments = {n: made.optimizers["d"].state[p]["exp_avg"].clone() for n, p in made.D.named_parameters()}
    before = {n: p.detach().clone() for n, p in made.D.named_parameters()}
    _spoil_first(monkeypatch, made.D, float("nan"))
    step(made)
    for name, p in made.D.named_parameters():
        assert torch.equal(p, before[name]) and torch.equal(made.optimizers["d"].state[p]["exp_avg"], moments[name])
    assert len(said) == 1 and "this step was skipped" in said[0]
    step(made, 1)
    assert any(not torch.equal(p, before[n]) for n, p in made.D.named_parameters())
    assert all(np.isfinite(list(made.report().values())))


def _nan_at(monkeypatch, images, reloads):
    """NaN in D's loss from so many images on, until training went back so often."""
    backward = Trainer.adversarial_loss

    def spoiled(self, who, batch):
        bad = who == "d" and self.images >= images and self.reloads < reloads
        return backward(self, who, batch) * (float("nan") if bad else 1.0)

    monkeypatch.setattr(Trainer, "adversarial_loss", spoiled)


def test_reload_goes_back_to_the_last_state_and_draws_anew(tmp_path, monkeypatch, capfd):
    _nan_at(monkeypatch, 44, 2)
    folder = train(tmp_path, "training.on_nan=reload")
    log = (folder / "log.txt").read_text()
    assert log.count("with other random numbers") == 2 and "is not finite in phase 'main'" in log
    head, tensors = checkpoint.read(newest(folder, "state")[0])
    assert head.images == 80 and int(tensors["reloads"]) == 2
    assert all(t.isfinite().all() for t in tensors.values())


def test_reload_gives_up_where_it_does_not_help(tmp_path, monkeypatch):
    _nan_at(monkeypatch, 44, 99)
    with pytest.raises(Diverged, match=r"going back to state-\S+ did not help, 3 times"):
        train(tmp_path, "training.on_nan=reload")


def test_reload_without_a_state_is_an_end(tmp_path, monkeypatch):
    _nan_at(monkeypatch, 0, 99)
    with pytest.raises(Diverged, match="there is no state to go back to"):
        train(tmp_path, "training.on_nan=reload")


# --- images ----------------------------------------------------------------------------------------------------------


def test_an_image_that_vanishes_ends_the_training_with_its_state_written(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(64):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(images / f"{i}.png")

    node = small("stylegan2-tiny", *TICKS, f"dataset={{use: folder, path: '{images}'}}")
    step = Trainer.step

    def vanishing(self, *batch):
        step(self, *batch)
        if self.images == 24:
            shutil.rmtree(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", vanishing)
        with pytest.raises(DataError, match=r"\.png.*its state is written.*--resume") as err:
            run.train(node, folder_.RunOptions(outdir=tmp_path / "runs", workers=1, device="cpu"))
    assert "kimg" in str(err.value)
    (folder,) = (tmp_path / "runs").iterdir()
    assert checkpoint.read(newest(folder, "state")[0])[0].images >= 24


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_weights():
    command = [sys.executable, str(HERE.parent / "benchmarks" / "chaos.py"), "--kills", "5", "--images", "120"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills" in done.stdout and " 0 differ" in done.stdout


def _arguments(outdir: Path, kimg: float) -> list[str]:
    sets = [*TICKS[:2], "image.size=16", "generator.channel_base=128", "discriminator.channel_base=128"]
    sets += ["training.batch=4", "training.precision=fp32", f"training.kimg={kimg}"]
    flags = ["--data", "shapes", "--metrics", "none", "--device", "cpu", "--outdir", str(outdir)]
    return ["-m", "ganzoo_cli", "train", "stylegan2-tiny", *flags, *(x for s in sets for x in ("--set", s))]


@pytest.mark.slow
def test_a_process_that_is_killed_costs_nothing(tmp_path):
    """SIGKILL to one of two: torchrun starts both anew from the last state, and the end is that of a calm run."""
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    done = launch(2, *_arguments(calm, 0.08))
    assert done.returncode == 0, done.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    agent = subprocess.Popen([*torchrun, *_arguments(wild, 0.08)], env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(wild.glob("*/state-*.safetensors")):
        assert time.monotonic() < deadline and agent.poll() is None
        time.sleep(0.02)
    victim = next(p for p in psutil.Process(agent.pid).children() if p.environ().get("RANK") == "1")
    victim.send_signal(signal.SIGKILL)
    _, said = agent.communicate(timeout=400)
    assert agent.returncode == 0, said
    assert "Continuing" in said
    one, other = (checkpoint.read(newest(next(d.iterdir()), "state")[0])[1] for d in (calm, wild))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_so(tmp_path):
    done = launch(2, *_arguments(tmp_path, 0.016))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, *_arguments(tmp_path, 0.032), "--resume", "latest"]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert alone.returncode == 0, alone.stderr
    assert "was written by 2 processes, this is 1" in alone.stderr


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    done = launch(3, *_arguments(tmp_path, 0.016))
    assert done.returncode != 0
    assert "training.batch: 4 images cannot be shared equally among 3 processes: choose a multiple of 3, as 6." in (
        done.stderr
    )


def test_states_say_how_many_processes_wrote_them():
    assert int(state.tensors(trainer("stylegan2-tiny"))["processes"]) == 1


SCARCE = """
import sys
import psutil
import torch
from ganzoo.training import distributed

torch.set_num_threads(1)
threads = psutil.Process().num_threads()
distributed.join_group(torch.device("cpu"))
rank = distributed.rank_and_world()[0]
sys.path.insert(0, {tests!r})
from several import PLAIN, trainer
made = trainer("stylegan2-tiny", *PLAIN, "regularizers=[{{use: path_length, every: 1, shrink: 1}}]")
made.broadcast_weights()
penalty = made.regularizers[0].penalty

def scarce(turn):
    if rank == 1 and len(turn.z) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return penalty(turn)

made.regularizers[0].penalty = scarce
for i in range(2):
    made.step(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, 0), torch.zeros(4, 0))
weights = torch.cat([p.detach().flatten() for p in made.G.parameters()])
assert made.micro_batch == 2, made.micro_batch
assert not distributed.any_rank(bool((distributed.mean(weights) - weights).abs().max() > 0))
distributed.leave_group()
assert psutil.Process().num_threads() == threads  # one that is left would abort the process at its end
"""


@pytest.mark.slow
def test_memory_that_runs_out_in_one_of_two_processes_halves_the_parts_of_both(tmp_path):
    """The penalty averages over processes: the one that is short of memory must not leave the other waiting there."""
    script = tmp_path / "scarce.py"
    script.write_text(SCARCE.format(tests=str(HERE)))
    done = launch(2, str(script), timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_processes_started_anew_go_on_with_their_own_run(tmp_path):
    """An older run of the same recipe and images lies there, and death comes before the first state."""
    older = subprocess.run([sys.executable, *_arguments(tmp_path, 0.016)], capture_output=True, text=True, timeout=300)
    assert older.returncode == 0, older.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=1"]
    command = [*torchrun, *_arguments(tmp_path, 0.016), "--desc", "mine"]
    agent = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("00001-*-mine")):
        assert time.monotonic() < deadline and agent.poll() is None
        time.sleep(0.01)
    next(p for p in psutil.Process(agent.pid).children() if p.environ().get("RANK") == "1").kill()
    _, said = agent.communicate(timeout=300)
    assert agent.returncode == 0, said
    (mine,) = tmp_path.glob("*-mine")
    assert checkpoint.read(newest(mine, "state")[0])[0].images == 16
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 2 and not list(tmp_path.glob(".launch-*"))


@pytest.mark.slow
def test_what_was_asked_for_wrongly_is_no_reason_to_start_anew(tmp_path):
    wrong = [*_arguments(tmp_path / "runs", 0.016), "--resume", str(tmp_path / "nowhere"), "--gpus", "2"]
    done = subprocess.run([sys.executable, *wrong], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.count("no checkpoint file") == 1 and not (tmp_path / "runs").exists()
