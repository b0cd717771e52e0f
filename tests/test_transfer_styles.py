"""Style statistics as distances of distributions: against definitions in plain loops, and what the papers promise."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ganzoo.registry.lookup import registry
from ganzoo_style_transfer.interfaces import StyleStatistic
from ganzoo_style_transfer.statistics import gatys_style_loss
from ganzoo_style_transfer.style_statistics import BatchNormStatistics, GaussianMMD, Gram, LinearMMD, PolynomialMMD
from ganzoo_style_transfer.trials import check_style_statistic

ALL = {
    "gram": Gram,
    "bn": BatchNormStatistics,
    "mmd-linear": LinearMMD,
    "mmd-poly": PolynomialMMD,
    "mmd-poly with offset": partial(PolynomialMMD, offset=0.7),
    "mmd-poly of degree 1": partial(PolynomialMMD, degree=1),
    "mmd-poly of degree 3": partial(PolynomialMMD, degree=3, offset=0.3),
    "mmd-gauss": GaussianMMD,
    "mmd-gauss, narrow": partial(GaussianMMD, bandwidth=0.2),
}
EACH = pytest.mark.parametrize("name", ALL)


def maps(*size: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    n, c, h, w = size
    x, mix, shift = (torch.randn(s, generator=draw, dtype=torch.float64) for s in ((n, c, h * w), (c, c), (c, 1)))
    return (mix @ x + shift).reshape(size)


def between(statistic: StyleStatistic, x: Tensor, style: Tensor) -> Tensor:
    return statistic.distance(x, statistic.describe(style))


def mmd(x: Tensor, y: Tensor, kernel) -> float:
    """Biased MMD² of two sets of columns [C, P], term by term."""

    def mean(a: Tensor, b: Tensor) -> float:
        return math.fsum(kernel(p, q) for p, q in product(a.T.tolist(), b.T.tolist())) / (a.shape[1] * b.shape[1])

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def dot(a, b) -> float:
    return math.fsum(p * q for p, q in zip(a, b))


def squares(a, b) -> float:
    return math.fsum((p - q) ** 2 for p, q in zip(a, b))


class TestAgainstTheDefinition:
    X, STYLE = maps(1, 4, 3, 4), maps(1, 4, 2, 5, seed=1)
    COLUMNS = X[0].flatten(1), STYLE[0].flatten(1)

    def check(self, statistic: StyleStatistic, kernel, divisor: float) -> None:
        ours = between(statistic, self.X, self.STYLE).item()
        assert ours == pytest.approx(mmd(*self.COLUMNS, kernel) / divisor, rel=1e-10)

    def test_linear(self) -> None:
        self.check(LinearMMD(), dot, 4)

    @pytest.mark.parametrize(("degree", "offset"), [(1, 0.0), (2, 0.0), (2, 0.7), (3, 0.0), (3, 0.3), (4, 1.0)])
    def test_polynomial(self, degree: int, offset: float) -> None:
        self.check(PolynomialMMD(degree=degree, offset=offset), lambda a, b: (dot(a, b) + offset) ** degree, 4 * 4**2)

    @pytest.mark.parametrize("bandwidth", [1.0, 0.3])
    def test_gaussian(self, bandwidth: float) -> None:
        """s² is the mean squared distance of all pairs of the style's columns, each with itself among them."""
        own = self.COLUMNS[1].T.tolist()
        s2 = bandwidth * math.fsum(squares(a, b) for a, b in product(own, own)) / len(own) ** 2
        self.check(GaussianMMD(bandwidth=bandwidth), lambda a, b: math.exp(-squares(a, b) / (2 * s2)), 1)

    def test_gram_is_polynomial(self) -> None:
        """E = MMD² / (4 C²) under (x . y)² (arXiv:1701.01036)."""
        x, style = maps(3, 5, 4, 5), maps(1, 5, 3, 2, seed=1)
        expected = gatys_style_loss(x, style)
        for statistic in (Gram(), PolynomialMMD()):
            assert torch.allclose(between(statistic, x, style), expected, rtol=1e-12, atol=0)

    def test_a_hand_computed_pair(self) -> None:
        """Columns {1, 3} and {2}, one channel: means agree; second moments are 5 and 4; variances 2 (unbiased)."""
        x, style = torch.tensor([[[[1.0, 3.0]]]]).double(), torch.tensor([[[[2.0, 2.0]]]]).double()
        assert between(LinearMMD(), x, style).item() == 0
        assert between(Gram(), x, style).item() == pytest.approx(1 / 4)
        assert between(PolynomialMMD(offset=9.0), x, style).item() == pytest.approx(1 / 4)  # means add nothing
        deviation = math.sqrt(2 + 1e-5) - math.sqrt(1e-5)
        assert between(BatchNormStatistics(), x, style).item() == pytest.approx(deviation**2)
        gauss = 0.5 + 0.5 * math.exp(-2) + 1 - 2 * math.exp(-0.5)  # a style without spread has s² = 1
        assert between(GaussianMMD(), x, style).item() == pytest.approx(gauss)


