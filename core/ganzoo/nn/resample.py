"""Resampling by FIR filters: upfirdn2d, and convolutions that double or halve the size.

The order of the definitions (spec of arXiv:1912.04958's networks): insert zeros, pad, filter (true convolution), keep
every down-th sample. `upfirdn2d` is that, literally; the functions below it are the same in fewer operations.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ganzoo.types import Maps


def _filtering(taps: tuple[float, ...]) -> tuple[float, ...]:
    if abs(sum(taps)) < 1e-6:
        raise ValueError("a filter's taps must be at least one number, and their sum not 0")
    return taps


Taps = Annotated[tuple[float, ...], AfterValidator(_filtering)]  # of a separable filter; scaled to sum 1 where used


def _odd(taps: tuple[float, ...]) -> tuple[float, ...]:
    if len(taps) % 2 == 0:
        raise ValueError("a blur that keeps the size has an odd number of taps")
    return taps


OddTaps = Annotated[Taps, AfterValidator(_odd)]
Pad = tuple[int, int, int, int]  # left, right, top, bottom on the upsampled grid; negative crops


@lru_cache(maxsize=256)
def _filter(taps: Taps, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    f = torch.tensor(taps, dtype=torch.float64)
    f = torch.outer(f, f)
    return (f * (gain / f.sum())).to(dtype).to(device)


def fir(taps: Taps, like: Tensor, gain: float = 1.0) -> Tensor:
    """outer(taps, taps) with sum `gain`, [n, n], in the type and place of `like`."""
    tracing = torch.compiler.is_compiling()  # a filter made while torch.export traces is a symbol of that trace only
    return (_filter.__wrapped__ if tracing else _filter)(taps, gain, like.dtype, like.device)


def _pair(v: int | Sequence[int]) -> tuple[int, int]:
    return (v, v) if isinstance(v, int) else (v[0], v[1])


def _depthwise(x: Maps, f: Tensor, up: tuple[int, int], down: tuple[int, int], padding: Pad) -> Maps:
    """Insert zeros, pad, correlate every map with f, keep every down-th sample. Factors are (x, y)."""
    n, c, h, w = x.shape
    (up_x, up_y), (left, right, top, bottom) = up, padding
    weight = f[None, None].expand(c, 1, -1, -1)
    if up == (1, 1) and left == right >= 0 and top == bottom >= 0:
        return F.conv2d(x, weight, stride=(down[1], down[0]), padding=(top, left), groups=c)
    low = [max(-p, 0) for p in padding]  # what negative padding crops
    left, right, top, bottom = (max(p, 0) for p in padding)
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    z = torch.empty(
        n,
        c,
        h * up_y + top + bottom,
        w * up_x + left + right,
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    ).zero_()
    z[:, :, top : top + h * up_y : up_y, left : left + w * up_x : up_x] = x
    z = z[:, :, low[2] : z.shape[2] - low[3], low[0] : z.shape[3] - low[1]]
    return F.conv2d(z, weight, stride=(down[1], down[0]), groups=c)


class _UpFirDn(torch.autograd.Function):
    """`_depthwise` for a constant filter.

    Its adjoint is the same operation with up and down exchanged and the filter turned round, which is much faster
    than what autograd derives (the backward of a strided depthwise convolution).
    """

    @staticmethod
    def forward(ctx: Any, x: Maps, f: Tensor, up: tuple[int, int], down: tuple[int, int], padding: Pad) -> Maps:
        """Correlate with f."""
        y = _depthwise(x, f, up, down, padding)
        (left, _, top, _), (kh, kw) = padding, f.shape
        before_x, before_y = kw - 1 - left, kh - 1 - top
        after_x = (x.shape[3] - 1) * up[0] + kw - y.shape[3] * down[0] - before_x
        after_y = (x.shape[2] - 1) * up[1] + kh - y.shape[2] * down[1] - before_y
        ctx.adjoint = (down, up, (before_x, after_x, before_y, after_y))
        ctx.filter = f
        return y

    @staticmethod
    def backward(ctx: Any, dy: Maps) -> tuple[Maps, None, None, None, None]:
        """The adjoint, again differentiable."""
        return _UpFirDn.apply(dy, ctx.filter.flip([0, 1]), *ctx.adjoint), None, None, None, None


def upfirdn2d(
    x: Maps,
    f: Tensor | Taps | None,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Pad = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Maps:
    """Upsample by zeros, pad, filter, downsample.

    Args:
        x: [N, C, H, W]
        f: [kh, kw], or [k] for a separable filter; or its taps, which are scaled to sum 1; or None for none
        up: factor, or (x, y)
        down: factor, or (x, y)
        padding: (left, right, top, bottom) on the upsampled grid; negative crops
        gain: factor of the filter
        flip: correlate instead of convolve

    Returns:
        [N, C, (H * up + top + bottom - kh) // down + 1, ...]
    """
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    if isinstance(f, tuple):
        kernel = fir(f if flip else f[::-1], x, gain)
    else:
        kernel = torch.ones(1, 1, dtype=x.dtype, device=x.device) if f is None else f.to(x.dtype)
        kernel = kernel * gain ** (kernel.ndim / 2)
        kernel = kernel if flip else kernel.flip(list(range(kernel.ndim)))
    if kernel.ndim == 1:  # separable
        x = _UpFirDn.apply(x, kernel[None, :], (up_x, 1), (down_x, 1), (*padding[:2], 0, 0))
        return _UpFirDn.apply(x, kernel[:, None], (1, up_y), (1, down_y), (0, 0, *padding[2:]))
    return _UpFirDn.apply(x, kernel, (up_x, up_y), (down_x, down_y), padding)


def blurred(x: Maps, taps: Taps) -> Maps:
    """A low-pass filter that keeps the size, with zeros outside (arXiv:1812.04948, section 2); odd taps."""
    return upfirdn2d(x, taps, padding=(len(taps) // 2,) * 4)


def upsample(x: Maps, taps: Taps) -> Maps:
    """Double the size. (1, 1) is nearest neighbour, (1, 3, 3, 1) linear interpolation with darkened borders."""
    if taps == (1, 1):
        return F.interpolate(x, scale_factor=2, mode="nearest")
    n = len(taps)
    lo, hi = (n + 1) // 2, (n - 2) // 2
    return upfirdn2d(x, taps, up=2, padding=(lo, hi, lo, hi), gain=4)


def downsample(x: Maps, taps: Taps) -> Maps:
    """Halve the size. (1, 1) is the mean of 2x2 pixels."""
    if taps == (1, 1):
        return F.avg_pool2d(x, 2)
    n = len(taps)
    lo, hi = (n - 1) // 2, (n - 2) // 2
    return upfirdn2d(x, taps, down=2, padding=(lo, hi, lo, hi))


def conv2d_resample(
    x: Maps,
    weight: Tensor,
    f: Tensor | Taps | None = None,
    *,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Pad = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> Maps:
    """A convolution that also resamples; the size changes by exactly up / down when padding is (k - 1) / 2.

    Args:
        x: [N, I, H, W]
        weight: [O, I / groups, kh, kw]
        f: resampling filter, [n, n] or [n], or its taps; None for none
        bias: [O], added at the end
        up: upsampling factor; the convolution then runs on the upsampled grid
        down: downsampling factor
        padding: of the convolution, on the upsampled grid
        groups: of the convolution
        flip_weight: correlation, as torch convolves; False is true convolution
        flip_filter: correlate with the filter
    """
    kh, kw = weight.shape[2:]
    fw, fh = (1, 1) if f is None else (len(f),) * 2 if isinstance(f, tuple) else (f.shape[-1], f.shape[0])
    left, right, top, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    if up > 1:
        left, right = left + (fw + up - 1) // 2, right + (fw - up) // 2
        top, bottom = top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right = left + (fw - down + 1) // 2, right + (fw - down) // 2
        top, bottom = top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pad: Pad = (left, right, top, bottom)

    if up == down == 1 and left == right >= 0 and top == bottom >= 0:  # nothing to resample
        return _conv(x, weight, bias, groups, flip_weight, padding=(top, left))
    if kh == kw == 1 and down > 1 and up == 1:  # decimate first: the convolution sees a quarter of the pixels
        x = upfirdn2d(x, f, down=down, padding=pad, flip=flip_filter)
        return _conv(x, weight, bias, groups, flip_weight)
    if down > 1 and up == 1:
        return _conv(upfirdn2d(x, f, padding=pad, flip=flip_filter), weight, bias, groups, flip_weight, stride=down)

    if kh == kw == 1 and up > 1 and down == 1:
        x = _conv(x, weight, None, groups, flip_weight)
        x = upfirdn2d(x, f, up=up, padding=pad, gain=up**2, flip=flip_filter)
    elif up > 1 and min(pad) >= 0:
        x = _conv_transpose(x, weight, groups, flip_weight, up)
        pad = (left - (kw - 1), right + up - kw, top - (kh - 1), bottom + up - kh)
        x = upfirdn2d(x, f, padding=pad, gain=up**2, flip=flip_filter)
        x = x if down == 1 else upfirdn2d(x, f, down=down, flip=flip_filter)
    else:
        x = upfirdn2d(x, f if up > 1 else None, up=up, padding=pad, gain=up**2, flip=flip_filter)
        x = _conv(x, weight, None, groups, flip_weight)
        x = x if down == 1 else upfirdn2d(x, f, down=down, flip=flip_filter)
    return x if bias is None else x + bias[:, None, None]


def _conv(
    x: Maps,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    flip_weight: bool,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Maps:
    return F.conv2d(x, weight if flip_weight else weight.flip([2, 3]), bias, stride, padding, groups=groups)


def _conv_transpose(x: Maps, weight: Tensor, groups: int, flip_weight: bool, stride: int) -> Maps:
    """Zero insertion and full convolution in one operation; torch's transposed convolution is a true convolution."""
    weight = weight.flip([2, 3]) if flip_weight else weight
    if groups == 1:
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=stride)
    o, i, kh, kw = weight.shape
    weight = weight.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
    return F.conv_transpose2d(x, weight, stride=stride, groups=groups)
