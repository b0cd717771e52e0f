"""All that training continues from, as one safetensors file."""

from pathlib import Path

import torch

from ganzoo import checkpoint
from ganzoo.checkpoint import Header, Tensors
from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Stage
from ganzoo.trainer import Trainer


def tensors(trainer: Trainer) -> Tensors:
    """Weights and buffers of every module, Adam's moments, and the stage of the last step."""
    found: Tensors = {"stage": torch.tensor([trainer.stage.level, trainer.stage.alpha], dtype=torch.float64)}
    for prefix, module in _modules(trainer).items():
        found |= checkpoint.prefixed(prefix, module)
    for who, optimizer in trainer.optimizers.items():
        for name, parameter in trainer.nets[who].named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                found[f"adam.{who}.{key}:{name}"] = value
    return found


def restore(trainer: Trainer, path: Path) -> Header:
    """Put a state into a freshly built trainer of the same recipe. Raises CheckpointError where they do not fit."""
    head, found = checkpoint.read(path)
    if head.kind != "state":
        raise CheckpointError(
            f"{path} is a {head.kind}; training continues from a state-*.safetensors of a run directory."
        )
    for prefix, module in _modules(trainer).items():
        checkpoint.fill(module, found, prefix, path)
    parameters = {(who, name): p for who in trainer.nets for name, p in trainer.nets[who].named_parameters()}
    for entry, value in found.items():
        if entry.startswith("adam."):
            place, _, name = entry.partition(":")
            _, who, key = place.split(".")
            parameter, optimizer = parameters[who, name], trainer.optimizers[who]  # type: ignore[index]
            if key == "step":  # fused Adam counts on the parameter's device, plain Adam on the CPU
                own = value.to(parameter.device if optimizer.defaults["fused"] else "cpu")
            else:  # in the parameter's memory format, so that the arithmetic is that of an unbroken run
                own = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key] = own
    level, alpha = found["stage"].tolist()
    trainer.stage = Stage(int(level), alpha)
    trainer.images, trainer.iteration = head.images, head.iteration
    return head


def _modules(trainer: Trainer) -> dict[str, torch.nn.Module]:
    modules = {
        "G": trainer.G,
        "D": trainer.D,
        "G_ema": trainer.G_ema,
        "loss": trainer.loss,
        "regularizers": trainer.regularizers,
    }
    return modules | ({"augment": trainer.experiment.augment} if trainer.experiment.augment else {})
