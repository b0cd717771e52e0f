"""Devices, the precision of feature maps, and memory.

Networks compute feature maps in the type that `training.precision` names, with channels last, as convolutions on tensor
cores and oneDNN's on processors are fastest; everything else is float32. Products of float32 run in full float32:
`choose_device` turns off TF32, which CUDA GPUs could use in its place, since --precision fp32 should mean that, and the
fast choice is bf16.
"""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from ganzoo.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
NAME = r"auto|cpu|mps|cuda(:\d+)?"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GIB = 2**30
UNKNOWN_RAM = 4 * GIB  # bytes, where the system does not say how much there is
CGROUP = Path("/sys/fs/cgroup")
CGROUP_FILES = (  # limit, usage, statistics, and in these the page cache that is given up first: versions 2 and 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; "auto" is CUDA, else Apple's MPS, else the processor. Turns off TF32 on CUDA.

    Raises UsageError where there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        available = ["auto", "cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        available += ["mps"] if torch.backends.mps.is_available() else []
        if not re.fullmatch(NAME, name):
            raise UsageError(
                f"--device {name}: there is no such device: choose auto, cpu, cuda, cuda:1 or mps; of these "
                f"{', '.join(available)} are here."
            ) from None
        reason = str(err).splitlines()[0][:100]
        raise UsageError(
            f"--device {name}: not available here ({reason}). Available: {', '.join(available)}."
        ) from None
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # cuDNN's default is True
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        fast = torch.backends.mkldnn.is_available() and _cpu_has("avx512_bf16", "amx_bf16", "bf16")
        return fast and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


def _cpu_has(*flags: str) -> bool:
    try:
        with open("/proc/cpuinfo") as info:  # noqa: PTH123 (a device file)
            line = next((row for row in info if row.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    return any(flag in line.split() for flag in flags)


def dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of feature maps; "auto" is bf16 where the device computes in it, else fp32."""
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return DTYPES[precision]


def describe_precision(precision: Precision, device: torch.device) -> str:
    """Say the type of feature maps, and why it is that: 'bfloat16 (auto: this processor computes in it)'."""
    name = str(dtype(precision, device)).removeprefix("torch.")
    if precision == "fp16":
        return f"{name} at the four finest sizes, as asked"
    if precision != "auto":
        return f"{name}, as asked"
    hardware = "GPU" if device.type != "cpu" else "processor"
    reason = "computes in it" if has_bf16(device) else "has no bfloat16 instructions"
    return f"{name} (auto: this {hardware} {reason})"


def keep_memory() -> None:
    """Tell glibc to keep freed memory for this process.

    By default each step returns large tensors to the kernel, and the next one faults them in again page by page.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and "LD_PRELOAD" not in os.environ:
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def deterministic() -> None:
    """Let torch compute only with algorithms that give equal bits on equal machines, or raise where it has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def peak_memory(device: torch.device) -> float:
    """Largest memory use of this process so far, in GiB: allocated on a GPU, else resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    try:
        import resource  # not on Windows
    except ImportError:
        return _peak_without_resource() / GIB
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def _peak_without_resource() -> int:
    """Largest resident set of this process in bytes: as Linux counts it, or psutil on other systems."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    import psutil

    usage = psutil.Process().memory_info()
    return int(getattr(usage, "peak_wset", usage.rss))


def total_memory(device: torch.device) -> float:
    """Memory in GiB: that of a GPU, else the RAM of the machine, or of the container where it has a limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1] / GIB
    return _ram()[0] / GIB


def free_memory(device: torch.device) -> float:
    """Memory in GiB that this process may still take: of a GPU, else of the machine's or container's RAM."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    return _ram()[1] / GIB


def _ram() -> tuple[int, int]:
    """Total and available bytes of RAM, within the limits of the control groups that hold this process."""
    try:
        import psutil  # on Linux it needs the module resource

        machine = psutil.virtual_memory()
        total, available = machine.total, machine.available
    except (OSError, ImportError):  # Linux without /proc
        total = available = UNKNOWN_RAM
    for limit, used in _cgroup_limits():
        total, available = min(total, limit), min(available, max(0, limit - used))
    return total, available


def _cgroup_limits() -> Iterator[tuple[int, int]]:
    """Limit of a Linux control group and the bytes in use, without the page cache that can be dropped."""
    for limit, usage, statistics, cache in CGROUP_FILES:
        with suppress(OSError, ValueError, KeyError):  # no such group, or no limit: "max"
            counts = dict(line.split() for line in (CGROUP / statistics).read_text("ascii").splitlines())
            used = int((CGROUP / usage).read_text("ascii")) - int(counts[cache])
            yield int((CGROUP / limit).read_text("ascii")), used


def is_out_of_memory(err: BaseException) -> bool:
    """Whether an error says that memory ran out; some of torch's are RuntimeErrors: of MPS, of the CPU's allocator."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(err, RuntimeError) and any(word in str(err) for word in words)
