"""Statistics of feature maps that a transfer can match, as components."""

from abc import abstractmethod
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from ganzoo.nn.precision import at_least_fp32
from ganzoo.types import Maps, PerSample
from ganzoo_style_transfer.interfaces import StyleFeatures, StyleStatistic
from ganzoo_style_transfer.statistics import gram, gram_error, mean_std, moments_error

LI = "arXiv:1701.01036"
Positions = Annotated[int, Gt(1)]


class Gram(StyleStatistic, name="gram", paper="arXiv:1508.06576"):
    """Products of channels, averaged over positions: E = sum (G / HW - A / H'W')² / (4 C²) (Eq. 4).

    It is MMD² / (4 C²) under the kernel (x . y)² (arXiv:1701.01036): it matches raw second moments, and nothing else.
    """

    def describe(self, style: Maps) -> StyleFeatures:
        """The Gram matrix, [1, C, C]."""
        return (gram(style, "hw"),)

    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """E of each sample, [N]."""
        return gram_error(gram(x, "hw"), style[0])


class BatchNormStatistics(StyleStatistic, name="bn", paper=LI):
    """Mean and deviation of each channel: mean_c (mu - mu')² + mean_c (sigma - sigma')².

    What AdaIN matches. Weaker than Gram: it sees no products of different channels, and is not equivalent to it.
    """

    def describe(self, style: Maps) -> StyleFeatures:
        """Means and deviations, [1, C, 1, 1] each."""
        return mean_std(style)

    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """Mean squared differences, [N]."""
        return moments_error(mean_std(x), style)


class LinearMMD(StyleStatistic, name="mmd-linear", paper=LI):
    """MMD² of the positions' feature vectors under the kernel x . y: the squared distance of the means.

    Two styles of equal means are one to it. Divided by C, a normaliser of our own.
    """

    def describe(self, style: Maps) -> StyleFeatures:
        """Means, [1, C]."""
        return (at_least_fp32(style).mean(dim=[2, 3]),)

    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """Mean squared difference of the means, [N]."""
        return (at_least_fp32(x).mean(dim=[2, 3]) - style[0]).square().mean(dim=1)


class Sampled(StyleStatistic):
    """Biased MMD² of the positions' feature vectors, from kernel matrices of some of the positions.

    A map of P positions makes matrices of P² numbers; where it has more than `positions`, as many are drawn anew each
    time, without replacement; but L-BFGS, which needs one function, always sees the same ones: choose Adam. With all
    of them the order of positions does not matter.
    """

    positions: int

    def columns(self, x: Maps) -> Tensor:
        """Feature vectors of the positions, or of those that are drawn: [N, P, C]."""
        flat = at_least_fp32(x).flatten(2)
        if flat.shape[2] > self.positions:
            flat = flat[:, :, torch.randperm(flat.shape[2])[: self.positions].to(x.device)]
        return flat.mT

    @abstractmethod
    def kernel(self, x: Tensor, y: Tensor, style: StyleFeatures) -> Tensor:
        """Kernel of any two vectors, [N, P, P']."""

    def describe(self, style: Maps) -> StyleFeatures:
        """The style's vectors, [1, P, C]."""
        return (self.columns(style),)

    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """mean k(x, x) + mean k(y, y) - 2 mean k(x, y), [N]."""
        ours, theirs = self.columns(x), style[0]
        pairs = ((ours, ours), (theirs, theirs), (ours, theirs))
        xx, yy, xy = (self.kernel(a, b, style).mean(dim=[1, 2]) for a, b in pairs)
        return (xx + yy - 2 * xy) / self.divisor(ours.shape[2])

    def divisor(self, channels: int) -> float:
        """Return the number by which the distance is divided."""
        return 1.0


class PolynomialMMD(Sampled, name="mmd-poly", paper=LI):
    """MMD² of the positions' feature vectors under the kernel (x . y + offset)^degree, over 4 C² as Gram's.

    With degree 2 and offset 0 it is the statistic `gram`. Degrees 1 and 2 are computed from moments of all positions.

    Args:
        degree: of the polynomial
        offset: added to the product; above 0, lower moments are matched too
        positions: most positions that degrees from 3 on compare; of more, so many are drawn at random
    """

    def __init__(
        self,
        *,
        degree: Annotated[int, Interval(ge=1, le=4)] = 2,
        offset: Annotated[float, Ge(0)] = 0.0,
        positions: Positions = 1024,
    ) -> None:
        self.degree, self.offset, self.positions = degree, offset, positions

    def kernel(self, x: Tensor, y: Tensor, style: StyleFeatures) -> Tensor:
        """(x . y + offset)^degree."""
        return (x @ y.mT + self.offset).pow(self.degree)

    def divisor(self, channels: int) -> float:
        """4 C²."""
        return float(2 * channels) ** 2

    def _moments(self, x: Maps) -> StyleFeatures:
        return at_least_fp32(x).mean(dim=[2, 3]), gram(x, "hw")

    def describe(self, style: Maps) -> StyleFeatures:
        """Mean [1, C] and second moments [1, C, C]; vectors [1, P, C] from degree 3 on."""
        return super().describe(style) if self.degree > 2 else self._moments(style)

    def distance(self, x: Maps, style: StyleFeatures) -> PerSample:
        """MMD² / (4 C²), [N]."""
        if self.degree > 2:
            return super().distance(x, style)
        first, second = ((a - b).flatten(1).square().sum(dim=1) for a, b in zip(self._moments(x), style))
        total = first if self.degree == 1 else second + 2 * self.offset * first
        return total / self.divisor(x.shape[1])


class GaussianMMD(Sampled, name="mmd-gauss", paper=LI):
    """MMD² of the positions' feature vectors under exp(-|x - y|² / (2 s²)): 0 only where the distributions are equal.

    s² is `bandwidth` times the mean squared distance of the style's own vectors, computed over all of its pairs. The
    value lies between 0 and 2 whatever the layer, and is divided by nothing.

    Args:
        bandwidth: factor of s²; smaller ones see finer differences, from nearer
        positions: most positions that are compared; of more, so many are drawn at random
    """

    def __init__(self, *, bandwidth: Annotated[float, Gt(0)] = 1.0, positions: Positions = 1024) -> None:
        self.bandwidth, self.positions = bandwidth, positions

    def kernel(self, x: Tensor, y: Tensor, style: StyleFeatures) -> Tensor:
        """exp(-|x - y|² / (2 s²))."""
        squares = x.square().sum(dim=2)[:, :, None] + y.square().sum(dim=2)[:, None, :]
        return (-(squares - 2 * x @ y.mT).clamp_min(0) / (2 * style[1])).exp()

    def describe(self, style: Maps) -> StyleFeatures:
        """The style's vectors [1, P, C], and s² [1, 1, 1]."""
        flat = at_least_fp32(style).flatten(2)
        spread = 2 * flat.var(dim=2, correction=0).sum(dim=1)[:, None, None]  # mean of |x - y|² over all pairs
        return *super().describe(style), torch.where(spread > 0, self.bandwidth * spread, torch.ones_like(spread))
