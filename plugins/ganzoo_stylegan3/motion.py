"""Images moved by exact means, to compare generated ones with (arXiv:2106.12423, appendix E).

Each function returns the moved images and a mask [H, W] of the pixels that are known: whose sources lie in the image.
Translations are in pixels, to the right and down; rotations are about the centre, counter-clockwise, in radians.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.types import Image

LANCZOS = 3  # lobes of the Lanczos window on either side
REACH = 6  # a rotation's filter reaches so many pixels
WINDOW = 64  # pixels on either side in which such a filter is computed
UP = 4  # a rotated image is sampled from one of so many times its resolution
Array = NDArray[np.float64]


def _known(length: int, first: int, last: int) -> Tensor:
    """Whether each of the positions 0 to length - 1 lies in [first, last)."""
    at = torch.arange(length)
    return (at >= first) & (at < last)


def translated(x: Image, dx: int, dy: int) -> tuple[Image, Tensor]:
    """Translate by whole pixels; zeros come in."""
    h, w = x.shape[2:]
    moved = F.pad(x, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)))
    moved = moved[:, :, max(-dy, 0) : max(-dy, 0) + h, max(-dx, 0) : max(-dx, 0) + w]
    return moved, _known(h, dy, h + dy)[:, None] & _known(w, dx, w + dx)


def fractionally_translated(x: Image, dx: float, dy: float) -> tuple[Image, Tensor]:
    """Translate by any number of pixels, each axis by Lanczos interpolation; zeros come in."""
    masks = []
    for axis, shift in ((2, dy), (3, dx)):
        whole, size = math.floor(shift), x.shape[axis]
        k = np.arange(1 - LANCZOS, LANCZOS + 1) - (shift - whole)
        taps = np.sinc(k) * np.sinc(k / LANCZOS)
        kernel = torch.from_numpy(taps[::-1] / taps.sum()).to(x)  # conv2d correlates
        kernel = kernel[:, None] if axis == 2 else kernel[None]
        before, after = LANCZOS + whole, LANCZOS - 1 - whole
        x = F.pad(x, (0, 0, before, after) if axis == 2 else (before, after))
        x = F.conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])
        masks.append(_known(size, max(whole, -LANCZOS) + LANCZOS, size + min(whole - LANCZOS + 1, 0)))
    return x, masks[0][:, None] & masks[1]


def rotation(angle: float) -> Array:
    """Matrix that rotates points (x, y), y downwards, counter-clockwise."""
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def oriented_filter(angle: float, up: int) -> Array:
    """Low-pass filter whose band is common to the pixel grid and to the rotated grid, [2 REACH up - 1] both ways.

    The ideal filters of both grids convolved, times the Lanczos windows of both convolved; sampled `up` times a pixel.
    Each of the up² phases sums to 1 / up².
    """
    at = np.arange(1 - WINDOW * up, WINDOW * up) / up
    x, y = np.meshgrid(at, at)
    turned = rotation(angle)
    grids = [(x, y), (turned[0, 0] * x + turned[0, 1] * y, turned[1, 0] * x + turned[1, 1] * y)]
    ideal = [np.sinc(u) * np.sinc(v) for u, v in grids]
    window = [_lanczos_window(u) * _lanczos_window(v) for u, v in grids]
    kernel = _convolved(*ideal) * _convolved(*window)
    middle, reach = WINDOW * up - 1, REACH * up - 1
    kernel = kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    phases = np.pad(kernel, ((1, 0), (1, 0))).reshape(2 * REACH, up, 2 * REACH, up)
    phases = phases / phases.sum(axis=(0, 2), keepdims=True) / up**2
    return phases.reshape(2 * REACH * up, 2 * REACH * up)[1:, 1:]


def _lanczos_window(at: Array) -> Array:
    return np.where(np.abs(at) < LANCZOS, np.sinc(at / LANCZOS), 0.0)


def _convolved(a: Array, b: Array) -> Array:
    """Circular convolution of two arrays [n, n] with their origin in the middle."""
    shifted = [np.fft.rfft2(np.fft.ifftshift(each)) for each in (a, b)]
    return np.fft.fftshift(np.fft.irfft2(shifted[0] * shifted[1], s=a.shape))


def rotated(x: Image, angle: float) -> tuple[Image, Tensor]:
    """Rotate: interpolate to UP times the resolution by `oriented_filter`, then bilinearly; zeros come in."""
    n, c, h, w = x.shape
    kernel = np.pad(oriented_filter(angle, UP), ((1, 0), (1, 0))) * UP**2
    phases = torch.from_numpy(kernel.reshape(2 * REACH, UP, 2 * REACH, UP)[::-1, :, ::-1].copy()).to(x)
    weight = phases.permute(1, 3, 0, 2).reshape(UP**2, 1, 2 * REACH, 2 * REACH)
    margin = 2 * REACH
    fine = F.conv2d(F.pad(x.reshape(n * c, 1, h, w), [margin] * 4), weight)
    fine = F.pixel_shuffle(fine, UP).reshape(n, c, (h + margin + 1) * UP, (w + margin + 1) * UP)
    first = -(REACH + 1) * UP  # index of the first fine pixel, where the image's first pixel is 0
    inverse = rotation(-angle)
    rows, columns = np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")
    at_x = (inverse[0, 0] * columns + inverse[0, 1] * rows + (w - 1) / 2) * UP  # in fine pixels
    at_y = (inverse[1, 0] * columns + inverse[1, 1] * rows + (h - 1) / 2) * UP
    grid = [2 * (at - first) / (size - 1) - 1 for at, size in ((at_x, fine.shape[3]), (at_y, fine.shape[2]))]
    points = torch.from_numpy(np.stack(grid, axis=-1)).to(x).expand(n, -1, -1, -1)
    moved = F.grid_sample(fine, points, mode="bilinear", padding_mode="zeros", align_corners=True)
    first, reach = REACH * UP - 2, 2 * REACH * UP  # fine pixels nearer to the border are unknown, as published
    known = [(np.rint(at) >= first) & (np.rint(at) < first + size * UP - reach) for at, size in ((at_x, w), (at_y, h))]
    return moved, torch.from_numpy(known[0] & known[1])


def pseudo_rotated(x: Image, angle: float) -> tuple[Image, Tensor]:
    """Leave images in place, and keep of their spectrum what a rotation keeps."""
    h, w = x.shape[2:]
    kernel = torch.from_numpy(oriented_filter(-angle, 1)[::-1, ::-1].copy()).to(x)
    moved = F.conv2d(x, kernel.expand(x.shape[1], 1, -1, -1), padding=REACH - 1, groups=x.shape[1])
    return moved, _known(h, REACH - 1, h - REACH + 1)[:, None] & _known(w, REACH - 1, w - REACH + 1)
