"""Resampling by its definition, in the general form of NVlabs/stylegan2-ada-pytorch's operations.

Slow, differentiated by autograd, and the reference of the three cases that `ganzoo.nn.resample` has.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Pad = tuple[int, int, int, int]  # left, right, top, bottom on the upsampled grid; negative crops


def pair(v: int | Sequence[int]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else (v[0], v[1])


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Pad = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Tensor:
    """Insert zeros, pad, filter, keep every down-th pixel.

    Args:
        x: [N, C, H, W]
        f: [kh, kw], or [k] for a separable filter; None for the identity
        up: factor, or (x, y)
        down: factor, or (x, y)
        padding: on the upsampled grid
        gain: factor of the filter
        flip: correlate instead of convolve
    """
    n, c, h, w = x.shape
    (up_x, up_y), (down_x, down_y) = pair(up), pair(down)
    z = F.pad(x.reshape(n, c, h, 1, w, 1), [0, up_x - 1, 0, 0, 0, up_y - 1]).reshape(n, c, h * up_y, w * up_x)
    f = torch.ones(1, dtype=x.dtype) if f is None else f.to(x.dtype)
    f = torch.outer(f, f) if f.ndim == 1 else f
    f = f if flip else f.flip([0, 1])
    y = F.conv2d(F.pad(z, list(padding)), (f * gain).expand(c, 1, -1, -1), groups=c)
    return y[:, :, ::down_y, ::down_x]


def conv2d_resample(
    x: Tensor,
    weight: Tensor,
    f: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Pad = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Tensor:
    """Upsample and filter, convolve, filter and downsample; all padding comes first.

    Args:
        x: [N, I, H, W]
        weight: [O, I / groups, kh, kw]
        f: [n, n] or [n], of either resampling; None for the identity
        up: factor
        down: factor
        padding: of the convolution, on the upsampled grid
        groups: of the convolution
        flip_weight: correlate with the weight; False convolves
        flip_filter: correlate with the filter
    """
    fw, fh = (1, 1) if f is None else (f.shape[-1], f.shape[0])
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    if up > 1:
        left, right = left + (fw + up - 1) // 2, right + (fw - up) // 2
        top, bottom = top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right = left + (fw - down + 1) // 2, right + (fw - down) // 2
        top, bottom = top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pad = (left, right, top, bottom)
    x = upfirdn2d(x, f if up > 1 else None, up=up, padding=pad, gain=up**2, flip=flip_filter)
    x = F.conv2d(x, weight if flip_weight else weight.flip([2, 3]), groups=groups)
    return upfirdn2d(x, f, down=down, flip=flip_filter) if down > 1 else x
