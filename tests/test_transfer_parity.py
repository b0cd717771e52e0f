"""Statistics of style transfer against outputs recorded from naoto0804/pytorch-AdaIN, and what the papers promise.

Its Gram matrices come from the plain definition, in the divisors that ports use.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import grad, gradcheck, gradgradcheck

from ganzoo.errors import DataError
from ganzoo_style_transfer.statistics import (
    adain,
    content_loss,
    coral,
    gatys_content_loss,
    gatys_style_loss,
    gram,
    gram_loss,
    mean_std,
    statistics_loss,
    style_loss,
)
from reference import FORWARD, GRADIENT, Recorded, load

NAME = "09_adain_gram"
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def maps(*size: int, seed: int = 0) -> Tensor:
    """Maps whose channels differ in mean, in spread and in how they hang together."""
    draw = torch.Generator().manual_seed(seed)
    n, c, h, w = size
    x, mix, shift = (torch.randn(s, generator=draw, dtype=torch.float64) for s in ((n, c, h * w), (c, c), (c, 1)))
    return (mix @ x + shift).reshape(size)


def to_style(case: str, compute: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Recorded], Tensor]:
    return lambda r: compute(r[f"{case}/content"], r[f"{case}/style"])


def gradient(compute: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Of sum(v * compute), v from -1 to 1 where that is maps, with respect to the content."""

    def of(content: Tensor, style: Tensor) -> Tensor:
        x = content.clone().requires_grad_()
        y = compute(x, style)
        v = torch.linspace(-1, 1, y.numel()).to(y).reshape(y.shape) if y.ndim else torch.ones_like(y)
        return grad((y * v).sum(), x)[0]

    return of


COMPUTED: dict[str, Callable[[Recorded], Tensor]] = {
    **{
        f"{case}/{name}": to_style(case, compute)
        for case in ("c0", "c1")
        for name, compute in {
            "mean": lambda _, s: mean_std(s)[0],
            "std": lambda _, s: mean_std(s)[1],
            "std_eps1e-3": lambda _, s: mean_std(s, eps=1e-3)[1],
            "adain": adain,
            "adain_alpha0.6": lambda c, s: adain(c, s, alpha=0.6),
            "adain_grad_content": gradient(adain),
        }.items()
    },
    "c0/content_loss": to_style("c0", content_loss),
    "c0/style_loss": to_style("c0", style_loss),
    "c0/style_loss_grad": to_style("c0", gradient(style_loss)),
    "coral/out": lambda r: coral(r["coral/source"], r["coral/target"], as_published=True),
    "gram/x_raw": lambda r: gram(r["gram/x"]),
    "gram/x_chw": lambda r: gram(r["gram/x"], "chw"),
    "gram/x_hw": lambda r: gram(r["gram/x"], "hw"),
    "gram/x_tutorial_joint_batch": lambda r: gram(r["gram/x"], "nchw"),
    "gram/mse_chw": lambda r: gram_loss(r["gram/x"], r["gram/y"], "chw"),
    "gram/mse_hw": lambda r: gram_loss(r["gram/x"], r["gram/y"], "hw"),
    "gram/gatys_layer_loss": lambda r: gatys_style_loss(r["gram/x"], r["gram/y"]),
}


@PRECISIONS
@pytest.mark.parametrize("name", COMPUTED)
def test_recorded_outputs(name: str, dtype: torch.dtype) -> None:
    recorded = load(NAME, dtype)
    ours = COMPUTED[name](recorded)
    assert ours.dtype == dtype
    assert recorded.output(name)[1] == (dtype == torch.float64)
    recorded.check(name, ours, GRADIENT if "grad" in name else FORWARD)


def test_every_recorded_output_is_compared() -> None:
    recorded = {key.partition("/")[2] for key in load(NAME).tensors if key.startswith("out")}
    assert recorded == set(COMPUTED)


