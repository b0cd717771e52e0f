"""Several processes work together: each takes a share of the images, and all end with the same numbers.

`torchrun` starts them and says who is who. One process alone is a world of one, in which nothing here does anything:
the code that trains and measures does not ask how many there are.

Gradients are averaged by hand, all of a phase in one all-reduce. Wrappers that average during the backward pass
(DistributedDataParallel) hook into it once, and penalties on gradients run it twice.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from ganzoo.errors import RankLost, UsageError, ZooError
from ganzoo.io.launch import first, launched

Share = tuple[int, int]  # (rank, number of processes)
ALONE: Share = (0, 1)
PATIENCE = timedelta(minutes=30)  # that a process waits for the others: one of them may be writing or measuring


def join_group(device: torch.device) -> torch.device:
    """Meet the other processes, where torchrun started several. Returns this process's own device.

    NCCL carries what lies on GPUs, gloo what lies in memory. Raises UsageError where a machine has too few GPUs.
    """
    if not launched() or dist.is_initialized():
        return device
    if device.type == "cuda":
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise UsageError(f"--nproc-per-node: {local + 1} processes want a GPU each, and this machine has {there}.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    fresh = PrefixStore(_meeting(store, rank, world), store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=world, timeout=PATIENCE)
    return device


def _meeting(store: Store, rank: int, world: int) -> str:
    """A word that these processes share and none before them.

    After a failure torchrun starts processes anew, and the store still holds the addresses of the dead, which the
    living would wait for. So each says hello with a word of its own, and the first one answers exactly that word.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"hello/{rank}", own)
        word = store.get(f"answer/{own}").decode()
        store.set(f"here/{word}/{rank}", "")
        return word
    missing, asked = set(range(1, world)), time.monotonic()
    while missing:
        for other in sorted(missing):
            if store.check([f"hello/{other}"]):
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", own)
        missing = {other for other in missing if not store.check([f"here/{own}/{other}"])}
        if time.monotonic() - asked > PATIENCE.total_seconds():
            raise RankLost(f"{len(missing)} of {world} processes did not come, such as process {min(missing)}.")
        time.sleep(0.02)
    return own


def leave_group() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_and_world() -> Share:
    """(rank, number of processes) of this one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def is_lost(err: BaseException) -> bool:
    """Whether an error says that another process has gone."""
    words = (
        "Connection closed by peer",
        "Connection reset by peer",
        "Connection refused",
        "Broken pipe",
        "NCCL",
        "gloo",
    )
    return isinstance(err, dist.DistError) or any(word in str(err) for word in words)


class _Mean(torch.autograd.Function):
    """The mean over processes. Gradients are averaged over processes later, so here too they are averaged."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        y = x.clone()
        dist.all_reduce(y)
        return y / dist.get_world_size()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return mean(grads[0])


_apart = False  # whether this process tries something by itself


@contextmanager
def local_only() -> Iterator[None]:
    """Within the block `mean` is that of this process: what is computed is only tried, and nobody waits."""
    global _apart
    _apart = True
    try:
        yield
    finally:
        _apart = False


def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes, with its gradient, twice if need be. All must call it together.

    A loss that uses it is, once its gradients are averaged over processes, that of the whole batch.
    """
    return x if _apart or rank_and_world()[1] == 1 else _Mean.apply(x)


@torch.no_grad()
def all_mean_(tensors: Iterable[Tensor]) -> int:
    """Replace tensors by their means over all processes, in one all-reduce. Returns its bytes."""
    found = list(tensors)
    if rank_and_world()[1] == 1 or not found:
        return 0
    total = 0
    for dtype in dict.fromkeys(t.dtype for t in found):
        some = [t for t in found if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in some])
        dist.all_reduce(flat)
        flat /= rank_and_world()[1]
        for t, value in zip(some, flat.split([t.numel() for t in some])):
            t.copy_(value.view_as(t))
        total += flat.numel() * flat.element_size()
    return total


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if rank_and_world()[1] > 1:
        for t in tensors:
            whole = t.contiguous()
            dist.broadcast(whole, 0)
            t.copy_(whole)


def broadcast_text(text: str | None) -> str:
    """What the first process says, on all of them."""
    if rank_and_world()[1] == 1:
        return text or ""
    raw = (text or "").encode()
    size = torch.tensor([len(raw)])
    dist.broadcast(size, 0)
    body = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if first() and raw else torch.zeros(int(size)).byte()
    if int(size):
        dist.broadcast(body, 0)
    return body.numpy().tobytes().decode()


def on_first(work: Callable[[], str | None]) -> str:
    """What the first process finds, on all of them; "" for nothing. Its ZooError is raised by all."""
    if rank_and_world()[1] == 1:
        return work() or ""
    answer = ""
    if first():
        try:
            answer = f"found {work() or ''}"
        except ZooError as err:
            answer = f"{type(err).__name__} {err}"
    kind, _, text = broadcast_text(answer).partition(" ")
    if kind == "found":
        return text
    found = next((c for c in _errors(ZooError) if c.__name__ == kind), ZooError)(text)
    found.on_all_ranks = True
    if first():
        time.sleep(1)  # until the others have heard it: to them this process would seem to have died
    raise found


def _errors(cls: type[ZooError]) -> list[type[ZooError]]:
    return [cls, *(c for below in cls.__subclasses__() for c in _errors(below))]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    return all_max(int(flag)) > 0


def all_max(number: int) -> int:
    """The greatest of all processes' numbers."""
    if rank_and_world()[1] == 1:
        return number
    found = torch.tensor([number])
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)
