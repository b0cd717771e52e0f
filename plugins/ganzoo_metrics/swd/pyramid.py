"""The Laplacian pyramid of Burt and Adelson (1983), whose levels the sliced Wasserstein distance looks at one by one.

G_0 = image,  G_{k+1} = down(G_k),  L_k = G_k - up(G_{k+1}),  and the last level is the last G itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.types import Size

MIN_SIDE = 16


def _taps(x: Tensor, dim: int, step: int) -> Tensor:
    """Filter with [1, 4, 6, 4, 1] / 16 along one axis and keep every step-th sample; x has two border samples a side.

    Each product is rounded before it is added. A fused multiply-add, which torch may use in the body of a tensor but
    not in its tail, would let an image's last bit depend on its place in the batch.
    """
    keep = (slice(None),) * dim + (slice(None, None, step),)
    a, b, c, d, e = (x.narrow(dim, i, x.shape[dim] - 4)[keep] for i in range(5))
    return (a + e).add_((b + d).mul_(4)).add_(c * 6).mul_(1 / 16)


def _blur(x: Tensor, step: int) -> Tensor:
    """5x5 binomial filter with mirror borders (the edge is not repeated)."""
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    return _taps(_taps(padded, 2, step), 3, step)  # rows first: halving them is free of strided reads


def pyr_down(x: Tensor) -> Tensor:
    """Blur and keep the even samples: [N, C, H, W] -> [N, C, ceil(H / 2), ceil(W / 2)]; H and W at least 3."""
    return _blur(x, step=2)


def _spread(x: Tensor, dim: int, size: int) -> Tensor:
    """Put zeros between the samples along one axis, then filter with gain 2: [1, 6, 1] / 8 and [1, 1] / 2 in turn.

    Borders mirror the fine samples, zeros included.
    """
    n = x.shape[dim]
    before, after = x.narrow(dim, 1, 1), x.narrow(dim, n - 1 - size % 2, 1)
    a, b, c = (torch.cat([before, x, after], dim).narrow(dim, i, n) for i in range(3))
    fine = x.new_empty([*x.shape[:dim], size, *x.shape[dim + 1 :]])
    at = (slice(None),) * dim
    fine[(*at, slice(0, None, 2))] = (a + c).add_(b * 6).mul_(1 / 8)
    fine[(*at, slice(1, None, 2))] = (b + c).narrow(dim, 0, size // 2).mul_(1 / 2)
    return fine


def pyr_up(x: Tensor, size: Size) -> Tensor:
    """Put the samples of [N, C, h, w] at the even places of zeros [N, C, H, W], then blur with gain 4.

    Args:
        x: coarse images
        size: (H, W) of the result, at least 3 each, with h = ceil(H / 2) and w = ceil(W / 2)
    """
    return _spread(_spread(x, 3, size[1]), 2, size[0])


def pyramid_sizes(size: Size, min_side: int = MIN_SIDE) -> list[Size]:
    """(height, width) of each level, fine to coarse: halves, rounded up, whose shorter side is at least min_side."""
    sizes = [size]
    while min(coarser := ((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2)) >= min_side:
        sizes.append(coarser)
    return sizes


def laplacian_pyramid(images: Tensor, min_side: int = MIN_SIDE) -> list[Tensor]:
    """Laplacian pyramid, fine to coarse (arXiv:1710.10196, section 5).

    Args:
        images: float32 [N, C, H, W] of any range, any number of channels, square or not; left as they are
        min_side: the shorter side of the coarsest level is at least this, itself at least 2

    Returns:
        [N, C, H, W], [N, C, ceil(H / 2), ceil(W / 2)], ...; smaller images than min_side have one level, themselves
    """
    levels = []
    current = images
    for size in pyramid_sizes((images.shape[2], images.shape[3]), min_side)[:-1]:
        coarser = pyr_down(current)
        levels.append(current - pyr_up(coarser, size))  # not in place: current is, at first, the caller's images
        current = coarser
    return [*levels, current]
