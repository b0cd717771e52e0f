"""Resampling, convolution, activation and normalisation against outputs recorded from NVlabs/stylegan2-ada-pytorch.

Every case of golden/03_*.npz that our functions can express is compared in float64: values, first and second
derivatives. Beside them: the same functions against their definitions, gradcheck and gradgradcheck, and small vectors
that were computed once with the reference.
"""

import itertools
import math
from collections.abc import Callable
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
from ganzoo.nn.resample import conv2d_resample, downsample, fir, upfirdn2d, upsample
from ganzoo_stylegan2.modulation import modulated_conv2d
from reference import EXACT, arrays, assert_close, cases, modulated_conv2d_reference

OPS = 1e-5  # of a filter that we normalise in float64 and the reference in float32
TAPS = [(1, 1), (1, 2, 1), (1, 3, 3, 1)]


def by_key(name: str, wanted: Callable[[dict[str, Any]], Any] = bool) -> list[Any]:
    return [pytest.param(case, id=case["key"]) for case in cases(name) if wanted(case)]


def plain_resize(case: dict[str, Any]) -> bool:
    return case["api"] in ("upsample2d", "downsample2d") and not case["kwargs"]


def normalised_taps(case: dict[str, Any]) -> bool:
    flat = isinstance(case["raw"], list) and not isinstance(case["raw"][0], list)
    return flat and bool(case["kwargs"].get("normalize", True))


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def check_derivatives(y: Tensor, inputs: dict[str, Tensor], case: dict[str, Tensor]) -> None:
    """y and d<input> for the recorded upstream gradient; gg_* = gradients of Σ d<input> · v<input>, where recorded."""
    assert_close(y, case["y"], EXACT, "y")
    dy = case["dy"].requires_grad_()
    first = grad(y, list(inputs.values()), dy, create_graph=True)
    for name, g in zip(inputs, first):
        assert_close(g, case[f"d{name}"], EXACT, f"d{name}")
    if "gg_dy" not in case:
        return
    total = sum((g * case[f"v{name}"]).sum() for name, g in zip(inputs, first))
    names = [*inputs, "dy"]
    second = grad(total, [*inputs.values(), dy], allow_unused=True, materialize_grads=True)
    for name, g in zip(names, second):
        assert_close(g, case[f"gg_{name}"], EXACT, f"gg_{name}", floor=1e-6)  # some are 0


# --- upfirdn2d -------------------------------------------------------------------------------------------------------


def pads(padding: int | list[int]) -> list[int]:
    """The reference's forms of a padding as (left, right, top, bottom)."""
    p = [padding, padding] if isinstance(padding, int) else padding
    return [p[0], p[0], p[1], p[1]] if len(p) == 2 else p


def pair(v: int | list[int]) -> list[int]:
    return [v, v] if isinstance(v, int) else v


