"""Moving average of the generator's weights: the generator that is sampled from."""

import copy

import torch
from torch import nn


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
    """Parameters approach the network's by 1 - decay; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
    for ours, theirs in zip(average.buffers(), net.buffers()):
        ours.copy_(theirs)
