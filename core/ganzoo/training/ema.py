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
        rampup: the half-life is at most this fraction of the images seen
    """
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images * rampup)
    return 0.5 ** (batch / max(half_life, 1e-8))


def follower(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode that does not learn."""
    return copy.deepcopy(net).eval().requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Parameters, and the statistics that batch norm keeps of them, approach the network's by 1 - decay.

    Other buffers are copied.
    """
    ours: list[Tensor] = list(average.parameters())
    theirs = [p.detach() for p in net.parameters()]
    statistics = _statistics(net)
    for (name, mine), buffer in zip(average.named_buffers(), net.buffers()):
        if name in statistics and mine.is_floating_point():
            ours.append(mine)
            theirs.append(buffer)
        else:
            mine.copy_(buffer)
    torch._foreach_lerp_(ours, theirs, 1 - decay)


def _statistics(net: nn.Module) -> set[str]:
    """Names of batch norm's running means and variances."""
    norms = [name for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return {f"{name}.{kind}" for name in norms for kind in ("running_mean", "running_var")}