class TestAdaIN:
    def test_has_the_statistics_of_the_style(self) -> None:
        content, style = maps(2, 3, 16, 12), maps(2, 3, 9, 20, seed=1)
        for ours, theirs in zip(mean_std(adain(content, style, eps=0), eps=0), mean_std(style, eps=0)):
            assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        assert statistics_loss(adain(content, style), style).max() < 1e-8  # eps only

    def test_strength_0_is_the_content(self) -> None:
        content, style = maps(2, 3, 8, 8), maps(2, 3, 8, 8, seed=1)
        assert torch.equal(adain(content, style, alpha=0), content)

    def test_strength_is_linear(self) -> None:
        content, style = maps(2, 3, 8, 8), maps(2, 3, 8, 8, seed=1)
        half = (content + adain(content, style)) / 2
        assert torch.allclose(adain(content, style, alpha=0.5), half, rtol=0, atol=1e-12)

    def test_own_style_changes_nothing(self) -> None:
        content = maps(2, 3, 8, 8)
        assert torch.allclose(adain(content, content), content, rtol=0, atol=1e-12)

    def test_one_style_serves_a_batch(self) -> None:
        content, style = maps(3, 4, 8, 8), maps(1, 4, 5, 6, seed=1)
        each = torch.cat([adain(one[None], style) for one in content])
        assert torch.allclose(adain(content, style), each, rtol=0, atol=1e-12)

    def test_half_precision_comes_back_as_such(self) -> None:
        content, style = maps(2, 3, 8, 8), maps(2, 3, 8, 8, seed=1)
        ours = adain(content.bfloat16(), style.bfloat16())
        assert ours.dtype == torch.bfloat16
        assert torch.allclose(ours.double(), adain(content, style), rtol=0.02, atol=0.1)

    def test_a_single_position_has_no_deviation(self) -> None:
        with pytest.raises(DataError, match="1 x 1"):
            adain(maps(1, 3, 1, 1), maps(1, 3, 8, 8))

    def test_derivatives(self) -> None:
        content, style = maps(1, 2, 3, 2).requires_grad_(), maps(1, 2, 2, 2, seed=1).requires_grad_()
        assert gradcheck(adain, (content, style))
        assert gradgradcheck(adain, (content, style))


