"""Adaptive augmentation: its transformations against recorded values, a second implementation and closed forms."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from augmenting import fits, images
from ganzoo.interfaces import SampleRng
from ganzoo.testing.conformance import conformance
from ganzoo_augment.ada import ADA
from ganzoo_augment.transforms import PIPELINES, BatchRng, Draw, applied, colour, draw, gains, geometry
from ganzoo_augment.warp import amplify, erase, warp
from ganzoo_augment.wavelets import filter_bank, lowpass

EVERYTHING = dict.fromkeys(PIPELINES["bgcfnc"], 1.0)


class Loaded(SampleRng):
    """Numbers chosen by a test: always one percentile, or uniform numbers from a list."""

    def __init__(self, percentile: float = 0.7, uniforms: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.percentile, self.uniforms = percentile, list(uniforms)

    def uniform(self, like: Tensor) -> Tensor:
        return torch.full_like(like, self.uniforms.pop(0) if self.uniforms else self.percentile)

    def normal(self, like: Tensor) -> Tensor:
        return torch.full_like(like, float(scipy.special.erfinv(2 * self.percentile - 1)))


# --- filters ---------------------------------------------------------------------------------------------------------


def test_the_lowpass_filter_is_the_wavelet_sym6():
    """Orthonormality to its even shifts and 6 vanishing moments define it, up to the choice of roots."""
    h = lowpass() * math.sqrt(2)
    assert lowpass().sum() == pytest.approx(1, abs=1e-12)
    assert lowpass()[:3] == pytest.approx([0.010892, 0.002468, -0.083432], abs=1e-6)
    correlation = np.correlate(h, h, "full")[11::2]
    assert correlation == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-10)
    sign = (-1.0) ** np.arange(12)
    for moment in range(6):
        terms = sign * h * np.arange(12.0) ** moment
        assert abs(terms.sum()) < 1e-8 * np.abs(terms).sum()


def test_the_filter_bank_divides_the_spectrum():
    bank = filter_bank()
    assert bank.shape == (4, 43)
    assert bank[:, 21] == pytest.approx([0.125, 0.125, 0.25, 0.5])
    assert bank.sum(axis=1) == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert bank.sum(axis=0) == pytest.approx(np.eye(43)[21], abs=1e-12)
    assert np.abs(bank - bank[:, ::-1]).max() < 1e-15
    power = np.abs(np.fft.rfft(bank, 4096))
    assert list(power.argmax(axis=1) / 2048 > [-1, 0.125, 0.25, 0.5]) == [True] * 4  # each peaks in its octave
    assert list(power.argmax(axis=1) / 2048 <= [0.125, 0.25, 0.5, 1]) == [True] * 4


# --- recorded values -------------------------------------------------------------------------------------------------


RECORDED = {  # y[0, :, 5, 9] of a ramp, every random number at its 70th percentile
    "scale": (-0.87881, -0.21193, 0.45495),
    "rotate": (-0.85792, -0.19104, 0.47584),
    "aniso": (-0.90122, -0.23434, 0.43255),
    "xfrac": (-0.92176, -0.25488, 0.41201),
    "xint": (-0.93292, -0.26604, 0.40085),
    "rotate90": (-0.44594, 0.22094, 0.88783),
    "brightness": (-0.81578, -0.14889, 0.51799),
    "contrast": (-1.01198, -0.25364, 0.50469),
    "lumaflip": (-0.44383, 0.22305, 0.88994),
    "hue": (-0.06295, -0.95542, 0.34921),
    "saturation": (-1.08539, -0.22305, 0.63928),
    "imgfilter": (-0.84326, -0.21136, 0.42055),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_values(name, dtype):
    x = torch.linspace(-1, 1, 3 * 32 * 32, dtype=torch.float64).reshape(1, 3, 32, 32).to(dtype)
    # of the two rotations, the recorded one turns at the first only: the second one's angle is its median
    sample_rng = Loaded(uniforms=(0.7, 0.7, 0.7, 0.5) if name == "rotate" else ())
    (y,) = applied(draw(x, {name: 1.0}, sample_rng), (x,))
    assert y[0, :, 5, 9].tolist() == pytest.approx(RECORDED[name], abs=6e-6)


# --- colour, filter, cutout ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_colours_of_rgb_are_their_definitions(seed):
    """Each matrix from its definition: hue by scipy's rotation, the rest by hand, composed in the paper's order."""
    u = tuple(np.random.default_rng(seed).uniform(size=7))
    names = PIPELINES["color"]
    # uniform numbers in the order of use: five triggers, and what luma flip and hue draw; the normal ones are loaded
    sample_rng = Loaded(uniforms=(0.0, 0.0, 0.0, u[0], 0.0, u[1], 0.0))
    ours = colour(BatchRng(torch.zeros(1, dtype=torch.float64), dict.fromkeys(names, 1.0), sample_rng), 3)
    z = float(scipy.special.erfinv(0.4))
    v = np.ones(3) / math.sqrt(3)
    linear = 2 ** (0.5 * z) * np.eye(3)
    linear = (np.eye(3) - 2 * np.outer(v, v) * (u[0] >= 0.5)) @ linear
    linear = Rotation.from_rotvec(v * math.pi * (2 * u[1] - 1)).as_matrix() @ linear
    linear = (np.outer(v, v) + (np.eye(3) - np.outer(v, v)) * 2**z) @ linear
    assert ours is not None
    assert np.allclose(ours[0, :, :3], linear, atol=1e-12)
    assert np.allclose(ours[0, :, 3], linear @ np.full(3, 0.2 * z), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_colours_of_other_channels(channels):
    """Luma is the mean of all channels: a flip negates it, saturation keeps it. Hue applies to RGB only."""

    def matrix(name: Any) -> Tensor | None:
        return colour(BatchRng(torch.zeros(1, dtype=torch.float64), {name: 1.0}, Loaded()), channels)

    x = torch.randn(channels, 7, dtype=torch.float64)
    mean = x.mean(dim=0, keepdim=True)
    flip, saturation = matrix("lumaflip"), matrix("saturation")
    assert flip is not None and saturation is not None
    assert torch.allclose(flip[0, :, :-1] @ x, x - 2 * mean, atol=1e-12)
    s = 2 ** float(scipy.special.erfinv(0.4))
    assert torch.allclose(saturation[0, :, :-1] @ x, mean + (x - mean) * s, atol=1e-12)
    assert (matrix("hue") is None) == (channels != 3)


@pytest.mark.parametrize("size", [(24, 64), (5, 9)])
def test_octaves_against_scipy(size):
    """Borders are reflected, several times in an image smaller than the filter."""
    x, g = images(2, 2, size), torch.tensor([[1.0, 1, 1, 1], [0.5, 2, 0.1, 3]], dtype=torch.float64)
    y = amplify(x, g)
    assert torch.allclose(y[0], x[0], atol=1e-12)
    taps = g[1].numpy() @ filter_bank()
    expected = scipy.ndimage.convolve1d(x[1].numpy(), taps, axis=1, mode="mirror")
    expected = scipy.ndimage.convolve1d(expected, taps, axis=2, mode="mirror")
    assert np.allclose(y[1], expected, atol=1e-12)


def test_gains_keep_a_photographs_power():
    torch.manual_seed(0)
    g = gains(BatchRng(torch.zeros(50, dtype=torch.float64), {"imgfilter": 1.0}, SampleRng()))
    power = (g.square() * torch.tensor([10, 1, 1, 1]) / 13).sum(dim=1)
    assert (g[:, 1:] - g[:, :1]).abs().max() > 0.1
    assert power.log().abs().max() < 1  # each of four steps keeps it for what was white before


def test_the_box_of_cutout():
    x, centre = torch.ones(1, 1, 8, 12), torch.tensor([[0.5, 0.25]])
    y = erase(x, centre, torch.tensor([[0.5, 0.5]]))[0, 0]
    assert y[:4, 3:9].abs().sum() == 0 and y.sum() == 8 * 12 - 4 * 6


# --- channels and pyramids -------------------------------------------------------------------------------------------


def test_alpha_is_moved_and_cut_out_and_else_left_alone():
    torch.manual_seed(0)
    x = images(8, 4, (16, 16))
    (y,) = applied(draw(x, {name: 1.0 for name in EVERYTHING if name != "cutout"}, SampleRng()), (x,))
    torch.manual_seed(0)
    alone = draw(x, dict.fromkeys(PIPELINES["bg"], 1.0), SampleRng()).inverse
    assert alone is not None
    assert torch.allclose(y[:, 3:], warp(x, alone)[:, 3:], atol=1e-12)
    assert (y[:, :3] - warp(x, alone)[:, :3]).abs().max() > 0.1
    (y,) = applied(draw(x, {"cutout": 1.0}, SampleRng()), (x,))
    assert torch.equal(y[:, :3].abs().sum(dim=1) == 0, y[:, 3] == 0)


def smooth(n: int, side: int) -> Tensor:
    """Draw images of a few low frequencies, [n, 3, side, side]."""
    rng, at = np.random.default_rng(0), (np.arange(side) + 0.5) / side
    waves = [np.cos(math.pi * k * at) for k in range(4)]
    mix = rng.standard_normal((n, 3, 4, 4)) / 4
    return torch.from_numpy(np.einsum("nckl,ky,lx->ncyx", mix, waves, waves))


@pytest.mark.parametrize("seed", range(3))
def test_all_scales_show_the_same(seed):
    """A smooth image's coarse scales, transformed, are nearly the transformed image's coarse scales."""
    fine = smooth(6, 64)
    pyramid = (F.avg_pool2d(fine, 4), F.avg_pool2d(fine, 2), fine)
    torch.manual_seed(seed)
    out = applied(draw(fine, dict.fromkeys(PIPELINES["bgc"], 1.0), SampleRng()), pyramid)

    def size(x: Tensor) -> Tensor:
        return x.square().mean(dim=[1, 2, 3]).sqrt()

    for level, factor, bound in ((0, 4, 0.35), (1, 2, 0.12)):  # borders are as wide as pixels are
        want = F.avg_pool2d(out[2], factor)
        assert (size(out[level] - want) < bound * size(want)).all()
        assert (size(out[level].roll(1, 0) - want) > 0.8 * size(want)).all()  # another image's is another


def test_the_box_is_at_the_same_place_in_all_scales():
    torch.manual_seed(0)
    fine = torch.ones(20, 1, 32, 32)
    out = applied(draw(fine, {"cutout": 1.0}, SampleRng()), (F.avg_pool2d(fine, 4), fine))
    wide = F.avg_pool2d(out[1], 4)
    assert torch.equal(out[0][(wide - wide.round()).abs() < 1e-6], wide[(wide - wide.round()).abs() < 1e-6])
    assert 0.1 < float(1 - out[0].mean()) < 0.26


def test_noise_of_a_coarser_scale_is_the_finer_ones_mean():
    x = torch.zeros(3, 3, 8, 8)
    out = applied(draw(x, {"noise": 1.0}, SampleRng()), (F.avg_pool2d(x, 2), x))
    assert torch.allclose(out[0], F.avg_pool2d(out[1], 2))
    assert out[1].abs().sum(dim=[1, 2, 3]).min() > 0


def test_noise_is_white_and_of_every_strength():
    torch.manual_seed(0)
    drawn = draw(torch.zeros(1000, 3, 16, 16), {"noise": 1.0}, SampleRng()).noise
    assert drawn is not None
    strength = drawn.std(dim=[1, 2, 3])
    assert fits(strength, scipy.stats.halfnorm(0, 0.1))
    assert fits((drawn / strength[:, None, None, None])[:, :, ::5, ::5].flatten(), scipy.stats.norm())


def test_octaves_are_the_same_in_coarser_scales():
    g = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    fine = torch.randn(1, 1, 32, 32)
    drawn = Draw((32, 32), None, None, g, None, None)
    coarse, _ = applied(drawn, (F.avg_pool2d(fine, 2), fine))
    assert torch.allclose(coarse, amplify(F.avg_pool2d(fine, 2), torch.tensor([[1.0, 1.0, 2.0, 3.0]])))


# --- derivatives -----------------------------------------------------------------------------------------------------


def test_derivatives_of_everything():
    """First and second derivatives of all transformations together, as functions of the images."""
    x = images(2, 3, (4, 3)).requires_grad_()
    torch.manual_seed(0)
    drawn = draw(x.detach(), EVERYTHING, SampleRng())

    def function(x: Tensor) -> Tensor:
        return applied(drawn, (x,))[0].square()  # a square, or the second derivative would be 0

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


# --- what is drawn ---------------------------------------------------------------------------------------------------


MANY = 4000
CHANGED = {  # share of images that a transformation changes at p
    "xflip": lambda p: p / 2,
    "rotate90": lambda p: p * 3 / 4,
    "scale": lambda p: p,
    "rotate": lambda p: p,
    "aniso": lambda p: p,
    "xfrac": lambda p: p,
    "brightness": lambda p: p,
    "contrast": lambda p: p,
    "lumaflip": lambda p: p / 2,
    "hue": lambda p: p,
    "saturation": lambda p: p,
    "imgfilter": lambda p: 1 - (1 - p) ** 4,
    "noise": lambda p: p,
    "cutout": lambda p: p,
}


def parts(drawn: Draw) -> list[Tensor]:
    """All that was drawn, as [images, numbers]."""
    drawn_parts = [drawn.inverse, drawn.colour, drawn.gains, drawn.noise, drawn.box[1] if drawn.box else None]
    return [part.flatten(1) for part in drawn_parts if part is not None]


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0, 1.7])
@pytest.mark.parametrize("name", CHANGED)
def test_how_many_images_are_changed(name, p):
    torch.manual_seed(0)
    (part,) = parts(draw(torch.zeros(MANY, 3, 2, 2, dtype=torch.float64), {name: torch.tensor(p)}, SampleRng()))
    (rest,) = parts(draw(torch.zeros(1, 3, 2, 2, dtype=torch.float64), {name: 0.0}, SampleRng()))
    share = float(((part - rest).abs() > 1e-9).any(dim=1).double().mean())
    want = CHANGED[name](min(p, 1))
    assert abs(share - want) <= 4 * math.sqrt(want * (1 - want) / MANY)


def drawn_matrices(name: Any, size: tuple[int, int] = (100, 50)) -> Tensor:
    torch.manual_seed(1)
    like = torch.zeros(MANY, dtype=torch.float64)
    inverse = geometry(BatchRng(like, {name: 1.0}, SampleRng()), size)
    assert inverse is not None
    return inverse


def test_distributions_of_the_geometry():
    norm, uniform = scipy.stats.norm, scipy.stats.uniform
    assert fits(drawn_matrices("scale")[:, 0, 0].log2(), norm(0, 0.2))
    aniso = drawn_matrices("aniso")
    assert fits(aniso[:, 0, 0].log2(), norm(0, 0.2))
    assert torch.allclose(aniso[:, 0, 0] * aniso[:, 1, 1], torch.ones(MANY, dtype=torch.float64))
    rotate = drawn_matrices("rotate")
    assert fits(torch.atan2(rotate[:, 1, 0], rotate[:, 0, 0]), uniform(-math.pi, 2 * math.pi))
    xfrac = drawn_matrices("xfrac")
    assert fits(xfrac[:, 0, 2] / 50, norm(0, 0.125)) and fits(xfrac[:, 1, 2] / 100, norm(0, 0.125))
    xint = drawn_matrices("xint")[:, :2, 2]
    assert torch.equal(xint, xint.round()) and xint.abs().amax(dim=0).tolist() == [6, 12]
    quarter = drawn_matrices("rotate90")[:, :2, 0]
    assert [tuple(row) for row in sorted(quarter.unique(dim=0).tolist())] == [(-1, 0), (0, -1), (0, 1), (1, 0)]


def test_pipelines():
    assert {name: len(PIPELINES[name]) for name in PIPELINES} == {
        "blit": 3, "geom": 4, "color": 5, "filter": 1, "noise": 1, "cutout": 1,
        "bg": 7, "bgc": 12, "bgcf": 13, "bgcfn": 14, "bgcfnc": 15,
    }  # fmt: skip
    x = torch.zeros(2, 3, 8, 8)
    torch.manual_seed(0)
    assert [part is None for part in vars(draw(x, dict.fromkeys(PIPELINES["bgc"], 1.0), SampleRng())).values()] == [
        False, False, False, True, True, True,
    ]  # fmt: skip
    assert ADA(pipeline="blit", multipliers={"xint": 0, "hue": 0.5}).multipliers == {
        "xflip": 1,
        "rotate90": 1,
        "hue": 0.5,
    }


def test_conformance():
    conformance("augmentation")