@EACH
class TestEveryStatistic:
    def test_equal_sets_are_at_distance_0(self, name: str) -> None:
        style = maps(1, 4, 6, 5)
        shuffled = style.flatten(2)[:, :, torch.randperm(30)].reshape(1, 4, 5, 6)
        for x in (style, style.flip(2), shuffled):
            assert abs(between(ALL[name](), x, style).item()) < 1e-12 * float(style.abs().max()) ** 8

    def test_positions_do_not_matter(self, name: str) -> None:
        x, style = maps(2, 4, 6, 5), maps(1, 4, 3, 7, seed=1)
        order = torch.randperm(30)
        shuffled = x.flatten(2)[:, :, order].reshape(2, 4, 10, 3)
        told = ALL[name]().describe(style.mT)
        assert torch.allclose(ALL[name]().distance(shuffled, told), between(ALL[name](), x, style), rtol=1e-9, atol=0)

    def test_samples_are_on_their_own(self, name: str) -> None:
        x, style = maps(3, 4, 5, 5), maps(1, 4, 3, 7, seed=1)
        each = torch.cat([between(ALL[name](), one[None], style) for one in x])
        assert torch.allclose(between(ALL[name](), x, style), each, rtol=1e-10, atol=0)

    def test_derivatives(self, name: str) -> None:
        x, told = maps(1, 2, 3, 2).requires_grad_(), ALL[name]().describe(maps(1, 2, 2, 2, seed=1))
        assert gradcheck(lambda v: ALL[name]().distance(v, told), x)
        assert gradgradcheck(lambda v: ALL[name]().distance(v, told), x)

    def test_half_precision_is_widened(self, name: str) -> None:
        x, style = maps(1, 4, 6, 6).bfloat16(), maps(1, 4, 6, 6, seed=1).bfloat16()
        found = between(ALL[name](), x, style)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(between(ALL[name](), x.double(), style.double()).item(), rel=1e-3)


class TestWhatTheyAreBlindTo:
    X = maps(1, 3, 8, 8)

    def test_linear_sees_means_only(self) -> None:
        wider = self.X.mean(dim=[2, 3], keepdim=True) * -1 + 2 * self.X
        assert between(LinearMMD(), wider, self.X).item() < 1e-28
        assert between(BatchNormStatistics(), wider, self.X).item() > 0.1

    def test_bn_sees_no_products_of_channels(self) -> None:
        other = self.X.clone()
        other[:, 0] = other[:, 0].flip(1)
        assert between(BatchNormStatistics(), other, self.X).item() < 1e-28
        assert between(Gram(), other, self.X).item() > 1e-3

    def test_gram_sees_second_moments_only(self) -> None:
        """Columns and their negatives have one Gram matrix; a characteristic kernel tells them apart."""
        assert between(Gram(), -self.X, self.X).item() == 0
        assert between(PolynomialMMD(offset=1.0), -self.X, self.X).item() > 1e-3
        assert between(GaussianMMD(), -self.X, self.X).item() > 1e-3

    def test_gauss_sees_third_moments(self) -> None:
        """Two points and a skewed three-point set of equal mean and variance."""
        even = torch.tensor([-1.0, 1.0] * 3, dtype=torch.float64).reshape(1, 1, 2, 3)
        skewed = torch.tensor([-(2**-0.5)] * 4 + [2**0.5] * 2, dtype=torch.float64).reshape(1, 1, 2, 3)
        for blind in (LinearMMD(), BatchNormStatistics(), Gram(), PolynomialMMD(offset=1.0)):
            assert between(blind, skewed, even).item() < 1e-20
        assert between(GaussianMMD(), skewed, even).item() > 1e-3


class TestSampling:
    def test_draws_from_torchs_generator(self) -> None:
        x, style, statistic = maps(1, 3, 20, 20), maps(1, 3, 20, 20, seed=1), GaussianMMD(positions=50)

        def seeded(seed: int) -> float:
            torch.manual_seed(seed)
            return between(statistic, x, style).item()

        assert seeded(1) == seeded(1) != seeded(2)

    def test_is_near_the_whole(self) -> None:
        """The biased estimate is above by about (1 - E k) / P for each set."""
        x, style = maps(1, 3, 20, 20), maps(1, 3, 20, 20, seed=1)
        whole = between(GaussianMMD(), x, style).item()
        torch.manual_seed(0)
        some = torch.tensor([between(GaussianMMD(positions=100), x, style).item() for _ in range(100)])
        assert whole < some.mean() < whole + 2 / 100

    def test_few_positions_are_all_taken(self) -> None:
        x = maps(1, 3, 5, 5)
        before = torch.get_rng_state()
        GaussianMMD(positions=25).describe(x)
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size", [(8, 8), (12, 8)])
@pytest.mark.parametrize("name", registry().names("style_statistic"))
def test_conforms(name: str, size: tuple[int, int]) -> None:
    cls = registry().get("style_statistic", name)
    assert list(check_style_statistic(partial(cls), cls, size)) == []
