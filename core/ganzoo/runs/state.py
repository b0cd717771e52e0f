"""All that training continues from, as one safetensors file."""

from pathlib import Path

import torch

from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Learner, Stage
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header, Tensors
from ganzoo.training import distributed


def tensors(learner: Learner) -> Tensors:
    """Weights and buffers of every module, Adam's moments, and the stage of the last step."""
    found: Tensors = {
        "stage": torch.tensor([learner.stage.level, learner.stage.alpha], dtype=torch.float64),
        "reloads": torch.tensor(learner.reloads),
        "processes": torch.tensor(distributed.rank_and_world()[1]),
        "part": torch.tensor(learner.micro_batch or 0),
    }
    for prefix, module in learner.modules().items():
        found |= checkpoint.prefixed(prefix, module)
    for network, optimizer in learner.optimizers.items():
        for name, parameter in learner.nets[network].named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                found[f"adam.{network}.{key}:{name}"] = value
    return found


def restore(learner: Learner, path: Path) -> Header:
    """Put a state into a fresh learner of the same recipe. Raises CheckpointError where they do not fit."""
    head, found = checkpoint.read(path)
    if head.kind != "state":
        raise CheckpointError(
            f"{path} is a {head.kind}; training continues from a state-*.safetensors of a run directory."
        )
    for prefix, module in learner.modules().items():
        checkpoint.load_weights(module, found, prefix, path)
    for optimizer in learner.optimizers.values():
        optimizer.state.clear()
    parameters = {
        (network, name): p for network in learner.nets for name, p in learner.nets[network].named_parameters()
    }
    for entry, value in found.items():
        if entry.startswith("adam."):
            place, _, name = entry.partition(":")
            _, network, key = place.split(".")
            parameter, optimizer = parameters[network, name], learner.optimizers[network]
            if key == "step":  # fused Adam counts on the parameter's device, plain Adam on the CPU
                own = value.to(parameter.device if optimizer.defaults["fused"] else "cpu")
            else:  # in the parameter's memory format, so that the arithmetic is that of an unbroken run
                own = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key] = own
    level, alpha = found["stage"].tolist()
    learner.stage = Stage(int(level), alpha)
    learner.images, learner.iteration = head.images, head.iteration
    learner.reloads, learner.processes = int(found["reloads"]), int(found["processes"])
    learner.micro_batch = int(found["part"]) or None
    learner.mark_synced()
    return head
