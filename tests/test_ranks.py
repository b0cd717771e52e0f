"""Several processes: what they compute together is what one computes alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from several import LOSSES, PENALTIES, steps

HERE = Path(__file__).parent
CASES = [*LOSSES, *PENALTIES]
IN_FOUR = ["relativistic_average", "r1", "path_length"]  # all that averages in a way of its own


def launch(processes: int, *command: str, timeout: int = 500, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in several processes, as a user does."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), **environment}
    return subprocess.run([*torchrun, *command], capture_output=True, text=True, timeout=timeout, env=env)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States of every case after three steps of two processes with half of the batch each."""
    return run_together(2, CASES, tmp_path_factory.mktemp("together"))


def run_together(processes: int, cases: list[str], folder: Path) -> Path:
    done = launch(processes, str(HERE / "several.py"), *cases, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_half_of_the_batch_are_one_with_all_of_it(case: str, together: Path) -> None:
    alone, first, second = steps(case), *(load_file(together / f"{case}-{rank}.safetensors") for rank in (0, 1))
    assert alone.keys() == first.keys()
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0)


@pytest.mark.slow
def test_four_processes_are_one_too(tmp_path: Path) -> None:
    folder = run_together(4, IN_FOUR, tmp_path)
    for case in IN_FOUR:
        alone, states = steps(case), [load_file(folder / f"{case}-{rank}.safetensors") for rank in range(4)]
        for name, value in alone.items():
            torch.testing.assert_close(states[0][name], value, rtol=1e-9, atol=1e-11)
            assert all(torch.equal(other[name], states[0][name]) for other in states[1:])
