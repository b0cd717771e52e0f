"""Resampling by FIR filters: upfirdn2d, and convolutions that double or halve the size (arXiv:1912.04958's networks).

Filters are outer products of their taps with themselves, scaled to sum 1, and are convolved with, not correlated.
"""

from functools import lru_cache
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from ganzoo.types import Maps

MAX_TAPS = 128  # of a filter: its outer product is computed for every layer


def _scalable(taps: tuple[float, ...]) -> tuple[float, ...]:
    if len(taps) > MAX_TAPS:
        raise ValueError(f"a filter has {len(taps):,} taps, above the limit of {MAX_TAPS}")
    if abs(sum(taps)) < 1e-6:
        raise ValueError("a filter's taps must be at least one number, and their sum not 0")
    return taps


def _odd(taps: tuple[float, ...]) -> tuple[float, ...]:
    if len(taps) % 2 == 0:
        raise ValueError("a blur that keeps the size has an odd number of taps")
    return taps


Taps = Annotated[tuple[float, ...], AfterValidator(_scalable)]  # any scale: a filter sums to 1
OddTaps = Annotated[Taps, AfterValidator(_odd)]
Pad = tuple[int, int, int, int]  # left, right, top, bottom on the upsampled grid; negative crops


@lru_cache(maxsize=256)
def _filter(taps: Taps, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    f = torch.tensor(taps, dtype=torch.float64)
    f = torch.outer(f, f)
    return (f * (gain / f.sum())).to(dtype).to(device)


def fir(taps: Taps, like: Tensor, gain: float = 1.0) -> Tensor:
    """outer(taps, taps) with sum `gain`, [n, n], in the dtype and on the device of `like`."""
    tracing = torch.compiler.is_compiling()  # a filter made while torch.export traces is a symbol of that trace only
    return (_filter.__wrapped__ if tracing else _filter)(taps, gain, like.dtype, like.device)


def _depthwise(x: Maps, f: Tensor, up: int, down: int, padding: Pad) -> Maps:
    """Insert up - 1 zeros after each pixel, pad, correlate every map with f, keep every down-th pixel."""
    n, c, h, w = x.shape
    weight = f.expand(c, 1, -1, -1)
    left, right, top, bottom = (max(p, 0) for p in padding)
    if up == 1 and padding == (left, left, top, top):
        return F.conv2d(x, weight, stride=down, padding=(top, left), groups=c)
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    z = torch.empty(
        (n, c, h * up + top + bottom, w * up + left + right),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    ).zero_()
    z[:, :, top : top + h * up : up, left : left + w * up : up] = x
    crop_left, crop_right, crop_top, crop_bottom = (max(-p, 0) for p in padding)
    z = z[:, :, crop_top : z.shape[2] - crop_bottom, crop_left : z.shape[3] - crop_right]
    return F.conv2d(z, weight, stride=down, groups=c)


class _UpFirDn(torch.autograd.Function):
    """`_depthwise` for a constant filter.

    Its adjoint is the same operation with up and down exchanged and the filter rotated by 180°, which is much faster
    than what autograd derives (the backward of a strided depthwise convolution).
    """

    @staticmethod
    def forward(ctx: Any, x: Maps, f: Tensor, up: int, down: int, padding: Pad) -> Maps:
        """Correlate with f."""
        y = _depthwise(x, f, up, down, padding)
        (left, _, top, _), n = padding, len(f)
        before_x, before_y = n - 1 - left, n - 1 - top
        after_x = (x.shape[3] - 1) * up + n - y.shape[3] * down - before_x
        after_y = (x.shape[2] - 1) * up + n - y.shape[2] * down - before_y
        ctx.adjoint = (down, up, (before_x, after_x, before_y, after_y))
        ctx.filter = f
        return y

    @staticmethod
    def backward(ctx: Any, dy: Maps) -> tuple[Maps, None, None, None, None]:
        """Apply the adjoint, which can be differentiated again."""
        return _UpFirDn.apply(dy, ctx.filter.flip([0, 1]), *ctx.adjoint), None, None, None, None


def upfirdn2d(
    x: Maps, taps: Taps, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Maps:
    """Insert zeros, pad, filter, keep every down-th pixel.

    Args:
        x: [N, C, H, W]
        taps: the n taps of the filter
        up: upsampling factor
        down: downsampling factor
        padding: (before, after) along both axes of the upsampled grid; negative crops
        gain: factor of the filter

    Returns:
        [N, C, (H * up + before + after - n) // down + 1, ...]
    """
    return _UpFirDn.apply(x, fir(taps[::-1], x, gain), up, down, (*padding, *padding))


def blurred(x: Maps, taps: Taps) -> Maps:
    """Filter without changing the size, with zeros outside (arXiv:1812.04948, section 2); odd number of taps."""
    return upfirdn2d(x, taps, padding=(len(taps) // 2, len(taps) // 2))


def upsample(x: Maps, taps: Taps) -> Maps:
    """Double the size. (1, 1) is nearest neighbour, (1, 3, 3, 1) linear interpolation with darkened borders."""
    if taps == (1, 1):
        return F.interpolate(x, scale_factor=2, mode="nearest")
    n = len(taps)
    return upfirdn2d(x, taps, up=2, padding=((n + 1) // 2, (n - 2) // 2), gain=4)


def downsample(x: Maps, taps: Taps) -> Maps:
    """Halve the size. (1, 1) is the mean of 2x2 pixels."""
    if taps == (1, 1):
        return F.avg_pool2d(x, 2)
    n = len(taps)
    return upfirdn2d(x, taps, down=2, padding=((n - 1) // 2, (n - 2) // 2))


def conv2d_up(x: Maps, weight: Tensor, taps: Taps, bias: Tensor | None = None) -> Maps:
    """Insert zeros, convolve, filter, add the bias: [N, I, H, W] -> [N, O, 2H, 2W].

    The convolution is a true one, on the upsampled grid, as one transposed convolution.

    Args:
        x: [N, I, H, W]
        weight: [O, I, k, k] with odd k
        taps: taps of the filter
        bias: [O]
    """
    n, k = len(taps), weight.shape[-1]
    if k == 1:  # convolve first, on a quarter of the pixels
        x = upsample(F.conv2d(x, weight), taps)
    else:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = upfirdn2d(x, taps, padding=((n + 1) // 2 - k // 2, n // 2 - k // 2), gain=4)
    return x if bias is None else x + bias[:, None, None]


def conv2d_down(x: Maps, weight: Tensor, taps: Taps, bias: Tensor | None = None) -> Maps:
    """Filter, correlate, keep every second pixel, add the bias: [N, I, H, W] -> [N, O, H/2, W/2].

    Args:
        x: [N, I, H, W]
        weight: [O, I, k, k] with odd k
        taps: taps of the filter
        bias: [O]
    """
    n, p = len(taps), weight.shape[-1] // 2
    if p == 0:  # keep every second pixel first: the convolution sees a quarter of the pixels
        return F.conv2d(downsample(x, taps), weight, bias)
    x = upfirdn2d(x, taps, padding=(p + (n - 1) // 2, p + (n - 2) // 2))
    return F.conv2d(x, weight, bias, stride=2)
