"""Memory of a device: what the system says, within a container's limit, and where the system says nothing."""

import sys
from pathlib import Path

import psutil
import pytest
import torch

from ganzoo.training import device
from ganzoo.training.device import free_memory, peak_memory, total_memory

CPU = torch.device("cpu")
VERSIONS = {
    2: ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    1: (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
}


def container(root: Path, version: int, limit: str, used: int, cache: int) -> None:
    names = VERSIONS[version]
    for name, text in zip(names, (limit, used, f"anon 5\n{names[3]} {cache}")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No container, unless a test writes one."""
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
def test_memory_is_what_the_kernel_says(machine):
    lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    kib = {line[0]: int(line[1]) for line in lines}
    assert total_memory(CPU) == kib["MemTotal:"] / 2**20
    assert free_memory(CPU) == pytest.approx(kib["MemAvailable:"] / 2**20, abs=0.5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_container_limits_it(machine, version):
    container(machine, version, str(2**28), used=2**27, cache=2**26)
    assert total_memory(CPU) == 0.25
    assert free_memory(CPU) == 0.25 - 0.125 + 0.0625
    container(machine, version, str(2**28), used=2**29, cache=0)
    assert free_memory(CPU) == 0


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_a_container_without_a_limit(machine, limit):
    whole = total_memory(CPU)
    container(machine, 2, limit, used=2**27, cache=0)
    assert total_memory(CPU) == whole
    assert free_memory(CPU) > 0


def test_where_the_system_says_nothing(machine, monkeypatch):
    def absent():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", absent)
    assert total_memory(CPU) == free_memory(CPU) == 4.0


def test_the_peak_of_this_process(monkeypatch):
    before, resident = peak_memory(CPU), psutil.Process().memory_info().rss / 2**30
    assert 0.9 * resident <= before
    block = torch.ones(64 * 2**18)  # 64 MiB
    assert before <= peak_memory(CPU) <= before + 0.5
    del block
    peak = peak_memory(CPU)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory(CPU) == pytest.approx(peak, abs=0.5)
