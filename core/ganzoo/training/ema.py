"""Moving average of the generator's weights: the generator that is sampled from."""

import copy

import torch
from torch import Tensor, nn


def beta(batch: int, ema_kimg: float, images: int, rampup: float | None = None) -> float:
    """Decay of one iteration, 0.5^(batch / half-life in images) (arXiv:1812.04948, appendix C).

    Args:
        batch: images of the iteration
        ema_kimg: half-life in thousands of images
        images: images seen before
        rampup: the half-life is at most this fraction of the images seen; None for no such limit
    """
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images * rampup)
    return 0.5 ** (batch / max(half_life, 1e-8))


def copy_of(net: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode, without gradients, to average in."""
    return copy.deepcopy(net).eval().requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move an average towards a network by 1 - decay: parameters, and batch norm's means and variances.

    Other buffers are copied.
    """
    averaged: list[Tensor] = list(average.parameters())
    targets = [p.detach() for p in net.parameters()]
    moving = _moving_statistics(net)
    for (name, mean), buffer in zip(average.named_buffers(), net.buffers()):
        if name in moving and mean.is_floating_point():
            averaged.append(mean)
            targets.append(buffer)
        else:
            mean.copy_(buffer)
    torch._foreach_lerp_(averaged, targets, 1 - decay)


def _moving_statistics(net: nn.Module) -> set[str]:
    """Names of batch norm's running means and variances."""
    norms = [name for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return {f"{norm}.{statistic}" for norm in norms for statistic in ("running_mean", "running_var")}
