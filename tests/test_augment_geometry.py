"""Adaptive augmentation: warping against its definition, scipy, and mirror images."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor

from augmenting import images
from ganzoo_augment.warp import warp
from ganzoo_augment.wavelets import lowpass
from resampling import upfirdn2d


def random_inverse(n: int, size: tuple[int, int], seed: int = 0, strength: float = 1.0) -> Tensor:
    """Draw affine maps, [n, 3, 3] in float64."""
    rng = np.random.default_rng(seed)
    matrices = np.tile(np.eye(3), (n, 1, 1))
    matrices[:, :2, :2] += strength * 0.5 * rng.standard_normal((n, 2, 2))
    matrices[:, :2, 2] = strength * 0.2 * rng.standard_normal((n, 2)) * [size[1], size[0]]
    return torch.from_numpy(matrices)


def reference_warp(x: Tensor, inverse: Tensor) -> Tensor:
    """Warp [1, C, H, W] by torch's operations: pad, upsample, affine grid, grid_sample, downsample."""
    h, w = x.shape[2:]
    f = torch.from_numpy(lowpass())

    def move(tx: float, ty: float) -> Tensor:
        return torch.tensor([[1, 0, tx], [0, 1, ty], [0, 0, 1]], dtype=torch.float64)

    def scale(sx: float, sy: float) -> Tensor:
        return torch.diag(torch.tensor([sx, sy, 1], dtype=torch.float64))

    x = F.pad(x, [w - 1, w - 1, h - 1, h - 1], mode="reflect")
    x = upfirdn2d(x, f, up=2, padding=(6, 5, 6, 5), gain=4)
    height, width = (h + 6) * 2, (w + 6) * 2
    theta = move(-0.5, -0.5) @ scale(2, 2) @ inverse @ scale(0.5, 0.5) @ move(0.5, 0.5)
    theta = scale(2 / x.shape[3], 2 / x.shape[2]) @ theta @ scale(width / 2, height / 2)
    grid = F.affine_grid(theta[None, :2], [1, x.shape[1], height, width], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
    return upfirdn2d(x, f, down=2, padding=(-1, -1, -1, -1), flip=True)


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("size", [(16, 16), (12, 20), (9, 4), (2, 3)])
def test_warp_is_the_definition(size, channels):
    x, inverse = images(6, channels, size), random_inverse(6, size)
    y = warp(x, inverse)
    for i in range(len(x)):
        assert torch.allclose(y[i : i + 1], reference_warp(x[i : i + 1], inverse[i]), atol=1e-12)


def test_warp_against_scipy():
    """Warping equals map_coordinates of scipy on the filtered, reflected image."""
    x, inverse = images(1, 1, (10, 14))[0, 0].numpy(), random_inverse(1, (10, 14), 5)[0].numpy()
    f, (h, w) = lowpass(), x.shape
    canvas = np.pad(x, ((h - 1, h - 1), (w - 1, w - 1)), mode="reflect")
    for axis in (0, 1):
        canvas = scipy.signal.upfirdn(2 * f, canvas, up=2, axis=axis)  # sample k + 5 belongs to k
    rows, columns = (np.arange(-6, 2 * n + 6) / 2 - (n - 1) / 2 for n in (h, w))
    there = np.einsum(
        "ij,jkl->ikl", inverse, np.stack([*np.meshgrid(columns, rows), np.ones((len(rows), len(columns)))])
    )
    at = [2 * (there[1] + (h - 1) / 2 + h - 1) + 5, 2 * (there[0] + (w - 1) / 2 + w - 1) + 5]
    sampled = scipy.ndimage.map_coordinates(canvas, at, order=1, mode="grid-constant")
    for axis in (0, 1):
        sampled = scipy.ndimage.correlate1d(sampled, f, axis=axis, mode="constant", origin=0)
    ours = warp(torch.from_numpy(x)[None, None], torch.from_numpy(inverse)[None])[0, 0]
    # correlate1d of 12 taps centres on the 7th: output 2 j of the halving stands at sample 2 j + 7
    assert np.allclose(ours, sampled[7 : 7 + 2 * h : 2, 7 : 7 + 2 * w : 2], atol=1e-12)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (256, 256)])
def test_no_motion_is_nearly_the_identity(size):
    x = images(2, 3, size).float()
    assert (warp(x, torch.eye(3).repeat(2, 1, 1)) - x).abs().max() < 1e-6


@pytest.mark.parametrize(("tx", "ty"), [(3, 0), (0, -4), (5, 2), (-7, 7)])
def test_whole_pixels_are_exact(tx, ty):
    """Shifts by whole pixels are exact also at the border, where the reflection enters."""
    x, inverse = images(1, 3, (16, 16)), torch.eye(3, dtype=torch.float64)[None].clone()
    inverse[0, :2, 2] = -torch.tensor([tx, ty])
    padded = F.pad(x, [15] * 4, mode="reflect")
    assert torch.allclose(warp(x, inverse), padded[..., 15 - ty : 31 - ty, 15 - tx : 31 - tx], atol=1e-9)


TURNS = {  # matrix from output to input, and what numpy calls it
    "mirror": ([[-1, 0], [0, 1]], lambda x: x.flip(3)),
    "quarter": ([[0, -1], [1, 0]], lambda x: torch.rot90(x, 1, [2, 3])),
    "half": ([[-1, 0], [0, -1]], lambda x: torch.rot90(x, 2, [2, 3])),
}


@pytest.mark.parametrize("turn", TURNS)
def test_mirror_images_and_quarter_turns(turn):
    """sym6 is not quite symmetric: mirrored, a linear ramp is shifted by twice the filter's asymmetry."""
    matrix, expected = TURNS[turn]
    inverse = torch.eye(3, dtype=torch.float64)[None].clone()
    inverse[0, :2, :2] = torch.tensor(matrix)
    y, x = torch.meshgrid(torch.arange(24.0).double(), torch.arange(24.0).double(), indexing="ij")
    ramp = torch.stack([torch.ones_like(x), x, y])[None]
    moved = (warp(ramp, inverse) - expected(ramp))[0, :, 9:15, 9:15]  # far from the kinks of the reflection
    lopsided = (lowpass() * (np.arange(12) - 5)).sum() / 2  # of the filter's centre, in pixels
    offset = torch.eye(2) - torch.tensor(matrix, dtype=torch.float32)
    want = lopsided * (offset.double() @ torch.ones(2, dtype=torch.float64))
    assert abs(lopsided) < 0.06
    assert torch.allclose(moved[0], torch.zeros_like(moved[0]), atol=1e-9)
    for axis in (0, 1):
        assert torch.allclose(moved[1 + axis].abs(), want[axis].abs().expand(6, 6), atol=1e-6)


def test_an_image_does_not_depend_on_its_company():
    x, inverse = images(5, 3, (20, 12)), random_inverse(5, (20, 12))
    alone = torch.cat([warp(a[None], m[None]) for a, m in zip(x, inverse)])
    assert torch.allclose(warp(x, inverse), alone, atol=1e-12)


def test_tiles_do_not_show(monkeypatch):
    x, inverse = images(2, 1, (40, 33)), random_inverse(2, (40, 33))
    whole = warp(x, inverse)
    monkeypatch.setattr("ganzoo_augment.warp.TILE", 7)
    assert torch.allclose(warp(x, inverse), whole, atol=1e-12)