class TestStatisticsLoss:
    def test_is_zero_where_statistics_agree(self) -> None:
        """Also for other images: the same positions in another order, and twice as many of them.

        Of twice as many the unbiased deviation is another, by the factor (2n - 2) / (2n - 1) of variances.
        """
        x = maps(2, 3, 8, 8)
        assert torch.equal(statistics_loss(x, x), torch.zeros(2, dtype=torch.float64))
        assert statistics_loss(x, x.flip(2).mT).max() < 1e-28
        mirrored = 2 * x.mean(dim=[2, 3], keepdim=True) - x  # the same means and deviations, another image
        assert statistics_loss(x, mirrored).max() < 1e-28
        doubled, (_, std) = torch.cat([x, x], dim=2), mean_std(x, eps=0)
        expected = (std - std * (126 / 127) ** 0.5).square().mean(dim=[1, 2, 3])
        assert torch.allclose(statistics_loss(x, doubled, eps=0), expected, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("channel", range(3))
    def test_is_positive_where_one_differs(self, channel: int) -> None:
        x = maps(2, 3, 8, 8)
        shifted, scaled = x.clone(), x.clone()
        shifted[1, channel] += 0.03
        mean = scaled[1, channel].mean()
        scaled[1, channel] = mean + (scaled[1, channel] - mean) * 1.02
        std = mean_std(x, eps=0)[1][1, channel].item()
        for other, expected in ((shifted, 0.03**2 / 3), (scaled, (0.02 * std) ** 2 / 3)):
            loss = statistics_loss(x, other, eps=0)
            assert loss[0] == 0
            assert loss[1].item() == pytest.approx(expected, rel=1e-9)

    def test_style_loss_is_its_mean(self) -> None:
        x, style = maps(3, 4, 8, 8), maps(1, 4, 5, 6, seed=1)
        assert torch.allclose(style_loss(x, style), statistics_loss(x, style).mean(), rtol=1e-12)

    def test_is_not_equivalent_to_gram(self) -> None:
        """Shuffling one channel's positions leaves its statistics, and changes its products with the others."""
        x = maps(1, 3, 8, 8)
        other = x.clone()
        other[:, 0] = x[:, 0].flip(1)
        assert statistics_loss(x, other).item() < 1e-28
        assert gatys_style_loss(x, other).item() > 1e-3


class TestGram:
    @staticmethod
    def mmd(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Biased squared maximum mean discrepancy of columns, [C, M] and [C, M'], from the definition."""
        xx, yy, xy = (
            torch.stack([kernel(a, b) for a in first.T for b in second.T]).mean()
            for first, second in ((x, x), (y, y), (x, y))
        )
        return float(xx + yy - 2 * xy)

    @pytest.mark.parametrize("size", [(4, 5), (3, 2)], ids=["equal sizes", "another size"])
    def test_layer_loss_is_a_distance_of_distributions(self, size: tuple[int, int]) -> None:
        """E = MMD² / (4 C²) under the kernel (x . y)² (arXiv:1701.01036)."""
        x, style = maps(1, 5, 4, 5), maps(1, 5, *size, seed=1)
        mmd = self.mmd(x[0].flatten(1), style[0].flatten(1), lambda a, b: (a @ b).square())
        assert gatys_style_loss(x, style).item() == pytest.approx(mmd / (4 * 5**2), rel=1e-10)

    def test_layer_loss_is_the_papers(self) -> None:
        x, style = maps(2, 5, 4, 6), maps(2, 5, 4, 6, seed=1)
        paper = (gram(x) - gram(style)).square().sum(dim=[1, 2]) / (4 * 5**2 * (4 * 6) ** 2)
        assert torch.allclose(gatys_style_loss(x, style), paper, rtol=1e-12, atol=0)

    def test_is_the_definition(self) -> None:
        x = maps(2, 3, 4, 5)
        by_hand = [[[(a * b).sum() for b in sample] for a in sample] for sample in x]
        assert torch.allclose(gram(x), torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=1e-12)

    def test_divisors(self) -> None:
        x = maps(2, 3, 4, 5)
        assert torch.allclose(gram(x, "hw") * 20, gram(x))
        assert torch.allclose(gram(x, "chw") * 60, gram(x))
        joint = gram(x, "nchw") * 120
        assert torch.allclose(joint[:3, :3], gram(x)[0])
        assert torch.allclose(joint[3:, 3:], gram(x)[1])
        assert torch.allclose(gram(x[:1], "nchw"), gram(x[:1], "chw")[0])

    def test_content_loss_is_the_papers(self) -> None:
        x, content = maps(2, 5, 4, 6), maps(1, 5, 4, 6, seed=1)
        each = torch.stack([content_loss(one[None], content) * 5 * 4 * 6 / 2 for one in x])
        assert torch.allclose(gatys_content_loss(x, content), each, rtol=1e-12, atol=0)


class TestCoral:
    SIZE = (3, 48, 64)

    def test_has_the_colours_of_the_target(self) -> None:
        """Exact means; the covariance but for the identity that is added, of weight 1 in the number of pixels."""
        source, target = maps(1, *self.SIZE)[0], maps(1, *self.SIZE, seed=1)[0]
        ours = coral(source, target)
        assert torch.allclose(ours.mean(dim=[1, 2]), target.mean(dim=[1, 2]), rtol=0, atol=1e-12)
        got, wanted = torch.cov(ours.flatten(1)), torch.cov(target.flatten(1))
        assert (got - wanted).abs().max() < 0.01 * wanted.abs().max()
        assert (torch.cov(source.flatten(1)) - wanted).abs().max() > 0.1 * wanted.abs().max()

    def test_own_colours_change_nothing(self) -> None:
        source = maps(1, *self.SIZE)[0]
        assert torch.allclose(coral(source, source), source, rtol=0, atol=1e-10)

    def test_the_number_of_pixels_does_not_matter(self) -> None:
        """Repeated pixels have the same colours, and so has what is recoloured with them."""
        source, target = maps(1, *self.SIZE)[0], maps(1, *self.SIZE, seed=1)[0]
        once, twice = (target[:, ::2, ::2].repeat(1, n, n) for n in (1, 2))
        spread = [coral(source, t).std(dim=[1, 2]) / t.std(dim=[1, 2]) for t in (once, twice)]
        for ratio in spread:
            assert torch.allclose(ratio, torch.ones_like(ratio), rtol=0.01)
        assert torch.equal(coral(source, target), coral(source, target, as_published=True))  # equal numbers

    def test_as_published_it_scales_the_deviations(self) -> None:
        source, target = maps(1, *self.SIZE)[0], maps(1, *self.SIZE, seed=1)[0][:, ::2, ::2]
        ratio = coral(source, target, as_published=True).std(dim=[1, 2]) / coral(source, target).std(dim=[1, 2])
        assert torch.allclose(ratio, torch.full_like(ratio, 0.5), rtol=0.01)

    @pytest.mark.parametrize("which", ["grey", "constant"])
    def test_colourless_images_stay_finite(self, which: str) -> None:
        image = maps(1, *self.SIZE)[0]
        colourless = image[:1].expand_as(image) if which == "grey" else torch.full_like(image, 0.3)
        for ours in (coral(colourless, image), coral(image, colourless)):
            assert ours.isfinite().all()
