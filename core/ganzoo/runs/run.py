"""A training run, from a checked recipe to its directory. Read `train` first."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
import torch.distributed as dist

from ganzoo.errors import Interrupted, RankLost, UsageError, ZooError
from ganzoo.evaluation.extractors import missing_weights
from ganzoo.interfaces import Dataset, Learner
from ganzoo.io import launch
from ganzoo.io.launch import signals
from ganzoo.io.log import Log
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.inherit import inherit
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.node import Node, versions
from ganzoo.runs import state
from ganzoo.runs.dataset import described, open_data
from ganzoo.runs.estimate import largest_micro_batch
from ganzoo.runs.folder import (
    RunOptions,
    describe,
    folder_of_launch,
    forget_launch,
    new_folder,
    newest,
    remember_launch,
    require_outdir,
    require_same_recipe,
    resume_from,
    set_back,
)
from ganzoo.runs.lock import RunLock
from ganzoo.runs.loop import Run
from ganzoo.training import distributed
from ganzoo.training.device import choose_device, describe_precision, keep_memory


def train(node: Node, options: RunOptions) -> Path:
    """Train what a checked recipe describes, and return the run directory.

    Where torchrun started several processes, each calls this; the first one writes.

    Raises DataError, CheckpointError, UsageError, Diverged, and Interrupted after a signal.
    """
    device = distributed.join_group(choose_device(options.device))
    try:
        with RunLock() as lock:
            return _train(node, options, device, lock)
    except (dist.DistError, RuntimeError) as err:
        if distributed.rank_and_world()[1] > 1 and distributed.is_lost(err):
            raise RankLost("another process of this training ended; its own message says why.") from None
        raise
    finally:
        distributed.leave_group()


def _train(node: Node, options: RunOptions, device: torch.device, lock: RunLock) -> Path:
    # Prepare: the experiment, its images, and a learner that computes as many of them at once as fit.
    distributed.on_first(lambda: require_outdir(options.outdir))
    if device.type == "cpu":
        keep_memory()
    torch.manual_seed(node.value("training").seed)  # initial weights; every step is seeded anew
    experiment = build_experiment(node)
    for metric in experiment.metrics(0):  # a snapshot measures them: what they lack is said before a run begins
        if fault := missing_weights(metric):
            raise fault
    dataset = open_data(experiment)
    micro_batch, notice = None, ""
    if experiment.training.batch_gpu == "auto":
        micro_batch, notice = largest_micro_batch(experiment, device)
    learner = experiment.learner(device)
    learner.micro_batch = micro_batch or learner.micro_batch
    require_equal_shares(learner)

    # Begin with the weights of a state, of another run's snapshot, or fresh ones.
    data = described(dataset)
    header = Header("snapshot", node.dump(), 0, data=data, versions=versions(node))
    start, inherited = _resumed(learner, options, header, lock), None
    if start is None:
        inherited = inherit(learner, options.init_from) if options.init_from else None
        learner.broadcast_weights()

    # Train in the run directory.
    folder = start.parent if start else Path(distributed.on_first(lambda: str(_folder(options, dataset, lock))))
    if start and launch.is_first():  # a new folder is noted before it exists
        remember_launch(options.outdir, folder)
    with (
        _removed_unless_begun(folder, learner, lock),
        Log(
            folder / "log.txt", round(learner.schedule.kimg * 1000), learner.images, silent=not launch.is_first()
        ) as log,
    ):
        run = Run(learner, dataset, folder, header, log, options.watchdog)
        try:
            with signals() as stop:
                if launch.is_first():
                    describe(folder, header.recipe, device, options)
                log.say(_summary(run))
                run.loggers.start(folder, header.recipe, learner.images / 1000 if start else None)
                if start:
                    _log_changes(log, learner, checkpoint.header(start), header, start)
                else:
                    run.begin(inherited)
                if notice:
                    log.say(notice)
                run.loop(options.workers, stop)
        except OSError as err:
            raise ZooError(
                f"{err.filename or folder} cannot be written: {err.strerror or err}. Free some space or choose another "
                "--outdir; what was written before is whole."
            ) from None
        finally:
            run.loggers.close()
    if launch.is_first():
        forget_launch(options.outdir)
    return folder


def _folder(options: RunOptions, dataset: Dataset, lock: RunLock) -> Path:
    """A new run directory; that of this launch, where torchrun started its processes anew before any state."""
    folder = folder_of_launch(options.outdir) or new_folder(options, dataset)
    lock.take(folder)
    return folder


@contextmanager
def _removed_unless_begun(folder: Path, learner: Learner, lock: RunLock) -> Iterator[None]:
    """Remove a run directory where an error ends the training before its first step; it would hold nothing of use.

    That is so where weights of a metric or the package of a logger are missing. A lost process is no such error: the
    training goes on in the directory once all are started anew.
    """
    try:
        yield
    except (ZooError, OSError) as err:
        written = next(chain(newest(folder, "state"), newest(folder, "snapshot")), None)
        if launch.is_first() and not learner.images and not written and not isinstance(err, (Interrupted, RankLost)):
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            forget_launch(folder.parent)
        raise


def require_equal_shares(learner: Learner) -> None:
    """Raise UsageError where a batch of any stage cannot be shared equally among the processes."""
    world = distributed.rank_and_world()[1]
    for batch in sorted(learner.batches()):
        if batch % world:
            error = UsageError(
                f"training.batch: {batch} images cannot be shared equally among {world} processes: choose a multiple "
                f"of {world}, as {-(-batch // world) * world}{', at every stage' * (len(learner.batches()) > 1)}."
            )
            error.on_all_ranks = True
            raise error


def _resumed(learner: Learner, options: RunOptions, header: Header, lock: RunLock) -> Path | None:
    """Load the state that the options mean, if any, and return its path. The first process finds it, all read it."""

    def find() -> str | None:
        path, locked, killed = resume_from(options, header), None, ""
        while path and path.parent != locked:  # another training may have gone on until its run was locked here
            require_same_recipe(checkpoint.header(path), header.recipe, path)
            locked = path.parent
            killed = lock.take(locked)
            path = resume_from(options, header)
        if path and killed:
            with Log(None, 1) as log:
                log.say(f"{path.parent}: an earlier training of this run was killed ({killed}).")
        return str(path) if path else None

    path = distributed.on_first(find)
    if not path:
        return None
    state.restore(learner, Path(path))
    if launch.is_first():
        set_back(Path(path).parent, learner.images)
    return Path(path)


def _summary(run: Run) -> str:
    """A line on images, networks, device and precision."""
    learner, dataset = run.learner, run.dataset
    networks = learner.experiment.networks().items()
    sizes = " and ".join(f"{name} {sum(p.numel() for p in net.parameters()):,}" for name, net in networks)
    precision = describe_precision(learner.schedule.precision, learner.device)
    world = distributed.rank_and_world()[1]
    processes = f" in {world} processes" if world > 1 else ""
    return (
        f"{run.folder}: {len(dataset)} images of {dataset.title}, {sizes} parameters, {learner.device} "
        f"{precision}{processes}."
    )


def _log_changes(log: Log, learner: Learner, before: Header, header: Header, start: Path) -> None:
    """Log from where a run continues, and what keeps it from going on bit by bit as it would have."""
    log.say(f"Continuing {start.parent} from {learner.images / 1000:.1f} kimg.")
    if before.data.get("fingerprint") != header.data["fingerprint"]:
        log.say(f"The images are not those of {start.name}: training goes on, but not as it would have.")
    if (world := distributed.rank_and_world()[1]) != learner.processes:
        log.say(
            f"{start.name} was written by {learner.processes} process{'es' * (learner.processes > 1)}, this is "
            f"{world}: each now sees another part of a batch, so training goes on, but not bit by bit as it would have."
        )
