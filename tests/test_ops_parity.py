"""Convolution, activation and normalisation against outputs recorded from NVlabs/stylegan2-ada-pytorch.

Every case of golden/03_*.npz that our functions can express is compared in float64: values, first and second
derivatives. Beside them: the same functions against their definitions, gradcheck and gradgradcheck, and small vectors
that were computed once with the reference.
"""

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from ganzoo.nn.act import bias_act
from ganzoo.nn.equal import ActConv2d, Linear
from ganzoo.nn.norm import instance_norm, minibatch_std, pixel_norm
from ganzoo.nn.resample import conv2d_down, conv2d_up, fir
from ganzoo.nn.resample import upfirdn2d as filtered
from ganzoo_stylegan2.modulation import modulated_conv2d
from operations import TAPS, by_key, check_derivatives, draw
from reference import EXACT, arrays, assert_close, modulated_conv2d_reference
from resampling import conv2d_resample, upfirdn2d

# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_key("03_conv2d_resample"))
def test_conv2d_resample_reference(case: dict[str, Any]) -> None:
    """The tests' definition, with which the product's three cases are compared below."""
    a = arrays(case)
    x, w = a["x"].requires_grad_(), a["w"].requires_grad_()
    check_derivatives(conv2d_resample(x, w, a.get("f"), **case["kwargs"]), {"x": x, "w": w}, a)


def resamples(case: dict[str, Any]) -> bool:
    """Whether the product has the case: the size is doubled or halved by a filter that float32 represents exactly."""
    options = case["kwargs"]
    factors = {options.get("up", 1), options.get("down", 1)}
    sides = case["kernel"] % 2 == 1 and options.get("padding", 0) == case["kernel"] // 2
    plain = not options.get("flip_filter") and options.get("groups", 1) == 1
    return sides and plain and factors == {1, 2} and case["filter"] == "b1331"


@pytest.mark.parametrize("case", by_key("03_conv2d_resample", resamples))
def test_conv2d_up_and_down(case: dict[str, Any]) -> None:
    """Upsampling convolves and downsampling correlates; flipping the weight turns one into the other."""
    a, up, flip = arrays(case), case["kwargs"].get("up") == 2, case["kwargs"].get("flip_weight", True)
    x, w = a["x"].requires_grad_(), a["w"].requires_grad_()
    function = conv2d_up if up else conv2d_down
    y = function(x, w.flip([2, 3]) if flip == up else w, (1, 3, 3, 1))
    check_derivatives(y, {"x": x, "w": w}, a)


