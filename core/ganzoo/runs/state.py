"""All that training continues from, as one safetensors file.

Keys of its tensors, beside the weights and buffers of `Learner.modules()` under their prefixes:

    adam.NETWORK.KEY:PARAMETER  Adam's moments and step counts
    stage                       [level, alpha] of the last step, float64
    reloads                     how often training went back to a state
    processes                   how many wrote the state
    part                        images computed at once (`Learner.micro_batch`); 0 for all
    logged.PROCESS.NAME         float32 [T], a statistic's values since the last tick, where there are any
"""

from pathlib import Path

import torch

from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Learner, Stage
from ganzoo.io.files import quoted
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header, Tensors
from ganzoo.training import distributed
from ganzoo.training.learner import GradientLearner


def tensors(learner: Learner, statistics: Tensors | None = None) -> Tensors:
    """Return weights and buffers of every module, Adam's moments, and the learner's counters.

    Args:
        learner: the training
        statistics: as `logged_by_all` gives them; None for none
    """
    state: Tensors = {
        **(statistics or {}),
        "stage": torch.tensor([learner.stage.level, learner.stage.alpha], dtype=torch.float64),
        "reloads": torch.tensor(learner.reloads),
        "processes": torch.tensor(distributed.rank_and_world()[1]),
        "part": torch.tensor(learner.micro_batch or 0),
    }
    for prefix, module in learner.modules().items():
        state |= checkpoint.prefixed(prefix, module)
    for network, optimizer in learner.optimizers.items():
        for name, parameter in learner.nets[network].named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                state[f"adam.{network}.{key}:{name}"] = value
    return state


def logged(learner: Learner) -> Tensors:
    """Return the values of each statistic since the last report, float32 [T]; none of a learner that keeps others."""
    return learner.stats.logged() if isinstance(learner, GradientLearner) else {}


def log_again(learner: Learner, values: Tensors) -> None:
    """Put back what `logged` gave."""
    if isinstance(learner, GradientLearner):
        learner.stats.log_again(values)


def logged_by_all(learner: Learner) -> Tensors:
    """Return `logged` of every process, as a state holds it. All call it together."""
    each = distributed.all_gather(logged(learner))
    return {f"logged.{process}.{name}": t for process, values in enumerate(each) for name, t in values.items()}


def restore(learner: Learner, path: Path) -> Header:
    """Load a state into a learner of the same recipe. Raises CheckpointError where they do not fit."""
    header, state = checkpoint.read(path)
    if header.kind != "state":
        raise CheckpointError(
            f"{path} is a {header.kind}; training continues from a state-*.safetensors of a run directory. To begin "
            f"a new run with its weights, say '--init-from {quoted(path)}' in place of --resume."
        )
    for prefix, module in learner.modules().items():
        checkpoint.load_weights(module, state, prefix, path)
    _restore_optimizers(learner, state)
    level, alpha = state["stage"].tolist()
    learner.stage = Stage(int(level), alpha)
    learner.images = header.images
    learner.iteration = header.iteration
    learner.reloads = int(state["reloads"])
    learner.processes = int(state["processes"])
    learner.micro_batch = int(state["part"]) or None
    learner.after_restore()
    prefix = f"logged.{distributed.rank_and_world()[0] % learner.processes}."
    values = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    log_again(learner, {name: t.to(learner.device) for name, t in values.items()})
    return header


def _restore_optimizers(learner: Learner, state: Tensors) -> None:
    for optimizer in learner.optimizers.values():
        optimizer.state.clear()
    parameters = {(network, name): p for network, net in learner.nets.items() for name, p in net.named_parameters()}
    for entry, value in state.items():
        if not entry.startswith("adam."):
            continue
        place, _, name = entry.partition(":")
        _, network, key = place.split(".")
        parameter, optimizer = parameters[network, name], learner.optimizers[network]
        if key == "step":  # fused Adam counts on the parameter's device, plain Adam on the CPU
            moment = value.to(parameter.device if optimizer.defaults["fused"] else "cpu")
        else:  # in the parameter's memory format, so that the arithmetic is that of an unbroken run
            moment = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][key] = moment
