"""The layers of a StyleGAN3 synthesis network: rates, cutoffs, sizes and channels (arXiv:2106.12423, section 3.2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ganzoo.errors import RecipeError
from ganzoo.types import Plan, Size
from ganzoo_stylegan3.bands import Band, Bands
from ganzoo_stylegan3.filters import low_pass, separable


class Signal(NamedTuple):
    """Band-limited maps: rates and frequencies are in cycles, or samples, per side of the image."""

    rate: int  # sampling rate
    cutoff: float  # f_c: frequencies up to here pass
    half_width: float  # f_h: half of the transition band
    size: int  # side of the maps in pixels, with the margin around the image
    channels: int


@dataclass(frozen=True)
class LayerSpec:
    """One layer: convolution, then the nonlinearity between an upsampling and a downsampling filter.

    Args:
        source: maps that come in
        target: maps that leave
        rate: temporary sampling rate, at which the nonlinearity is applied
        kernel: side of the convolution's kernel
        filter_size: taps of a filter for each unit of its factor
        radial: whether the downsampling filter is rotation-symmetric
        filtered: whether there are filters; the last layer has none
    """

    source: Signal
    target: Signal
    rate: int
    kernel: int
    filter_size: int
    radial: bool
    filtered: bool

    @property
    def up(self) -> int:
        """Factor of the upsampling."""
        return self.rate // self.source.rate

    @property
    def down(self) -> int:
        """Factor of the downsampling."""
        return self.rate // self.target.rate

    def taps(self, factor: int) -> int:
        """Number of taps of the filter of a factor; 1 is no filter."""
        return self.filter_size * factor if self.filtered and factor > 1 else 1

    @property
    def padding(self) -> tuple[int, int]:
        """Pixels (before, after) on the upsampled grid, negative to crop, so that the maps leave at their size."""
        convolved = self.source.size + self.kernel - 1
        total = (self.target.size - 1) * self.down + 1 - convolved * self.up
        total += self.taps(self.up) + self.taps(self.down) - 2
        before = (total + self.up) // 2
        return before, total - before

    def up_filter(self) -> tuple[float, ...]:
        """Taps of the upsampling filter: the band of the maps that come in."""
        s = self.source
        return tuple(low_pass(self.taps(self.up), s.cutoff, 2 * s.half_width, self.rate).tolist())

    def up_band(self, gain: float) -> Band:
        """Upsampling along an axis, with the padding."""
        taps, convolved, (before, after) = self.up_filter(), self.source.size + self.kernel - 1, self.padding
        out = convolved * self.up + before + after - len(taps) + 1
        scaled = tuple(f * self.up * gain for f in taps)
        return Band(scaled, self.up, 1, before, convolved, out)

    def down_bands(self, tolerance: float) -> list[Bands]:
        """Downsampling (vertical, horizontal), of which the results are to be added up; one of a separable filter.

        Args:
            tolerance: parts of a radial filter below this share of its largest one are left out
        """
        t, size = self.target, self.up_band(1.0).out
        kernel = low_pass(self.taps(self.down), t.cutoff, 2 * t.half_width, self.rate, self.radial)
        return [
            tuple(Band(tuple(f.tolist()), 1, self.down, 0, size, t.size) for f in pair)  # type: ignore[misc]
            for pair in separable(kernel, tolerance)
        ]


@dataclass(frozen=True)
class Design:
    """The design of a synthesis network; the defaults are the paper's.

    Args:
        layers: number of layers before the one that makes the image
        critical: number of last layers that are critically sampled
        first_cutoff: f_c of the first maps
        first_stopband: f_t of the first maps
        last_stopband: f_t of the last maps, as a multiple of the image's highest frequency
        margin: pixels around the image, in which operations may read past its border
        filter_size: taps of a filter for each unit of its factor
        upsampling: how many times finer nonlinearities are sampled than the finer of a layer's maps
        kernel: side of the kernels; 3, or 1 for equivariance under rotation
        radial: whether downsampling filters are rotation-symmetric, but in the critical layers
    """

    layers: int = 14
    critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2.0**2.1
    last_stopband: float = 2.0**0.3
    margin: int = 10
    filter_size: int = 6
    upsampling: int = 2
    kernel: int = 3
    radial: bool = False

    def signals(self, side: int) -> list[Signal]:
        """The maps of each layer and, last, the image, [layers + 1], with no channels yet."""
        highest = side / 2
        signals = []
        for i in range(self.layers + 1):
            t = min(i / (self.layers - self.critical), 1.0)
            cutoff = self.first_cutoff * (highest / self.first_cutoff) ** t
            stopband = self.first_stopband * (highest * self.last_stopband / self.first_stopband) ** t
            rate = 2 ** math.ceil(math.log2(min(2 * stopband, side)))
            size = side if i >= self.layers - 1 else rate + 2 * self.margin
            signals.append(Signal(rate, cutoff, max(stopband, rate / 2) - cutoff, size, 0))
        return signals

    def table(self, side: int, channels: Sequence[int], image_channels: int) -> list[LayerSpec]:
        """The layers, and the one that makes the image.

        Args:
            side: of the image, a power of two
            channels: of each layer
            image_channels: of the image
        """
        targets = [s._replace(channels=c) for s, c in zip(self.signals(side), [*channels, image_channels])]
        specs = []
        for i, (source, target) in enumerate(zip([targets[0], *targets], targets)):
            last, critical = i == self.layers, i >= self.layers - self.critical
            specs.append(
                LayerSpec(
                    source=source,
                    target=target,
                    rate=max(source.rate, target.rate) * (1 if last else self.upsampling),
                    kernel=1 if last else self.kernel,
                    filter_size=self.filter_size,
                    radial=self.radial and not critical,
                    filtered=not last,
                )
            )
        return specs


def channels_at(plan: Plan, cutoffs: Sequence[float]) -> list[int]:
    """Channels for each cutoff f_c: those that the plan of a generator's levels has at size 2 f_c.

    For a plan of the rule min(base / size, max) they are the paper's round(min((base / 2) / f_c, max)). Between the
    sizes of any other plan they are interpolated geometrically.
    """
    sides, widths = [size[0] for size, _ in plan], [channels for _, channels in plan]
    base, most = widths[-1] * sides[-1], max(widths)
    if widths == [min(base // side, most) for side in sides]:
        return [most if widths[-1] == most else max(1, round(min(base / 2 / f, most))) for f in cutoffs]
    channels = []
    for cutoff in cutoffs:
        at = min(max(math.log2(2 * cutoff / sides[0]), 0.0), len(plan) - 1.0)
        level = min(int(at), len(plan) - 2)
        coarse, fine = widths[level : level + 2]
        channels.append(max(1, round(coarse * (fine / coarse) ** (at - level))))
    return channels


def square_side(size: Size) -> int:
    """Side of a square image. Raises RecipeError unless it is a power of two."""
    height, width = size
    if height != width or height & (height - 1):
        raise RecipeError(
            f"the synthesis 'alias_free' makes square images with a power of two as their side, not {width}x{height}",
            cure=f"choose image.size {2 ** max(2, round(math.log2(max(size))))}, or another synthesis",
        )
    return height
