"""Wasserstein-1 distance of large one-dimensional samples, without sorting them whole.

Let t_1 <= ... <= t_2n be both samples together, and D_k the number of a minus the number of b among the first k. Then

    mean |sort(a) - sort(b)| = 1/n sum_k |D_k| (t_{k+1} - t_k) = 1/n sum_k t_k (|D_{k-1}| - |D_k|),

and the last factor is 1 or -1: it says only whether D_{k-1} is positive. Put the samples into bins. Where D is so far
from 0 at a bin's beginning that the bin's content cannot bring it there, all a of the bin have one factor and all b
the other, in whatever order they come. Only the few remaining bins must be sorted.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

FEW = 2**14  # samples below which sorting is faster
PER_BIN = 4  # samples of each set, about
BINS = 2**16  # at most: counts stay within a core's cache
PART = 2**16  # samples worked on at a time: stay within a core's cache
RUN = 256  # products added up in float32; from there on in float64


def wasserstein(a: Floats, b: Floats) -> float:
    """mean |sort(a) - sort(b)|, exact to the rounding of float32 numbers.

    Args:
        a: float32 [n], finite; overwritten
        b: float32 [n], finite; overwritten
    """
    return _sorting(a, b) if len(a) < FEW else _binning(a, b)


def _sorting(a: Floats, b: Floats) -> float:
    a.sort()
    b.sort()
    return float(np.abs(a - b).mean(dtype=np.float64))


class _Squash(NamedTuple):
    """x -> bin, in the order of x: x / (width + |x|) spreads bell-shaped samples around 0 over all bins."""

    width: np.float32
    number: int  # of bins

    def bins(self, x: Floats) -> Ints:
        out = np.empty(len(x), np.int64)
        y, size = np.empty((2, min(PART, len(x))), np.float32)
        for start in range(0, len(x), PART):
            part = x[start : start + PART]
            y, size = y[: len(part)], size[: len(part)]
            np.abs(part, out=size)
            size += self.width
            np.divide(part, size, out=y)
            y += 1
            y *= (self.number - 1) / 2
            out[start : start + PART] = y
        return out


def _binning(a: Floats, b: Floats) -> float:
    some = np.concatenate([x[:: max(1, len(x) // 1024)] for x in (a, b)])
    quarters = [len(some) * i // 4 for i in (1, 2, 3)]
    low, mid, high = np.partition(some, quarters)[quarters]
    a -= mid  # the factors add up to 0: a shift of both changes nothing but the rounding
    b -= mid
    squash = _Squash(max(high - low, np.finfo(np.float32).tiny), min(BINS, len(a) // PER_BIN))
    bins_a, bins_b = squash.bins(a), squash.bins(b)
    count_a, count_b = (np.bincount(bins, minlength=squash.number) for bins in (bins_a, bins_b))
    step = count_a - count_b
    before = np.cumsum(step)
    before -= step  # D at each bin's beginning
    factor = np.subtract(before >= count_b, before + count_a <= 0, dtype=np.float32)  # of b; -1 times it is that of a
    total_a, open_a = _decided(a, bins_a, factor)
    total_b, open_b = _decided(b, bins_b, factor)
    undecided = np.flatnonzero(factor == 0)
    rest = _undecided(open_a, open_b, before[undecided], step[undecided], (count_a + count_b)[undecided])
    return (total_b - total_a + rest) / len(a)


def _decided(x: Floats, bins: Ints, factor: Floats) -> tuple[float, Floats]:
    """Sum of factor * x, and the x whose factor is 0."""
    total, left = 0.0, []
    for start in range(0, len(x), PART):
        part = x[start : start + PART]
        factors = factor.take(bins[start : start + PART])
        whole = len(part) // RUN * RUN
        runs = np.einsum("ij,ij->i", factors[:whole].reshape(-1, RUN), part[:whole].reshape(-1, RUN))
        total += float(runs.sum(dtype=np.float64)) + float(np.dot(factors[whole:], part[whole:]))
        left.append(part[factors == 0])
    return total, np.concatenate(left)


def _undecided(a: Floats, b: Floats, before: Ints, step: Ints, count: Ints) -> float:
    """sum_k t_k (|D_{k-1}| - |D_k|) within some bins.

    The last bit of a number, which float64 has to spare, says which sample it is from, so that both are sorted as one.

    Args:
        a: what the bins hold of a, in any order
        b: the same of b
        before: D at each of these bins' beginning
        step: how much each of them adds to D
        count: how many samples each of them holds
    """
    both = np.concatenate([a, b], dtype=np.float64)
    bits = both.view(np.int64)
    bits[len(a) :] |= 1
    both.sort()
    steps = 1 - 2 * (bits & 1)
    d = np.cumsum(steps) - steps + np.repeat(before - (np.cumsum(step) - step), count)
    return float(np.dot(both, (np.abs(d) - np.abs(d + steps)).astype(np.float64)))
