"""A training run, from a checked recipe to its directory."""

from pathlib import Path

import torch
import torch.distributed as dist

from ganzoo.errors import RankLost, UsageError, ZooError
from ganzoo.interfaces import Dataset, Learner
from ganzoo.io import launch
from ganzoo.io.interrupts import signals
from ganzoo.io.log import Log
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.model.inherit import inherit
from ganzoo.model.restore import build_experiment as build
from ganzoo.recipe.node import Node, versions
from ganzoo.runs import state
from ganzoo.runs.dataset import open_data
from ganzoo.runs.estimate import largest_micro_batch
from ganzoo.runs.folder import (
    RunOptions,
    folder_of_launch,
    forget_launch,
    new_folder,
    remember_launch,
    require_outdir,
    require_same_recipe,
    resume_from,
    set_back,
)
from ganzoo.runs.loop import Run
from ganzoo.training import distributed
from ganzoo.training.device import choose_device, keep_memory


def train(node: Node, options: RunOptions) -> Path:
    """Train what a checked recipe describes, and return the run directory.

    Where torchrun started several processes, each calls this; the first one writes.

    Raises DataError, CheckpointError, UsageError, Diverged, and Interrupted after a signal.
    """
    device = distributed.join_group(choose_device(options.device))
    try:
        return _train(node, options, device)
    except (dist.DistError, RuntimeError) as err:
        if distributed.rank_and_world()[1] > 1 and distributed.is_lost(err):
            raise RankLost("another process of this training ended; its own message says why.") from None
        raise
    finally:
        distributed.leave_group()


def _train(node: Node, options: RunOptions, device: torch.device) -> Path:
    distributed.on_first(lambda: require_outdir(options.outdir))
    if device.type == "cpu":
        keep_memory()
    torch.manual_seed(node.value("training").seed)  # initial weights; every step is seeded anew
    experiment = build(node)
    dataset = open_data(experiment)
    part, notice = largest_micro_batch(experiment, device) if experiment.training.batch_gpu == "auto" else (None, "")
    learner = experiment.learner(device)
    learner.micro_batch = part or learner.micro_batch
    require_equal_shares(learner)
    data = {"title": dataset.title, "images": len(dataset), "fingerprint": dataset.fingerprint()}
    head = Header("snapshot", node.dump(), 0, data=data, versions=versions(node))
    start = _resumed(learner, options, head)
    begun = inherit(learner, options.init_from) if options.init_from and start is None else None
    if start is None:
        learner.share_start()
    folder = start.parent if start else Path(distributed.on_first(lambda: str(_folder(options, dataset))))
    if launch.first():
        remember_launch(options.outdir, folder)
    with Log(folder / "log.txt", round(learner.schedule.kimg * 1000), learner.images, silent=not launch.first()) as log:
        run = Run(learner, dataset, folder, head, log, options.watchdog)
        try:
            with signals() as stop:
                run.describe(options)
                run.loggers.start(folder, head.recipe, learner.images / 1000 if start else None)
                if start:
                    _say_what_changed(log, learner, checkpoint.header(start), head, start)
                else:
                    run.begin(begun)
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
    if launch.first():
        forget_launch(options.outdir)
    return folder


def _folder(options: RunOptions, dataset: Dataset) -> Path:
    """A new run directory; the one that this launch has already made, where it was started anew before any state."""
    return folder_of_launch(options.outdir) or new_folder(options, dataset)


def require_equal_shares(learner: Learner) -> None:
    """Raise UsageError where a batch of any stage cannot be shared equally among the processes."""
    count = distributed.rank_and_world()[1]
    for batch in sorted(learner.batches()):
        if batch % count:
            fault = UsageError(
                f"training.batch: {batch} images cannot be shared equally among {count} processes: choose a multiple "
                f"of {count}, as {-(-batch // count) * count}{', at every stage' * (len(learner.batches()) > 1)}."
            )
            fault.on_all_ranks = True
            raise fault


def _resumed(learner: Learner, options: RunOptions, head: Header) -> Path | None:
    """Continue from the state that is meant, if any: the first process finds it, all read it."""

    def find() -> str | None:
        found = resume_from(options, head)
        if found:
            require_same_recipe(checkpoint.header(found), head.recipe, found)
        return str(found) if found else None

    told = distributed.on_first(find)
    if not told:
        return None
    state.restore(learner, Path(told))
    if launch.first():
        set_back(Path(told).parent, learner.images)
    return Path(told)


def _say_what_changed(log: Log, learner: Learner, before: Header, head: Header, start: Path) -> None:
    log.say(f"Continuing {start.parent} from {learner.images / 1000:.1f} kimg.")
    if before.data.get("fingerprint") != head.data["fingerprint"]:
        log.say(f"The images are not those of {start.name}: training goes on, but not as it would have.")
    if (now := distributed.rank_and_world()[1]) != learner.processes:
        log.say(
            f"{start.name} was written by {learner.processes} process{'es' * (learner.processes > 1)}, this is "
            f"{now}: each now sees another part of a batch, so training goes on, but not bit by bit as it would have."
        )
