"""Resampling by FIR filters: upfirdn2d, and convolutions that double or halve the size.

The order of the definitions (spec of arXiv:1912.04958's networks): insert zeros, pad, filter (true convolution), keep every
down-th sample. `upfirdn2d` is that, literally; the functions below it are the same in fewer operations.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.types import Maps

Taps = tuple[float, ...]
Pad = tuple[int, int, int, int]  # left, right, top, bottom on the upsampled grid; negative crops


@lru_cache(maxsize=256)
def _filter(taps: Taps, dtype: torch.dtype, device: torch.device) -> Tensor:
    f = torch.tensor(taps, dtype=torch.float64)
    f = torch.outer(f, f)
    return (f / f.sum()).to(dtype).to(device)


def fir(taps: Taps, like: Tensor) -> Tensor:
    """outer(taps, taps) with sum 1, [n, n], in the type and place of `like`."""
    return _filter(taps, like.dtype, like.device)


def _pair(v: int | Sequence[int]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else (v[0], v[1])


def _insert_zeros(x: Maps, up_x: int, up_y: int) -> Maps:
    n, c, h, w = x.shape
    return F.pad(x.reshape(n, c, h, 1, w, 1), [0, up_x - 1, 0, 0, 0, up_y - 1]).reshape(n, c, h * up_y, w * up_x)


def _depthwise(x: Maps, f: Tensor, stride: tuple[int, int] = (1, 1)) -> Maps:
    """Correlate every map with f, [kh, kw]."""
    c = x.shape[1]
    return F.conv2d(x, f[None, None].expand(c, 1, -1, -1), stride=stride, groups=c)


def upfirdn2d(x: Maps, f: Tensor | None, *, up: int | Sequence[int] = 1, down: int | Sequence[int] = 1, padding: Pad = (0, 0, 0, 0),
              gain: float = 1.0, flip: bool = False) -> Maps:
    """Upsample by zeros, pad, filter, downsample.

    Args:
        x: [N, C, H, W]
        f: [kh, kw], or [k] for a separable filter, or None for none
        up: factor, or (x, y)
        down: factor, or (x, y)
        padding: (left, right, top, bottom) on the upsampled grid; negative crops
        gain: factor of the filter
        flip: correlate instead of convolve

    Returns:
        [N, C, (H * up + top + bottom - kh) // down + 1, ...]
    """
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    if (up_x, up_y) != (1, 1):
        x = _insert_zeros(x, up_x, up_y)
    if any(padding):
        x = F.pad(x, list(padding))
    f = torch.ones(1, 1, dtype=x.dtype, device=x.device) if f is None else f.to(x.dtype)
    f = f * gain ** (f.ndim / 2)
    f = f if flip else f.flip(list(range(f.ndim)))
    if f.ndim == 1:  # separable
        return _depthwise(_depthwise(x, f[None, :], (1, down_x)), f[:, None], (down_y, 1))
    return _depthwise(x, f, (down_y, down_x))


def upsample(x: Maps, taps: Taps) -> Maps:
    """Double the size. (1, 1) is nearest neighbour, (1, 3, 3, 1) linear interpolation with darkened borders."""
    if taps == (1, 1):
        return F.interpolate(x, scale_factor=2, mode="nearest")
    # Zero insertion and an FIR filter are one transposed convolution; n even puts its crop at n/2 - 1 on each side.
    n, c = len(taps), x.shape[1]
    if n % 2 == 0:
        return F.conv_transpose2d(x, (fir(taps, x) * 4)[None, None].expand(c, 1, -1, -1), stride=2, padding=n // 2 - 1, groups=c)
    lo, hi = (n + 1) // 2, (n - 2) // 2
    return upfirdn2d(x, fir(taps, x), up=2, padding=(lo, hi, lo, hi), gain=4)


def downsample(x: Maps, taps: Taps) -> Maps:
    """Halve the size. (1, 1) is the mean of 2x2 pixels."""
    if taps == (1, 1):
        return F.avg_pool2d(x, 2)
    n = len(taps)
    lo, hi = (n - 1) // 2, (n - 2) // 2
    if lo == hi:
        f = fir(taps, x).flip([0, 1])
        return F.conv2d(x, f[None, None].expand(x.shape[1], 1, -1, -1), stride=2, padding=lo, groups=x.shape[1])
    return upfirdn2d(x, fir(taps, x), down=2, padding=(lo, hi, lo, hi))


def conv2d_resample(x: Maps, weight: Tensor, f: Tensor | None = None, *, up: int = 1, down: int = 1, padding: int | Pad = 0, groups: int = 1,
                    flip_weight: bool = True, flip_filter: bool = False) -> Maps:
    """A convolution that also resamples; the size changes by exactly up / down when padding is (k - 1) / 2.

    Args:
        x: [N, I, H, W]
        weight: [O, I / groups, kh, kw]
        f: resampling filter, [n, n] or [n]; None for none
        up: upsampling factor; the convolution then runs on the upsampled grid
        down: downsampling factor
        padding: of the convolution, on the upsampled grid
        groups: of the convolution
        flip_weight: correlation, as torch convolves; False is true convolution
        flip_filter: correlate with the filter
    """
    kh, kw = weight.shape[2:]
    fw, fh = (1, 1) if f is None else (f.shape[-1], f.shape[0])
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    if up > 1:
        left, right, top, bottom = left + (fw + up - 1) // 2, right + (fw - up) // 2, top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right, top, bottom = left + (fw - down + 1) // 2, right + (fw - down) // 2, top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pad: Pad = (left, right, top, bottom)

    if up == down == 1 and left == right >= 0 and top == bottom >= 0:  # nothing to resample
        return _conv(x, weight, groups, flip_weight, padding=(top, left))
    if kh == kw == 1 and down > 1 and up == 1:  # filter and decimate first: the convolution sees a quarter of the pixels
        x = upfirdn2d(x, f, down=down, padding=pad, flip=flip_filter)
        return _conv(x, weight, groups, flip_weight)
    if kh == kw == 1 and up > 1 and down == 1:
        return upfirdn2d(_conv(x, weight, groups, flip_weight), f, up=up, padding=pad, gain=up**2, flip=flip_filter)
    if down > 1 and up == 1:
        return _conv(upfirdn2d(x, f, padding=pad, flip=flip_filter), weight, groups, flip_weight, stride=down)
    if up > 1 and min(pad) >= 0:
        x = _conv_transpose(x, weight, groups, flip_weight, up)
        pad = (left - (kw - 1), right + up - kw, top - (kh - 1), bottom + up - kh)
        return upfirdn2d(x, f, down=down, padding=pad, gain=up**2, flip=flip_filter)
    x = upfirdn2d(x, f if up > 1 else None, up=up, padding=pad, gain=up**2, flip=flip_filter)
    x = _conv(x, weight, groups, flip_weight)
    return x if down == 1 else upfirdn2d(x, f, down=down, flip=flip_filter)


def _conv(x: Maps, weight: Tensor, groups: int, flip_weight: bool, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> Maps:
    return F.conv2d(x, weight if flip_weight else weight.flip([2, 3]), stride=stride, padding=padding, groups=groups)


def _conv_transpose(x: Maps, weight: Tensor, groups: int, flip_weight: bool, stride: int) -> Maps:
    """Zero insertion and full convolution in one operation; torch's transposed convolution is a true convolution."""
    weight = weight.flip([2, 3]) if flip_weight else weight
    o, i, kh, kw = weight.shape
    weight = weight.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
    return F.conv_transpose2d(x, weight, stride=stride, groups=groups)