def as_upfirdn2d(case: dict[str, Any], f: Tensor | None) -> dict[str, Any]:
    """The reference's wrappers filter2d, upsample2d and downsample2d as arguments of upfirdn2d."""
    api, options = case["api"], dict(case["kwargs"])
    flip, gain, padding = options.pop("flip_filter", False), options.pop("gain", 1.0), pads(options.pop("padding", 0))
    if api == "upfirdn2d":
        return {**options, "padding": tuple(padding), "gain": gain, "flip": flip}
    assert f is not None
    widths = (f.shape[-1], f.shape[0])
    factors = pair(options.get("up" if api == "upsample2d" else "down", 1 if api == "filter2d" else 2))
    extra = []
    for n, k in zip(widths, factors):
        extra += {
            "filter2d": [n // 2, (n - 1) // 2],
            "upsample2d": [(n + k - 1) // 2, (n - k) // 2],
            "downsample2d": [(n - k + 1) // 2, (n - k) // 2],
        }[api]
    name = {"filter2d": {}, "upsample2d": {"up": factors}, "downsample2d": {"down": factors}}[api]
    gain = gain * factors[0] * factors[1] if api == "upsample2d" else gain
    return {**name, "padding": tuple(a + b for a, b in zip(padding, extra)), "gain": gain, "flip": flip}


@pytest.mark.parametrize("case", by_key("03_upfirdn2d"))
def test_upfirdn2d(case: dict[str, Any]) -> None:
    a = arrays(case)
    x = a["x"].requires_grad_()
    check_derivatives(upfirdn2d(x, a.get("f"), **as_upfirdn2d(case, a.get("f"))), {"x": x}, a)


@pytest.mark.parametrize("case", by_key("03_upfirdn2d", plain_resize))
def test_upsample_and_downsample(case: dict[str, Any]) -> None:
    """Our wrappers take the raw taps, symmetric or not, of even or odd number."""
    a = arrays(case)
    ours = {"upsample2d": upsample, "downsample2d": downsample}[case["api"]](a["x"], tuple(a["f_raw"].tolist()))
    assert_close(ours, a["y"], EXACT if case["filter"] in ("b1331", "b121") else OPS, case["api"])


@pytest.mark.parametrize("case", by_key("03_setup_filter", normalised_taps))
def test_fir(case: dict[str, Any]) -> None:
    """`fir` makes normalised 2-D filters of 1-D taps; 2-D, unnormalised and absent taps it deliberately does not take.

    Gain and flip are arguments of upfirdn2d; that the reference keeps long filters one-dimensional changes no result.
    """
    reference, options = arrays(case)["f"], case["kwargs"]
    f = fir(tuple(case["raw"]), torch.zeros((), dtype=torch.float64)) * options.get("gain", 1)
    f = f.flip([0, 1]) if options.get("flip_filter") else f
    assert_close(f, torch.outer(reference, reference) if reference.ndim == 1 else reference, 1e-6, "filter")


@pytest.mark.parametrize("taps", TAPS)
def test_upsample_and_downsample_are_upfirdn2d(taps: tuple[float, ...]) -> None:
    x, n = draw(2, 3, 6, 8), len(taps)
    f = fir(taps, x)
    up, down = ((n + 1) // 2, (n - 2) // 2), ((n - 1) // 2, (n - 2) // 2)
    assert_close(upsample(x, taps), upfirdn2d(x, f, up=2, padding=(*up, *up), gain=4).detach(), 1e-14, "upsample")
    assert_close(downsample(x, taps), upfirdn2d(x, f, down=2, padding=(*down, *down)).detach(), 1e-14, "downsample")
    assert upsample(x, taps).shape == (2, 3, 12, 16)
    assert downsample(x, taps).shape == (2, 3, 3, 4)
    for function in (upsample, downsample):
        small = draw(1, 2, 4, 4)
        assert gradcheck(partial(function, taps=taps), (small,))
        assert gradgradcheck(partial(function, taps=taps), (small,))


def test_fir_vectors() -> None:
    """[1, 3, 3, 1] on a ramp and on ones."""
    taps, ramp = (1, 3, 3, 1), torch.arange(16.0).reshape(1, 1, 4, 4)
    f = fir(taps, ramp)
    assert f[:2].tolist() == [[0.015625, 0.046875, 0.046875, 0.015625], [0.046875, 0.140625, 0.140625, 0.046875]]
    up = upsample(ramp, taps)[0, 0]
    assert up.sum() == 421.875
    assert up[0].tolist() == [0, 0.1875, 0.5625, 0.9375, 1.3125, 1.6875, 2.0625, 1.6875]
    assert up[1].tolist() == [0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 3.0]
    ones = upsample(torch.ones(1, 1, 4, 4), taps)[0, 0]
    assert [float(ones[4, 4]), float(ones[0, 4]), float(ones[0, 0])] == [1, 0.75, 0.5625]
    assert downsample(ramp, taps)[0, 0].tolist() == [[2.734375, 3.9375], [7.546875, 8.75]]
    ones = downsample(torch.ones(1, 1, 8, 8), taps)[0, 0]
    assert [float(ones[0, 0]), float(ones[0, 1]), float(ones[1, 1])] == [0.765625, 0.875, 1]
    same = upfirdn2d(torch.ones(1, 1, 4, 4), f, padding=(2, 1, 2, 1))[0, 0]
    assert same[:2].tolist() == [[0.25, 0.4375, 0.5, 0.4375], [0.4375, 0.765625, 0.875, 0.765625]]
    w = (torch.arange(9.0) / 10).reshape(1, 1, 3, 3)
    y = conv2d_resample(ramp, w, f, up=2, padding=1, flip_weight=False)[0, 0]
    assert float(y.sum()) == pytest.approx(1302.9, abs=1e-3)
    row = [0.21875, 0.675, 1.39375, 2.25625, 3.11875, 3.98125, 4.46875, 3.98125]
    assert y[0].tolist() == pytest.approx(row, abs=1e-6)
    y = conv2d_resample(ramp, w, f, down=2, padding=1)[0, 0]
    assert y.flatten().tolist() == pytest.approx([15.720312, 17.351562, 21.270313, 21.064062], abs=2e-6)


# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_key("03_conv2d_resample"))
def test_conv2d_resample(case: dict[str, Any]) -> None:
    a = arrays(case)
    x, w = a["x"].requires_grad_(), a["w"].requires_grad_()
    check_derivatives(conv2d_resample(x, w, a.get("f"), **case["kwargs"]), {"x": x, "w": w}, a)


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("resample", [{"up": 2}, {"down": 2}], ids=["up", "down"])
def test_conv2d_resample_by_upfirdn2d(taps: tuple[float, ...], kernel: int, resample: dict[str, int]) -> None:
    """Insert zeros, convolve, filter - or filter, convolve, decimate - each step written out with plain upfirdn2d."""
    x, w, n = draw(2, 2, 4, 4), draw(3, 2, kernel, kernel), len(taps)
    f, p = fir(taps, x), kernel // 2
    call = partial(conv2d_resample, f=f, padding=p, flip_weight=False, **resample)
    if "up" in resample:  # both paddings come before the convolution
        lo, hi = p + (n + 1) // 2, p + (n - 2) // 2
        grid = upfirdn2d(x, None, up=2, padding=(lo, hi, lo, hi))
        plain = upfirdn2d(torch.conv2d(grid, w.flip([2, 3])), f, gain=4)
    else:
        lo, hi = p + (n - 1) // 2, p + (n - 2) // 2
        plain = upfirdn2d(torch.conv2d(upfirdn2d(x, f, padding=(lo, hi, lo, hi)), w.flip([2, 3])), None, down=2)
    assert_close(call(x, w), plain.detach(), 1e-13, "conv2d_resample")
    bias = draw(3)
    by_taps = conv2d_resample(x, w, taps, bias=bias, padding=p, flip_weight=False, **resample)
    assert_close(by_taps, (plain + bias[:, None, None]).detach(), 1e-13, "by taps, with a bias")
    assert gradcheck(call, (x, w))
    assert gradgradcheck(call, (draw(1, 2, 4, 4), w))


@pytest.mark.parametrize("flip", [False, True])
def test_taps_are_convolved_unless_flipped(flip: bool) -> None:
    """A filter that is no mirror image of itself, on an impulse: it comes out, or turned round."""
    taps, x = (1.0, 2.0, 5.0), torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1
    row = torch.tensor(taps[::-1] if flip else taps, dtype=torch.float64) / 8
    y = upfirdn2d(x, taps, padding=(1, 1, 1, 1), gain=3, flip=flip)
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
        resample = {"f": fir(down, x), "down": 2} if down else {}
        y = conv2d_resample(x, weight * he, padding=1, **resample)
        y = F.leaky_relu((y * math.sqrt(2) if gain == "weight" else y) + bias[:, None, None], 0.2)
        y = y * math.sqrt(2) if gain == "activation" else y
        return y if clamp is None else y.clamp(-clamp, clamp)

    inputs = (x, layer.weight, layer.bias)
    found, expected = layer(x), plain(*inputs)
    assert_close(found, expected.detach(), 1e-13, "y")
    probe = draw(*found.shape)
    ours, theirs = (grad(y, inputs, probe, create_graph=True) for y in (found, expected))
    for name, a, b in zip(("dx", "dw", "db"), ours, theirs):
        assert_close(a, b.detach(), 1e-12, name)
    for name, a, b in zip(("ddw", "ddp"), *(grad(g[0].square().sum(), (layer.weight, probe)) for g in (ours, theirs))):
        assert_close(a, b.detach(), 1e-12, name)


@pytest.mark.parametrize("function", [modulated_conv2d, modulated_conv2d_reference])
@pytest.mark.parametrize("case", by_key("03_modulated_conv2d", lambda case: case["down"] == 1))
def test_modulated_conv2d(case: dict[str, Any], function: Any) -> None:
    """y, dx, dw, ds of the reference's fused and unfused form.

    Ours has no downsampling (no network uses it), and noise, which the reference adds inside, is the layer's business.
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
    """Scaling inputs and outputs instead of building each sample's weights: values, first and second derivatives."""
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
    call = partial(bias_act, act=case["act"], dim=case["dim"], **case["kwargs"])
    y = call(inputs["x"], inputs.get("b"))
    assert_close(call(inputs["x"] + 0, inputs.get("b"), overwrite=True), y.detach(), 0, "in place")
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
    """A mapping network with weights 100 · identity, which the learning rate multiplier undoes."""
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
    """The largest divisor of the batch up to the group size; the whole batch where none is given."""
    for n, group, used in [(6, 4, 3), (5, 4, 1), (8, None, 8), (3, 4, 3), (1, 4, 1)]:
        x = draw(n, 2, 3, 3, seed=n)
        y = minibatch_std(x, group)
        m = n // used
        expected = torch.stack([(x[i % m :: m].var(dim=0, unbiased=False) + 1e-8).sqrt().mean() for i in range(n)])
        assert_close(y[:, 2, 1, 1], expected.detach(), 1e-13, f"batch {n}, group {group}")


@pytest.mark.parametrize("mean", [0.0, 5.0])
@pytest.mark.parametrize("function", [pixel_norm, instance_norm])
def test_gradients_of_norms_in_bfloat16(function: Any, mean: float) -> None:
    """Within some roundings of float64, for gradients that have a mean; of an instance norm they sum to nothing."""
    x, g = (draw(4, 16, 8, 8, seed=s).detach().bfloat16() for s in (0, 1))
    x.requires_grad_()
    g = g + mean
    exact = x.detach().double().requires_grad_()
    (expected,), (found,) = (grad(function(t), t, g.to(t.dtype)) for t in (exact, x))
    half_step = 2.0**-9
    assert float((found - expected).norm() / expected.norm()) < 4 * half_step
    if function is instance_norm:
        assert float(found.double().sum(dim=[2, 3]).abs().max()) < 8 * half_step * float(expected.abs().max())


def test_norms_against_their_definitions() -> None:
    """Over channels, over pixels; eps 1e-8 inside the root, biased variance. Small values make eps count."""
    x = draw(3, 5, 4, 6) * 1e-3
    assert_close(pixel_norm(x), (x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()).detach(), 1e-14, "pixel_norm")
    std = (x.var(dim=[2, 3], unbiased=False, keepdim=True) + 1e-8).sqrt()
    assert_close(instance_norm(x), ((x - x.mean([2, 3], keepdim=True)) / std).detach(), 1e-14, "instance_norm")
    assert pixel_norm(torch.full((1, 4, 1, 1), 1e-3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    for function in (pixel_norm, instance_norm, minibatch_std):
        assert gradcheck(function, (draw(2, 2, 2, 2),))
        assert gradgradcheck(function, (draw(2, 2, 2, 2),))