@pytest.mark.parametrize("taps", [(1.0,), (1.0, 2.0, 5.0), (1.0, 2.0, 4.0, 7.0), (-0.5, 2.0, 1.0, 0.3, 0.2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("resample", [{"up": 2}, {"down": 2}], ids=["up", "down"])
def test_conv2d_up_and_down_are_the_reference(taps: tuple[float, ...], kernel: int, resample: dict[str, int]) -> None:
    """Asymmetric filters of several lengths: values, first and second derivatives."""
    x, w, bias = inputs = draw(2, 3, 6, 8), draw(4, 3, kernel, kernel), draw(4)
    up = "up" in resample
    y = (conv2d_up if up else conv2d_down)(x, w, taps, bias)
    plain = conv2d_resample(x, w, fir(taps, x), padding=kernel // 2, flip_weight=not up, **resample)
    plain = plain + bias[:, None, None]
    assert_close(y, plain.detach(), 1e-13, "y")
    probe = draw(*y.shape)
    first = [grad(out, inputs, probe, create_graph=True) for out in (y, plain)]
    second = [grad(g[0].square().sum(), (w, probe)) for g in first]
    for name, a, b in zip(("dx", "dw", "db", "ddw", "ddp"), *(f + s for f, s in zip(first, second))):
        assert_close(a, b.detach(), 1e-12, name)


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("resample", [{"up": 2}, {"down": 2}], ids=["up", "down"])
def test_conv2d_resample_by_upfirdn2d(taps: tuple[float, ...], kernel: int, resample: dict[str, int]) -> None:
    """Insert zeros, convolve, filter; or filter, convolve, decimate: each step by the reference's upfirdn2d."""
    x, w, n = draw(2, 2, 4, 4), draw(3, 2, kernel, kernel), len(taps)
    f, p = fir(taps, x), kernel // 2
    reference = conv2d_resample(x, w, f, padding=p, flip_weight=False, **resample)

    def call(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """The product's function, with a convolution in either case."""
        return conv2d_up(x, w, taps, bias) if "up" in resample else conv2d_down(x, w.flip([2, 3]), taps, bias)

    if "up" in resample:  # both paddings come before the convolution
        lo, hi = p + (n + 1) // 2, p + (n - 2) // 2
        grid = upfirdn2d(x, None, up=2, padding=(lo, hi, lo, hi))
        plain = upfirdn2d(torch.conv2d(grid, w.flip([2, 3])), f, gain=4)
    else:
        lo, hi = p + (n - 1) // 2, p + (n - 2) // 2
        plain = upfirdn2d(torch.conv2d(upfirdn2d(x, f, padding=(lo, hi, lo, hi)), w.flip([2, 3])), None, down=2)
    assert_close(reference, plain.detach(), 1e-13, "conv2d_resample")
    assert_close(call(x, w), plain.detach(), 1e-13, "conv2d_up and conv2d_down")
    bias = draw(3)
    assert_close(call(x, w, bias), (plain + bias[:, None, None]).detach(), 1e-13, "with a bias")
    assert gradcheck(call, (x, w))
    assert gradgradcheck(call, (draw(1, 2, 4, 4), w))


@pytest.mark.parametrize("flip", [False, True])
def test_taps_are_convolved_unless_flipped(flip: bool) -> None:
    """An asymmetric filter on an impulse gives the filter, or the flipped filter."""
    taps, x = (1.0, 2.0, 5.0), torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1
    row = torch.tensor(taps[::-1] if flip else taps, dtype=torch.float64) / 8
    y = upfirdn2d(x, fir(taps, x), padding=(1, 1, 1, 1), gain=3, flip=flip)
    assert_close(y[0, 0, 1:4, 1:4], 3 * torch.outer(row, row), 1e-14, "reference")
    y = filtered(x, taps[::-1] if flip else taps, padding=(1, 1), gain=3)
    assert_close(y[0, 0, 1:4, 1:4], 3 * torch.outer(row, row), 1e-14, "filter")


@pytest.mark.parametrize("down", [None, (1.0, 3.0, 3.0, 1.0)])
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("gain", ["weight", "activation"])
def test_a_layer_is_convolution_bias_activation_gain_clamp_in_this_order(
    gain: Any, clamp: float | None, down: Any
) -> None:
    layer = ActConv2d(3, 4, 3, gain=gain, clamp=clamp, down=down).double()
    torch.nn.init.normal_(layer.bias)
    x, he = draw(2, 3, 4, 6), 1 / math.sqrt(27)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        options = {"f": fir(down, x), "down": 2} if down else {}
        y = conv2d_resample(x, weight * he, padding=1, **options)
        y = F.leaky_relu((y * math.sqrt(2) if gain == "weight" else y) + bias[:, None, None], 0.2)
        y = y * math.sqrt(2) if gain == "activation" else y
        return y if clamp is None else y.clamp(-clamp, clamp)

    inputs = (x, layer.weight, layer.bias)
    y, expected = layer(x), plain(*inputs)
    assert_close(y, expected.detach(), 1e-13, "y")
    probe = draw(*y.shape)
    ours, theirs = (grad(out, inputs, probe, create_graph=True) for out in (y, expected))
    for name, a, b in zip(("dx", "dw", "db"), ours, theirs):
        assert_close(a, b.detach(), 1e-12, name)
    for name, a, b in zip(("ddw", "ddp"), *(grad(g[0].square().sum(), (layer.weight, probe)) for g in (ours, theirs))):
        assert_close(a, b.detach(), 1e-12, name)


@pytest.mark.parametrize("function", [modulated_conv2d, modulated_conv2d_reference])
@pytest.mark.parametrize("case", by_key("03_modulated_conv2d", lambda case: case["down"] == 1))
def test_modulated_conv2d(case: dict[str, Any], function: Any) -> None:
    """y, dx, dw, ds of the reference's fused and unfused form.

    The product has no downsampling, which no network uses; the layer adds the noise that the reference adds inside.
    """
    a = arrays(case)
    x, w, s = (a[k].requires_grad_() for k in "xws")
    assert case["padding"] == case["kernel"] // 2
    assert case["flip_weight"] == (case["up"] == 1)
    up = (1, 3, 3, 1) if case["up"] == 2 else None
    if up:
        assert_close(fir(up, x), a["f"], EXACT, "filter")
    y = function(x, w, s, demodulate=case["demodulate"], up=up) + a.get("noise", 0.0)
    check_derivatives(y, {"x": x, "w": w, "s": s}, a)


@pytest.mark.parametrize(("kernel", "demodulate", "up"), [*itertools.product([1, 3], [True, False], [None, *TAPS])])
def test_modulated_conv2d_against_its_definition(kernel: int, demodulate: bool, up: tuple[float, ...] | None) -> None:
    """Scaling inputs and outputs equals building each sample's weights: values, first and second derivatives."""
    inputs = draw(2, 2, 3, 3), draw(2, 2, kernel, kernel), draw(2, 2)
    ours = partial(modulated_conv2d, demodulate=demodulate, up=up)
    theirs = partial(modulated_conv2d_reference, demodulate=demodulate, up=up)
    y, z = ours(*inputs), theirs(*inputs)
    assert_close(y, z.detach(), 1e-13, "y")
    v = draw(*y.shape, seed=1)
    first = [grad(out, inputs, v, create_graph=True) for out in (y, z)]
    for name, a, b in zip("xws", *first):
        assert_close(a, b.detach(), 1e-12, f"d{name}")
    second = [grad(sum(g.square().sum() for g in gs), inputs) for gs in first]
    for name, a, b in zip("xws", *second):
        assert_close(a, b, 1e-12, f"dd{name}")
    assert gradcheck(ours, inputs)
    assert gradgradcheck(ours, inputs)


def test_modulated_conv2d_vectors() -> None:
    """Sums, sums of absolute values and a row of the output for linear ramps."""
    w, s = torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3), torch.tensor([[1, 2, 0.5], [0.3, -1, 1]])
    x = torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4)
    for function in (modulated_conv2d, modulated_conv2d_reference):
        y = function(x, w, s)
        assert [float(y.sum()), float(y.abs().sum())] == pytest.approx([29.51338, 71.57027], rel=1e-5)
        assert y[0, 0, 0].tolist() == pytest.approx([1.271102, 1.945512, 1.890687, 1.281320], abs=2e-6)
        y = function(x, w, s, up=(1, 3, 3, 1))
        assert [float(y.sum()), float(y.abs().sum())] == pytest.approx([131.90636, 330.61353], rel=1e-5)
        y = function(x, w, s, demodulate=False)
        assert [float(y.sum()), float(y.abs().sum())] == pytest.approx([107.60198, 251.29216], rel=1e-5)


# --- activation and normalisation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_key("03_bias_act"))
def test_bias_act(case: dict[str, Any]) -> None:
    a = arrays(case)
    inputs = {k: a[k].requires_grad_() for k in ("x", "b") if k in a}
    dim = case["dim"]

    def call(x: Tensor, **options: Any) -> Tensor:
        y = bias_act(x.movedim(dim, 1), inputs.get("b"), case["act"], **case["kwargs"], **options)
        return y.movedim(1, dim)

    y = call(inputs["x"])
    assert_close(call(inputs["x"] + 0, overwrite=True), y.detach(), 0, "in place")
    check_derivatives(y, inputs, a)


def test_bias_act_vectors() -> None:
    """Slope 0.2 and gain √2."""
    assert bias_act(torch.tensor([[-1.0, 1.0]]), None, "lrelu")[0].tolist() == pytest.approx([-0.2828427, 1.4142135])


@pytest.mark.parametrize("bias", [None, 0.5])
def test_a_dense_layer_scales_weight_and_bias(bias: float | None) -> None:
    layer = Linear(5, 3, bias=bias, gain=2, lr_mul=0.01).double()
    x = draw(4, 5)
    expected = x @ layer.weight.T * (2 / math.sqrt(5) * 0.01) + (0 if bias is None else bias * 0.01)
    assert_close(layer(x), expected.detach(), 1e-14, "y")
    assert gradcheck(layer, (x,))
    assert gradgradcheck(layer, (x,))


def test_mapping_vectors() -> None:
    """A mapping network with weights 100 · identity, which the learning rate multiplier compensates."""
    from ganzoo_stylegan.layers import MLP

    mapping = MLP(4, 4, 0, depth=2, lr_mul=0.01, gain="activation")
    for layer in mapping.layers:
        layer.weight.data = torch.eye(4) * 100
        layer.bias.data = torch.tensor([0.0, 10.0, 0.0, -10.0])
    w = mapping(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))[0]
    assert w.tolist() == pytest.approx([0.182574, 0.606570, 0.547723, 0.488875], abs=1e-6)


def test_minibatch_std_vectors() -> None:
    """Groups are strided, {0, 2, 4, 6} and {1, 3, 5, 7}."""
    x = (torch.arange(8.0) ** 2).reshape(8, 1, 1, 1)
    y = minibatch_std(x, 4)
    assert torch.equal(y[:, :1], x)
    assert y[:, 1].flatten().tolist() == pytest.approx([14.0, 18.330303] * 4, rel=1e-6)
    y = minibatch_std(torch.cat([x, 2 * x, 3 * x, -x], dim=1), 4, features=2)[:, 4:]
    assert y[0].flatten().tolist() == pytest.approx([21, 28])
    assert y[1].flatten().tolist() == pytest.approx([27.495455, 36.660606], rel=1e-6)


def test_minibatch_std_takes_any_batch() -> None:
    """The group is the largest divisor of the batch up to the group size; None takes the whole batch."""
    for n, group, used in [(6, 4, 3), (5, 4, 1), (8, None, 8), (3, 4, 3), (1, 4, 1)]:
        x = draw(n, 2, 3, 3, seed=n)
        y = minibatch_std(x, group)
        m = n // used
        expected = torch.stack([(x[i % m :: m].var(dim=0, unbiased=False) + 1e-8).sqrt().mean() for i in range(n)])
        assert_close(y[:, 2, 1, 1], expected.detach(), 1e-13, f"batch {n}, group {group}")


@pytest.mark.parametrize("mean", [0.0, 5.0])
@pytest.mark.parametrize("function", [pixel_norm, instance_norm])
def test_gradients_of_norms_in_bfloat16(function: Any, mean: float) -> None:
    """Within a few roundings of float64, for gradients with a mean; those of an instance norm sum to 0."""
    x, g = (draw(4, 16, 8, 8, seed=s).detach().bfloat16() for s in (0, 1))
    x.requires_grad_()
    g = g + mean
    exact = x.detach().double().requires_grad_()
    (expected,), (rounded,) = (grad(function(t), t, g.to(t.dtype)) for t in (exact, x))
    half_step = 2.0**-9
    assert float((rounded - expected).norm() / expected.norm()) < 4 * half_step
    if function is instance_norm:
        assert float(rounded.double().sum(dim=[2, 3]).abs().max()) < 8 * half_step * float(expected.abs().max())


def test_norms_against_their_definitions() -> None:
    """Over channels, over pixels; eps 1e-8 inside the root, biased variance. Small values make eps relevant."""
    x = draw(3, 5, 4, 6) * 1e-3
    assert_close(pixel_norm(x), (x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()).detach(), 1e-14, "pixel_norm")
    std = (x.var(dim=[2, 3], unbiased=False, keepdim=True) + 1e-8).sqrt()
    assert_close(instance_norm(x), ((x - x.mean([2, 3], keepdim=True)) / std).detach(), 1e-14, "instance_norm")
    assert pixel_norm(torch.full((1, 4, 1, 1), 1e-3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    for function in (pixel_norm, instance_norm, minibatch_std):
        assert gradcheck(function, (draw(2, 2, 2, 2),))
        assert gradgradcheck(function, (draw(2, 2, 2, 2),))
