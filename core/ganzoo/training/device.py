"""Where to compute and how precisely.

Networks compute feature maps in the type that `training.precision` names, with channels last, which convolutions on
tensor cores and oneDNN's on processors want; everything else is float32. Products of float32 run in full float32:
TF32, which CUDA GPUs could use in their place, stays off (`choose` sees to it), since --precision fp32 should mean
what it says and the fast choice is bf16.
"""

import ctypes
import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Literal

import torch

from ganzoo.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
NAME = r"auto|cpu|mps|cuda(:\d+)?"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; "auto" is CUDA, else Apple's MPS, else the processor.

    Raises UsageError where there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        there = ["auto", "cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        there += ["mps"] if torch.backends.mps.is_available() else []
        if not re.fullmatch(NAME, name):
            raise UsageError(
                f"--device {name}: there is no such device: choose auto, cpu, cuda, cuda:1 or mps; of these "
                f"{', '.join(there)} are here."
            ) from None
        raise UsageError(
            f"--device {name}: not available here ({str(err).splitlines()[0][:100]}). Available: {', '.join(there)}."
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
    """The type of feature maps; "auto" is bf16 where the device computes in it, else fp32."""
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return DTYPES[precision]


def describe_precision(precision: Precision, device: torch.device) -> str:
    """The type of feature maps in words, and why it is that: 'bfloat16 (auto: this processor computes in it)'."""
    chosen, it = str(dtype(precision, device)).removeprefix("torch."), "GPU" if device.type != "cpu" else "processor"
    if precision == "fp16":
        return f"{chosen} at the four finest sizes, as asked"
    if precision != "auto":
        return f"{chosen}, as asked"
    return f"{chosen} (auto: this {it} {'computes in it' if has_bf16(device) else 'has no bfloat16 instructions'})"


def keep_memory() -> None:
    """Tell glibc to keep freed memory.

    Else each step returns large tensors to the kernel and faults them in again page by page.
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
    """Most memory used so far, in GiB: of the GPU, or resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30


def free_memory(device: torch.device) -> float:
    """GiB that this process may still take, as far as the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20
    except (OSError, StopIteration):
        free = 4.0
    try:  # a container's limit
        group = Path("/sys/fs/cgroup")
        limit, used, kinds = ((group / f"memory.{it}").read_text("ascii") for it in ("max", "current", "stat"))
        files = next(int(line.split()[1]) for line in kinds.splitlines() if line.startswith("inactive_file"))
        return min(free, (int(limit) - int(used) + files) / 2**30)
    except (OSError, ValueError, StopIteration):  # none: no such file, or 'max' in it
        return free


def is_memory(err: BaseException) -> bool:
    """Whether memory ran out. Also torch's RuntimeErrors: of CUDA, of MPS, of the CPU's allocator."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(err, RuntimeError) and any(word in str(err) for word in words)
