"""Several processes that work together: each takes a share of the images, and all end with the same numbers.

`torchrun` starts them and gives each its rank. A single process is a world of one, in which the collectives here return
at once: code that trains or measures need not ask how many processes there are.

Gradients are averaged by hand, all of a phase in one all-reduce. Wrappers that average during the backward pass
(DistributedDataParallel) hook into it once, and penalties on gradients run it twice.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before any group exists: see `leave_group`
from safetensors.torch import load, save
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from ganzoo.errors import RankLost, UsageError, ZooError
from ganzoo.io.launch import STORE_FILE, is_distributed, is_first

RankAndWorld = tuple[int, int]  # (rank, number of processes)
ONE_PROCESS: RankAndWorld = (0, 1)
TIMEOUT = timedelta(minutes=30)  # for collectives; the first process may write or measure meanwhile
DONE = "done"  # begins the first process's answer where it raised no error, in place of the error's name


def join_group(device: torch.device) -> torch.device:
    """Join the process group, where torchrun started several processes. Returns this process's own device.

    NCCL exchanges tensors on GPUs, gloo those in main memory. Raises UsageError where a machine has too few GPUs, and
    RankLost where a process does not come.
    """
    if not is_distributed() or dist.is_initialized():
        return device
    if device.type == "cuda":
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise UsageError(
                f"--gpus: {local_rank + 1} processes want a GPU each, and this machine has {gpus}: start at "
                f"most {gpus}, or choose --device cpu."
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    store, rank, world = _store()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    return device


def _store() -> tuple[Store, int, int]:
    """Return the store through which the processes find each other, this one's rank, and their number.

    For `gz train --gpus` it is a file, so that nothing listens on the network. torchrun's own store listens on every
    interface, which is for private networks.
    """
    if path := os.environ.get(STORE_FILE):
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return dist.FileStore(path, world), rank, world  # type: ignore[attr-defined]
    store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
    return PrefixStore(_group_id(store, rank, world), store), rank, world


def _group_id(store: Store, rank: int, world: int) -> str:
    """Agree on a random id that no earlier group of the same launch had.

    After a failure torchrun starts processes anew with the same store, which still holds the addresses of the old ones;
    the new ones would wait for those. So each rank writes a random id under its rank, the first one answers that very
    id with its own, and the rank confirms. What earlier processes left is never answered or never confirmed.
    """
    own_id = uuid.uuid4().hex
    if rank:
        store.set(f"hello/{rank}", own_id)
        group_id = store.get(f"answer/{own_id}").decode()
        store.set(f"here/{group_id}/{rank}", "")
        return group_id
    missing, began = set(range(1, world)), time.monotonic()
    while missing:
        for other in sorted(missing):
            if store.check([f"hello/{other}"]):
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", own_id)
        missing = {other for other in missing if not store.check([f"here/{own_id}/{other}"])}
        if time.monotonic() - began > TIMEOUT.total_seconds():
            raise RankLost(
                f"{len(missing)} of {world} processes did not start, such as process {min(missing)}: see their own "
                f"messages, and start all anew."
            )
        time.sleep(0.02)
    return own_id


def leave_group() -> None:
    """Leave the process group, if there is one, and end its threads, which would abort a process that ends.

    Functions of torch.distributed.nn.functional have the group of the moment of its import as a default argument.
    Imported after joining, as torch's optimizers do, it would keep group and threads.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_and_world() -> RankAndWorld:
    """Return this process's rank, and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ONE_PROCESS


def is_lost(err: BaseException) -> bool:
    """Whether an error says that another process has ended."""
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
    """The mean over processes, whose gradients are averaged too, as those of all parameters are later."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        y = x.clone()
        dist.all_reduce(y)
        return y / dist.get_world_size()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return mean(grads[0])


_local_only = False  # whether `mean` leaves the other processes out


@contextmanager
def local_only() -> Iterator[None]:
    """Make `mean` return this process's own value within the block, without waiting for the others, for a trial."""
    global _local_only
    _local_only = True
    try:
        yield
    finally:
        _local_only = False


def mean(x: Tensor) -> Tensor:
    """Mean of a tensor over all processes, differentiable twice. All must call it together.

    A loss that uses it is, once its gradients are averaged over processes, that of the whole batch.
    """
    return x if _local_only or rank_and_world()[1] == 1 else _Mean.apply(x)


@torch.no_grad()
def all_mean_(tensors: Iterable[Tensor]) -> int:
    """Replace tensors by their means over all processes, in one all-reduce a dtype. Returns the bytes exchanged."""
    given = list(tensors)
    world = rank_and_world()[1]
    if world == 1 or not given:
        return 0
    nbytes = 0
    for dtype in dict.fromkeys(t.dtype for t in given):
        alike = [t for t in given if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in alike])
        dist.all_reduce(flat)
        flat /= world
        for t, value in zip(alike, flat.split([t.numel() for t in alike])):
            t.copy_(value.view_as(t))
        nbytes += flat.numel() * flat.element_size()
    return nbytes


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if rank_and_world()[1] > 1:
        for t in tensors:
            contiguous = t.contiguous()
            dist.broadcast(contiguous, 0)
            t.copy_(contiguous)


def broadcast_text(text: str | None) -> str:
    """Return the first process's text on all of them; "" for None."""
    if rank_and_world()[1] == 1:
        return text or ""
    raw = (text or "").encode()
    size = torch.tensor([len(raw)])
    dist.broadcast(size, 0)
    body = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if is_first() and raw else torch.zeros(int(size)).byte()
    if int(size):
        dist.broadcast(body, 0)
    return body.numpy().tobytes().decode()


def on_first(work: Callable[[], str | None]) -> str:
    """Run `work` in the first process, and return its text on all of them; "" for None. All raise its ZooError."""
    if rank_and_world()[1] == 1:
        return work() or ""
    answer = ""
    if is_first():
        try:
            answer = f"{DONE} {work() or ''}"
        except ZooError as err:
            answer = f"{type(err).__name__} {err}"
    kind, _, text = broadcast_text(answer).partition(" ")
    if kind == DONE:
        return text
    error = next((cls for cls in _subclasses(ZooError) if cls.__name__ == kind), ZooError)(text)
    error.on_all_ranks = True
    if is_first():
        time.sleep(1)  # until the others have received it: they would take this process's end for a failure
    raise error


def _subclasses(cls: type[ZooError]) -> list[type[ZooError]]:
    return [cls, *(c for below in cls.__subclasses__() for c in _subclasses(below))]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return all_max(int(flag)) > 0


def all_max(number: int) -> int:
    """The largest of all processes' numbers."""
    if rank_and_world()[1] == 1:
        return number
    largest = torch.tensor([number])
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def all_gather(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return every process's tensors, in order of their ranks, exchanged as the bytes of safetensors files.

    All must call it together; names, shapes and dtypes may differ. Where there are several, all are on the CPU.
    """
    world = rank_and_world()[1]
    if world == 1:
        return [dict(tensors)]
    raw = torch.frombuffer(bytearray(save({k: t.contiguous() for k, t in tensors.items()})), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(raw)]))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([raw, torch.zeros(longest - len(raw), dtype=torch.uint8)])
    files = [torch.empty(longest, dtype=torch.uint8) for _ in range(world)]
    dist.all_gather(files, padded)
    return [load(file[: int(size)].numpy().tobytes()) for file, size in zip(files, sizes)]
