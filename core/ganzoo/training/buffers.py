"""Buffers that a step changes: alike in all processes after it, and as before where the step is taken back."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ganzoo.training import distributed
from ganzoo.training.statistics import Statistics


class BufferSync:
    """Averages over processes what modules keep of their batches, such as moving means.

    Args:
        buffers: returns the buffers to average; called anew each time
    """

    def __init__(self, buffers: Callable[[], Iterable[Tensor]]) -> None:
        self._buffers = buffers
        self._synced: dict[int, int] = {}  # version of each buffer, by its id, when all processes had the same numbers

    def average(self) -> None:
        """Average the buffers that have changed since all processes had the same.

        The others are left: an average of equal numbers need not be that number.
        """
        if distributed.rank_and_world()[1] == 1:
            return
        distributed.all_mean_(b for b in self._buffers() if self._synced.get(id(b)) != b._version)
        self.mark()

    def mark(self) -> None:
        """Take the buffers as alike in all processes."""
        self._synced = {id(b): b._version for b in self._buffers()}


class SideEffects:
    """Snapshot of what a computation may change beside gradients, to put it back.

    Args:
        buffers: those that may change
        statistics: what it may log to
        device: whose random state it may advance, beside the CPU's
    """

    def __init__(self, buffers: Iterable[Tensor], statistics: Statistics, device: torch.device) -> None:
        self._buffers = [(b, b.clone()) for b in buffers]
        self._statistics = statistics
        self._lengths = statistics.lengths()
        self._device = device
        self._cpu_rng = torch.get_rng_state()
        self._cuda_rng = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @torch.no_grad()
    def undo(self) -> None:
        """Put everything back as it was."""
        for buffer, before in self._buffers:
            buffer.copy_(before)
        self._statistics.truncate(self._lengths)
        torch.set_rng_state(self._cpu_rng)
        if self._cuda_rng is not None:
            torch.cuda.set_rng_state(self._cuda_rng, self._device)
