"""Upsampling, downsampling and filtering against outputs recorded from NVlabs/stylegan2-ada-pytorch.

In float64: values, first and second derivatives; beside them the functions against their definitions.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganzoo.nn.resample import conv2d_down, conv2d_up, downsample, fir, upfirdn2d, upsample
from operations import TAPS, by_key, check_derivatives, draw
from reference import EXACT, arrays, assert_close
from resampling import pair
from resampling import upfirdn2d as reference

OPS = 1e-5  # for filters that the product normalises in float64 and the reference in float32


def plain_resize(case: dict[str, Any]) -> bool:
    return case["api"] in ("upsample2d", "downsample2d") and not case["kwargs"]


def normalised_taps(case: dict[str, Any]) -> bool:
    flat = isinstance(case["raw"], list) and not isinstance(case["raw"][0], list)
    return flat and bool(case["kwargs"].get("normalize", True))


def pads(padding: int | list[int]) -> list[int]:
    """Padding in any of the reference's forms as (left, right, top, bottom)."""
    p = [padding, padding] if isinstance(padding, int) else padding
    return [p[0], p[0], p[1], p[1]] if len(p) == 2 else p


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
def test_upfirdn2d_reference(case: dict[str, Any]) -> None:
    """The tests' definition, with which the product's upfirdn2d is compared."""
    a = arrays(case)
    x = a["x"].requires_grad_()
    check_derivatives(reference(x, a.get("f"), **as_upfirdn2d(case, a.get("f"))), {"x": x}, a)


def separable_and_square(case: dict[str, Any]) -> bool:
    """Whether the product has the case: taps that float32 represents exactly once scaled, both axes alike."""
    if case["filter"] not in ("b1331", "b121") or case["setup_filter_kwargs"]:
        return False
    options = as_upfirdn2d(case, arrays(case)["f"])
    (left, right, top, bottom), factors = options["padding"], [pair(options.get(k, 1)) for k in ("up", "down")]
    return (left, right) == (top, bottom) and all(x == y for x, y in factors) and not options["flip"]


@pytest.mark.parametrize("case", by_key("03_upfirdn2d", separable_and_square))
def test_upfirdn2d(case: dict[str, Any]) -> None:
    a = arrays(case)
    x, options = a["x"].requires_grad_(), as_upfirdn2d(case, a["f"])
    up, down = (pair(options.get(k, 1))[0] for k in ("up", "down"))
    y = upfirdn2d(x, tuple(a["f_raw"].tolist()), up=up, down=down, padding=options["padding"][:2], gain=options["gain"])
    check_derivatives(y, {"x": x}, a)


@pytest.mark.parametrize("case", by_key("03_upfirdn2d", plain_resize))
def test_upsample_and_downsample(case: dict[str, Any]) -> None:
    """The product's functions take raw taps, symmetric or not, of even or odd number."""
    a = arrays(case)
    ours = {"upsample2d": upsample, "downsample2d": downsample}[case["api"]](a["x"], tuple(a["f_raw"].tolist()))
    assert_close(ours, a["y"], EXACT if case["filter"] in ("b1331", "b121") else OPS, case["api"])


@pytest.mark.parametrize("case", by_key("03_setup_filter", normalised_taps))
def test_fir(case: dict[str, Any]) -> None:
    """`fir` makes normalised 2-D filters of 1-D taps; 2-D, unnormalised and absent taps are deliberately left out.

    The reference has gain and flip as options, and keeps long filters one-dimensional, which changes no result.
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
    assert_close(upsample(x, taps), reference(x, f, up=2, padding=(*up, *up), gain=4).detach(), 1e-14, "upsample")
    assert_close(downsample(x, taps), reference(x, f, down=2, padding=(*down, *down)).detach(), 1e-14, "downsample")
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
    same = upfirdn2d(torch.ones(1, 1, 4, 4), taps, padding=(2, 1))[0, 0]
    assert same[:2].tolist() == [[0.25, 0.4375, 0.5, 0.4375], [0.4375, 0.765625, 0.875, 0.765625]]
    w = (torch.arange(9.0) / 10).reshape(1, 1, 3, 3)
    y = conv2d_up(ramp, w, taps)[0, 0]
    assert float(y.sum()) == pytest.approx(1302.9, abs=1e-3)
    row = [0.21875, 0.675, 1.39375, 2.25625, 3.11875, 3.98125, 4.46875, 3.98125]
    assert y[0].tolist() == pytest.approx(row, abs=1e-6)
    y = conv2d_down(ramp, w, taps)[0, 0]
    assert y.flatten().tolist() == pytest.approx([15.720312, 17.351562, 21.270313, 21.064062], abs=2e-6)
