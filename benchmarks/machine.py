"""The machine of a measurement, and its peak rate of convolutions."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ganzoo.training.device import choose_device, keep_memory

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Describe processor, cores, threads and versions."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def ready(threads: int | None, device: str = "cpu") -> torch.device:
    """Choose the device, set the number of threads, and keep freed memory as training does."""
    if threads:
        torch.set_num_threads(threads)
    found = choose_device(device)
    if found.type == "cpu":
        keep_memory()
    return found


def seconds(work: Callable[[], object], repeats: int = 5, device: str = "cpu") -> float:
    """Median time of one call in seconds, after a warm-up call."""
    work()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def convolution_peak(dtype: torch.dtype, device: str = "cpu") -> float:
    """GF/s of a large 3x3 convolution, forward and backward, channels last: an upper bound for a training step."""
    n, c, size = (8, 256, 64) if device == "cpu" else (64, 512, 64)
    x = torch.randn(n, c, size, size, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(c, c, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        torch.nn.functional.conv2d(x, w, padding=1).sum().backward()

    flops = 3 * 2 * n * size * size * c * c * 9
    return flops / seconds(work, device=device) / 1e9


def save(name: str, result: dict[str, Any]) -> Path:
    """Write a result, with the machine it was measured on, to benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    return path
