"""The filters of adaptive augmentation, all from orthonormal wavelets (arXiv:2006.06676, appendix B.1 and B.2)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BANDS = 4  # octaves; the lowest band is all below an eighth of the highest frequency

# scaling filters, of sum √2, of Daubechies' least asymmetric wavelets with 6 and with 2 vanishing moments
_SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_SYM2 = tuple((a + b * 3**0.5) / (4 * 2**0.5) for a, b in ((1, -1), (3, -1), (3, 1), (1, 1)))


@cache
def lowpass() -> Array:
    """The half-band filter of the geometric transformations, 12 taps of sum 1."""
    return np.array(_SYM6) / sum(_SYM6)


@cache
def filter_bank() -> Array:
    """Symmetric filters that divide the spectrum into octaves, [4, 43], from low to high; their sum is the identity.

    Each level stretches the existing filters by two, keeps their low half, and adds the high half to the next filter.
    """
    low = np.array(_SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low, high = (np.convolve(f, f[::-1]) / 2 for f in (low, high))  # zero phase: H(z) H(1/z) / 2
    bank = np.eye(BANDS, 1)
    for band in range(1, BANDS):
        stretched = np.zeros((BANDS, 2 * bank.shape[1] - 1))
        stretched[:, ::2] = bank
        bank = np.stack([np.convolve(row, low) for row in stretched])
        start = (bank.shape[1] - len(high)) // 2
        bank[band, start : start + len(high)] += high
    return bank
