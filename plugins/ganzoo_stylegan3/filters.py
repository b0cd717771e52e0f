"""Low-pass filters of alias-free layers (arXiv:2106.12423, appendix C.1): Kaiser-windowed sinc and jinc.

Coefficients are rounded to float32, as the released networks hold them, and kept in float64.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def attenuation(taps: int, width: float, rate: float) -> float:
    """Stopband attenuation in dB of a Kaiser-windowed filter (Kaiser's formula).

    Args:
        taps: number of taps
        width: of the transition band, in the unit of `rate`
        rate: sampling rate
    """
    return 2.285 * (taps - 1) * math.pi * (width / (rate / 2)) + 7.95


def kaiser_beta(decibels: float) -> float:
    """Shape of the Kaiser window with this stopband attenuation (Kaiser's formula)."""
    if decibels > 50:
        return 0.1102 * (decibels - 8.7)
    if decibels > 21:
        return 0.5842 * (decibels - 21) ** 0.4 + 0.07886 * (decibels - 21)
    return 0.0


def bessel_j1(x: Array) -> Array:
    """J1(x) by Bessel's integral, to 1e-15 for |x| <= 100.

    The midpoint rule converges geometrically, since the integrand is periodic. torch.special.bessel_j1 is off by 5e-7
    near 5 (torch 2.13).
    """
    t = (np.arange(256) + 0.5) * (np.pi / 256)
    return np.cos(t - x[..., None] * np.sin(t)).mean(axis=-1)


@cache
def low_pass(taps: int, cutoff: float, width: float, rate: float, radial: bool = False) -> Array:
    """Filter with unit gain at frequency 0, [taps], or [taps, taps] where `radial`; [1] for one tap.

    The separable filter is a sinc, the radial one a jinc, J1(2π f r) / (π r): the same cutoff in all directions.

    Args:
        taps: number of taps along an axis; even where `radial`
        cutoff: frequency at which the gain is 1/2, in the unit of `rate`
        width: of the transition band
        rate: sampling rate
        radial: rotation-symmetric, for equivariance under rotation
    """
    if taps == 1:
        return np.ones(1)
    n = np.arange(taps) - (taps - 1) / 2
    beta = kaiser_beta(attenuation(taps, width, rate))
    window = np.kaiser(taps, beta)
    if radial:
        r = np.hypot(n[:, None], n) / rate
        f = bessel_j1(2 * np.pi * cutoff * r) / (np.pi * r) * np.outer(window, window)
    else:
        f = np.sinc(2 * cutoff / rate * n) * window
    return (f / f.sum()).astype(np.float32).astype(np.float64)


def separable(kernel: Array, tolerance: float) -> list[tuple[Array, Array]]:
    """Return pairs of taps (vertical, horizontal) whose outer products add up to a kernel.

    A radial kernel of 12x12 has rank 6, and its singular values fall fast: three or four are left in float32.

    Args:
        kernel: [n], of which the outer product with itself is meant, or [n, n]
        tolerance: singular values below this share of the largest one are left out
    """
    if kernel.ndim == 1:
        return [(kernel, kernel)]
    u, s, v = np.linalg.svd(kernel)
    rank = int((s > tolerance * s[0]).sum())
    return [(u[:, i] * np.sqrt(s[i]), v[i] * np.sqrt(s[i])) for i in range(rank)]
