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


def launch(processes: int, *command: str, timeout: int = 500, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in several processes, as a user does."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), **environment}
    return subprocess.run([*torchrun, *command], capture_output=True, text=True, timeout=timeout, env=env)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States of every case after three steps of two processes with half of the batch each."""
    folder = tmp_path_factory.mktemp("together")
    done = launch(2, str(HERE / "several.py"), *CASES, str(folder))
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
