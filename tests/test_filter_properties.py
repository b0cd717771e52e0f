"""Blurs, and convolutions that double or halve the size, by explicit operations; derivatives by finite differences.

In float64, so that nothing hides in rounding.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.nn.resample import blurred, downsample, upfirdn2d, upsample
from ganzoo_progan.discriminator import PlainDown
from ganzoo_progan.generator import BatchNorm, Conv, Dense, LayerNorm
from ganzoo_stylegan.layers import AdaIN
from plain import halved, nearest, stirred
from resampling import upfirdn2d as reference

assert_close = torch.testing.assert_close


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def binomial(x: Tensor) -> Tensor:
    """(1 2 1)/4 in both directions by an explicit depthwise convolution, zeros outside."""
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
    return F.conv2d(x, torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def test_a_blur_keeps_constants_and_is_a_convolution():
    x = torch.randn(2, 3, 7, 9)
    assert_close(blurred(x, (1, 2, 1)), binomial(x))
    inside = blurred(torch.full((1, 2, 7, 9), 5.0), (1, 2, 1))[:, :, 1:-1, 1:-1]
    assert_close(inside, torch.full_like(inside, 5.0))


@pytest.mark.parametrize("blur", [None, (1.0, 2.0, 1.0)])
@pytest.mark.parametrize("cls", [Conv, AdaIN])
def test_upsampling_within_the_convolution_is_upsampling_before_it(cls, blur):
    size = (8, 12)
    layer = stirred(cls(5, 7, 4, size, True, blur=blur))
    for noise in [m for m in layer.modules() if hasattr(m, "draw")]:  # random, and drawn in float32
        noise.draw = lambda *_: None
    x, w = torch.randn(2, 5, 4, 6), torch.randn(2, 4)
    y = F.conv2d(nearest(x), layer.conv.weight * math.sqrt(2 / 45), padding=1)
    assert_close(layer.conv.after_nearest(x), y)
    y = binomial(y) if blur else y
    if cls is Conv:
        y = F.leaky_relu(y + layer.conv.bias[:, None, None], 0.2)
        y = y / (y.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    else:
        y = F.leaky_relu(y + layer.epilogue.bias[:, None, None], 0.2)
        scale, shift = layer.epilogue.style(w)[:, :, None, None].chunk(2, dim=1)
        variance, mean = torch.var_mean(y, dim=(2, 3), keepdim=True, correction=0)
        y = (y - mean) / (variance + 1e-8).sqrt() * (scale + 1) + shift
    assert layer(x, w).shape == (2, 7, *size)
    assert_close(layer(x, w), y)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("blur", [None, (1.0, 2.0, 1.0)])
def test_a_plain_down_block_by_explicit_operations(blur, fused):
    block = stirred(PlainDown(5, 7, (8, 12), blur=blur, fused=fused))
    x = torch.randn(2, 5, 8, 12)
    he, b0, b1 = math.sqrt(2 / 45), block.conv0.bias[:, None, None], block.conv1.bias[:, None, None]
    y = F.leaky_relu(F.conv2d(x, block.conv0.weight * he, padding=1) + b0, 0.2)
    y = F.conv2d(binomial(y) if blur else y, block.conv1.weight * he, padding=1)
    y = F.leaky_relu(halved(y) + b1, 0.2) if fused else halved(F.leaky_relu(y + b1, 0.2))
    assert_close(block(x), y)


def test_norms_precede_or_follow_the_activation():
    x, w = torch.randn(4, 5, 4, 4), torch.randn(4, 4)
    layer = stirred(Conv(5, 7, 4, (4, 4), False, norm=BatchNorm, norm_first=True, slope=0.0))
    y = layer.norm(F.conv2d(x, layer.conv.weight * math.sqrt(2 / 45), padding=1))
    assert_close(layer(x, w), F.relu(y + layer.conv.bias[:, None, None]))
    stem = stirred(Dense(4, 7, (4, 4), norm=BatchNorm, norm_first=True, slope=0.0))
    y = stem.norm((w @ stem.dense.weight.T * math.sqrt(2 / 16 / 4)).reshape(4, 7, 4, 4))
    assert_close(stem(w), F.relu(y + stem.bias[:, None, None]))
    block = stirred(PlainDown(5, 7, (8, 12), norm=LayerNorm))
    x = torch.randn(2, 5, 8, 12)
    bare = stirred(PlainDown(5, 7, (8, 12)))
    bare.load_state_dict(block.state_dict(), strict=False)
    assert not torch.allclose(block(x), bare(x))
    first = block.norm0(F.conv2d(x, block.conv0.weight * math.sqrt(2 / 45), padding=1))
    assert_close(block.conv0(x, block.norm0), F.leaky_relu(first + block.conv0.bias[:, None, None], 0.2))


TAPS = [(1.0,), (1.0, 3.0, 2.0), (1.0, 3.0, 3.0, 1.0), (-0.5, 2.0, 1.0, 0.3, 0.2)]  # also asymmetric ones
RESAMPLINGS = [(1, 1, (0, 0)), (2, 1, (2, 1)), (1, 2, (1, 1)), (3, 2, (1, 3)), (1, 3, (2, 0)), (2, 1, (-1, 2))]


@pytest.mark.parametrize(("up", "down", "padding"), RESAMPLINGS)
@pytest.mark.parametrize("taps", TAPS)
def test_upfirdn2d_and_its_derivatives(taps, up, down, padding):
    """Values against the definition; first and second derivatives against finite differences."""
    run = partial(upfirdn2d, taps=taps, up=up, down=down, padding=padding, gain=1.5)
    x = torch.randn(1, 2, 5, 6, requires_grad=True)
    f = torch.tensor(taps) / sum(taps)
    assert_close(run(x), reference(x, f, up=up, down=down, padding=(*padding, *padding), gain=1.5))
    assert torch.autograd.gradcheck(run, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: run(x).tanh(), (x,), fast_mode=True)


@pytest.mark.parametrize("taps", [(1.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 5.0)])
def test_filters_commute_with_shifts(taps):
    """Shifting by one pixel before doubling equals shifting by two after it, and conversely for halving."""
    x = torch.zeros(1, 2, 24, 24)
    x[:, :, 8:16, 8:16] = torch.randn(1, 2, 8, 8)

    def moved(x: Tensor, by: int) -> Tensor:
        return x.roll((by, -by), dims=(2, 3))

    assert_close(upsample(moved(x, 1), taps), moved(upsample(x, taps), 2))
    assert_close(downsample(moved(x, 2), taps), moved(downsample(x, taps), 1))
    if len(taps) % 2:
        assert_close(blurred(moved(x, 3), taps), moved(blurred(x, taps), 3))
