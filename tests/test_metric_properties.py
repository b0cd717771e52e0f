"""What metrics promise: their value for known distributions, independence of order, batches and merging, sentences."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from ganzoo.errors import DataError, RecipeError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.interfaces import Extractor, Metric, Shape
from ganzoo.registry.component import described, options
from ganzoo_metrics import precision_recall as pr_module
from ganzoo_metrics.frechet import FID, Moments, frechet_distance, trace_sqrt
from ganzoo_metrics.inception_score import InceptionScore, inception_score
from ganzoo_metrics.kid import KID, cubic_kernel, draw_subsets, unbiased_mmd
from ganzoo_metrics.msssim import MSSSIM
from ganzoo_metrics.precision_recall import PrecisionRecall, density_coverage, neighbour_radii, precision_recall
from ganzoo_metrics.swd.swd import SWD

SHAPE = Shape(((16, 16), (32, 32)), 3)
OVER_FEATURES = [FID, KID, InceptionScore, PrecisionRecall]
SETS = ("real", "fake")


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, seed: int = 0, shape: Shape = SHAPE) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, shape.channels, 5, 5, generator=draw) * 40 + 128
    fine = torch.nn.functional.interpolate(coarse, size=shape.size, mode="bilinear")
    return (fine + torch.randn(fine.shape, generator=draw) * 6).clamp(0, 255).to(torch.uint8)


def build(cls: Any, seed: int = 0, **given: Any) -> Any:
    small: dict[Any, dict[str, Any]] = {
        KID: {"subsets": 7, "subset_size": 20},
        InceptionScore: {"splits": 3},
        SWD: {"patches_per_image": 8, "directions": 8},
    }
    return cls(SHAPE, seed, **{"num": 1000, **small.get(cls, {}), **given})


def example(cls: Any, which: str, n: int = 40) -> Tensor:
    seed = SETS.index(which)
    return normal(n, 12, seed=seed) * (1 + 0.2 * seed) if cls in OVER_FEATURES else pictures(n, seed)


def value(cls: Any, real: Tensor, fake: Tensor, seed: int = 0, **given: Any) -> dict[str, float]:
    metric: Metric = build(cls, seed, **given)
    metric.update(real, "real")
    metric.update(fake, "fake")
    return metric.compute()


class TestHowImagesArrive:
    @pytest.mark.parametrize("cls", [*OVER_FEATURES, MSSSIM, SWD])
    @pytest.mark.parametrize("sizes", [(1, 3, 36), (17, 23), (40,)])
    def test_batches_do_not_matter(self, cls, sizes):
        real, fake = (example(cls, which) for which in SETS)
        metric = build(cls)
        for which, images in zip(SETS, (real, fake)):
            for batch in images.split(list(sizes)):
                metric.update(batch, which)
        assert metric.compute() == value(cls, real, fake)

    @pytest.mark.parametrize("cls", [*OVER_FEATURES, MSSSIM, SWD])
    def test_merging_is_one_pass(self, cls):
        real, fake = (example(cls, which) for which in SETS)
        whole = build(cls)
        for which, images in zip(SETS, (real, fake)):
            for share in images.split([14, 10, 0, 16]):
                part = build(cls)
                part.update(share, which)
                whole.merge(which, {name: t.clone() for name, t in part.state(which).items()})
        assert whole.compute() == value(cls, real, fake)

    @pytest.mark.parametrize("cls", [*OVER_FEATURES, MSSSIM, SWD])
    def test_nothing_merges_with_nothing(self, cls):
        metric = build(cls)
        for which in SETS:
            metric.merge(which, build(cls).state(which))
        with pytest.raises(DataError):
            metric.compute()

    def test_sums_of_many_blocks_merge(self):
        rows = normal(5 * Moments.BLOCK + 100, 6)
        whole, parts = Moments(6), Moments(6)
        whole.add(rows)
        for share in rows.split(Moments.BLOCK * 2 + 30):
            part = Moments(6)
            part.add(share)
            parts.merge(part.state())
        assert parts.count == whole.count == len(rows)
        for one, other, expected in zip(
            whole.mean_cov(1), parts.mean_cov(1), (rows.double().mean(0), rows.double().mT.cov())
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("cls", [FID, PrecisionRecall])
    def test_order_does_not_matter(self, cls):
        real, fake = (example(cls, which) for which in SETS)
        turned = value(cls, real.flip(0), fake.flip(0))
        assert turned == pytest.approx(value(cls, real, fake), rel=1e-9)

    @pytest.mark.parametrize("cls", [*OVER_FEATURES, MSSSIM])
    def test_surplus_images_are_ignored(self, cls):
        real, fake = (example(cls, which) for which in SETS)
        given = {} if cls in (MSSSIM, InceptionScore) else {"num_real": 20}
        assert value(cls, real, fake, num=20, **given) == value(cls, real[:20], fake[:20])

    def test_kid_draws_from_its_seed(self):
        real, fake = (example(KID, which) for which in SETS)
        assert value(KID, real, fake) == value(KID, real, fake) != value(KID, real, fake, seed=1)
        for fakes, reals in draw_subsets(0, 30, 20, 10, 5):
            assert len(set(fakes.tolist())) == len(set(reals.tolist())) == 10
            assert fakes.max() < 30 and reals.max() < 20


class TestKnownValues:
    def test_fid_of_equal_sets_is_0(self):
        rows = normal(60, 8)
        assert value(FID, rows, rows)["fid"] == pytest.approx(0, abs=1e-12)
        assert value(FID, rows, rows + 3)["fid"] == pytest.approx(8 * 9, rel=1e-6)

    def test_kid_of_equal_sets_has_the_bias_of_the_diagonal(self):
        rows = normal(60, 8).double()
        kernel = cubic_kernel(rows, rows)
        n = len(rows)
        expected = 2 * (kernel.mean() - kernel.diagonal().mean()) / (n - 1)
        assert unbiased_mmd(rows, rows) == pytest.approx(float(expected), rel=1e-9)
        assert expected < 0

    def test_inception_score_counts_classes(self):
        assert inception_score(torch.zeros(50, 7), 5) == pytest.approx((1, 0))
        sure = torch.eye(7).repeat(5, 1) * 500
        assert inception_score(sure, 5) == pytest.approx((7, 0))

    def test_precision_and_recall_of_equal_sets_are_1(self):
        rows = normal(60, 8)
        assert precision_recall(rows, rows, 3) == (1, 1)
        density, coverage = density_coverage(rows, rows, 5)
        assert coverage == 1
        assert density == pytest.approx(6 / 5)  # each ball holds its centre and 5 others
        assert value(PrecisionRecall, rows, rows + 1000)["precision"] == 0

    def test_images_like_themselves(self):
        image = pictures(1)
        assert value(MSSSIM, image, image.repeat(6, 1, 1, 1)) == {"msssim": pytest.approx(1)}
        assert 0 <= value(MSSSIM, image, pictures(20))["msssim"] < 0.5

    @pytest.mark.parametrize("shape", [Shape(((16, 24),), 1), Shape(((33, 50),), 4)])
    def test_ms_ssim_of_other_shapes(self, shape):
        metric = MSSSIM(shape, 0, num=4)
        metric.update(pictures(4, shape=shape), "fake")
        assert 0 <= metric.compute()["msssim"] <= 1

    def test_odd_shares_pair_what_is_left_over(self):
        metric, images = build(MSSSIM), pictures(8)
        for share in (images[:3], images[3:]):
            part = build(MSSSIM)
            part.update(share, "fake")
            metric.merge("fake", part.state("fake"))
        reordered = images[[0, 1, 3, 4, 5, 6, 2, 7]]
        assert metric.compute() == pytest.approx(value(MSSSIM, images, reordered))


class TestDependenceOnTheNumber:
    """Two samples of one distribution; the true distance is 0."""

    @staticmethod
    def mean(function: Any, n: int, times: int = 8) -> float:
        return float(np.mean([function(normal(n, 8, seed=2 * i), normal(n, 8, seed=2 * i + 1)) for i in range(times)]))

    def test_fid_falls(self):
        few, more, many = (self.mean(lambda a, b: value(FID, a, b)["fid"], n) for n in (50, 200, 800))
        assert few > 3 * more > 9 * many > 0

    def test_kid_does_not(self):
        values = [unbiased_mmd(normal(40, 8, seed=2 * i), normal(40, 8, seed=2 * i + 1)) for i in range(200)]
        assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5

    def test_inception_score_rises_with_the_size_of_a_part(self):
        logits = normal(400, 10) * 2
        assert inception_score(logits, 1)[0] > inception_score(logits, 10)[0] > inception_score(logits, 50)[0]


class TestTrace:
    def test_against_the_matrix_root(self):
        a, b = ((m := normal(64, 80, seed=s).double()) @ m.mT for s in (1, 2))
        expected = sqrtm((a @ b).numpy()).real.trace()
        assert trace_sqrt(a, b) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("ranks", [(20, 20), (5, 13), (20, 7), (1, 1), (0, 5)])
    def test_of_any_rank(self, ranks):
        """Tr((F F^T G G^T)^(1/2)) is the sum of the singular values of F^T G."""
        f, g = (normal(20, rank, seed=i).double() for i, rank in enumerate(ranks))
        expected = float(torch.linalg.svdvals(f.mT @ g).sum()) if min(ranks) else 0.0
        assert trace_sqrt(f @ f.mT, g @ g.mT) == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_of_diagonals(self):
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([4.0, 9, 0, 0, 1e-20], [1.0, 4, 5, 0, 1]))
        assert trace_sqrt(a.diag(), b.diag()) == pytest.approx(2 + 6, rel=1e-9)
        mean = torch.zeros(5, dtype=torch.float64)
        assert frechet_distance(mean, a.diag(), mean + 1, b.diag()) == pytest.approx(5 + 13 + 11 - 16, rel=1e-9)

    def test_of_hardly_regular_ones(self):
        """Far apart in size, where a root of eigenvalues would lose half of the digits."""
        scale = torch.logspace(0, -9, 30, dtype=torch.float64)
        batch = torch.linalg.qr(normal(30, 30).double()).Q
        a = batch @ scale.diag() @ batch.mT
        assert trace_sqrt(a, a) == pytest.approx(float(scale.sum()), rel=1e-8)


class TestNeighbours:
    @pytest.fixture(params=[0.0, 1e4], ids=["centred", "far away"])
    def rows(self, request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
        """Far from the origin |x|^2 + |y|^2 - 2 x y loses all digits of float32."""
        real, fake = normal(90, 6, seed=1), normal(70, 6, seed=2)
        real[50:58] = real[3]  # copies: radii of 0
        fake[:4] = real[[3, 10, 20, 50]]
        return real + request.param, fake + request.param

    @staticmethod
    def plain(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
        real, fake = real.double(), fake.double()

        def inside(a: Tensor, b: Tensor) -> float:
            reach = (a[:, None] - a).square().sum(-1).kthvalue(k + 1).values
            return float(((b[:, None] - a).square().sum(-1) <= reach).any(dim=1).double().mean())

        return inside(real, fake), inside(fake, real)

    @pytest.mark.parametrize("k", [1, 3, 9])
    def test_decisions_are_those_of_exact_distances(self, rows, k, monkeypatch):
        monkeypatch.setattr(pr_module, "PAIRS", 1000)
        monkeypatch.setattr(pr_module, "VALUES", 100)
        assert precision_recall(*rows, k) == self.plain(*rows, k)
        reach = (rows[0].double()[:, None] - rows[0].double()).square().sum(-1).kthvalue(k + 1).values
        torch.testing.assert_close(neighbour_radii(rows[0], k), reach, rtol=1e-12, atol=0)

    def test_half_precision_halves_memory_and_says_when_it_cannot(self):
        real, fake = normal(30, 6, seed=1), normal(30, 6, seed=2)
        metric = build(PrecisionRecall, float16=True)
        metric.update(real, "real")
        metric.update(fake, "fake")
        assert metric.rows("real").dtype == torch.float16
        assert metric.compute() == pytest.approx(value(PrecisionRecall, real, fake), abs=0.04)
        with pytest.raises(DataError, match=r"exceed 65,504"):
            metric.update(real * 1e6, "real")


class TestNames:
    @pytest.mark.parametrize(
        ("cls", "names"),
        [
            (FID, {"frechet/conv-random"}),
            (KID, {"mmd3/conv-random", "mmd3_std/conv-random"}),
            (InceptionScore, {"exp_kl/conv-random", "exp_kl_std/conv-random"}),
            (PrecisionRecall, {f"{v}/conv-random" for v in ("precision", "recall", "density", "coverage")}),
        ],
    )
    def test_another_extractor_is_another_name(self, cls, names):
        real, fake = (example(cls, which) for which in SETS)
        plain, other = build(cls), build(cls, extractor=ConvRandom)
        assert plain.primary in value(cls, real, fake) and "/" not in plain.primary
        assert other.primary in names
        assert set(value(cls, real, fake, extractor=ConvRandom)) == names
        assert set(value(cls, real, fake, extractor=partial(ConvRandom))) == names
        assert other.output in ConvRandom.outputs

    def test_an_extractor_without_the_output(self):
        class Blind(Extractor, name="blind"):
            outputs = ("colour", "shade")

        with pytest.raises(RecipeError, match="'blind' has no output 'pool', which fid compares; it has colour, shade"):
            build(FID, extractor=Blind)

    @pytest.mark.parametrize("cls", [*OVER_FEATURES, MSSSIM])
    def test_options_and_aliases(self, cls):
        fields = options(cls).model_fields
        assert set(fields) <= set(described(cls))
        for given in cls.aliases.values():
            cls(SHAPE, 0, **given)
            assert set(given) <= set(fields)

    def test_directions(self):
        assert FID.lower_is_better and KID.lower_is_better and MSSSIM.lower_is_better
        assert not InceptionScore.lower_is_better and not PrecisionRecall.lower_is_better


class TestSentences:
    @pytest.mark.parametrize("cls", [FID, KID])
    @pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 0)])
    def test_two_of_each(self, cls, counts):
        real, fake = counts
        with pytest.raises(DataError, match=f"at least 2 images of each set; it was given {real} real and {fake} fake"):
            value(cls, normal(real, 4), normal(fake, 4))

    def test_too_few_neighbours(self):
        with pytest.raises(DataError, match="pr needs at least 6 images of each set; it was given 5 real and 9 fake"):
            value(PrecisionRecall, normal(5, 4), normal(9, 4))

    def test_too_few_for_parts(self):
        with pytest.raises(DataError, match="9 images cannot be split into 10 parts"):
            value(InceptionScore, normal(9, 4), normal(9, 4), splits=10)

    def test_no_pair(self):
        with pytest.raises(DataError, match="pairs of generated images; it was given 1 of them"):
            value(MSSSIM, pictures(4), pictures(1))

    @pytest.mark.parametrize("cls", OVER_FEATURES)
    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_features_that_are_no_numbers(self, cls, bad):
        fake = normal(20, 4)
        fake[3, 2] = bad
        with pytest.raises(DataError, match="features of the fake images are NaN or infinite"):
            value(cls, normal(20, 4), fake)

    @pytest.mark.parametrize("cls", OVER_FEATURES)
    @pytest.mark.parametrize("wrong", [normal(20, 5), normal(20), torch.zeros(20, 4, dtype=torch.uint8)])
    def test_foreign_features(self, cls, wrong):
        metric = build(cls)
        metric.update(normal(20, 4), "fake")
        with pytest.raises(DataError, match=r"takes features of shape \[N, 4\], not"):
            metric.update(wrong, "fake")

    @pytest.mark.parametrize("wrong", [pictures(2).float(), pictures(2)[:, :1], pictures(2)[..., :16], pictures(2)[0]])
    def test_foreign_images(self, wrong):
        with pytest.raises(DataError, match=r"takes uint8 images of shape \[N, 3, 32, 32\], not"):
            build(MSSSIM).update(wrong, "fake")

    def test_small_images(self):
        with pytest.raises(DataError, match="at least 16 pixels a side, not 8x64"):
            MSSSIM(Shape(((8, 64),), 3), 0)

    def test_statistics_of_other_features(self):
        metric, other = build(FID), build(FID)
        metric.update(normal(5, 4), "real")
        other.update(normal(5, 6), "real")
        with pytest.raises(DataError, match="statistics of 6 features to those of 4"):
            metric.merge("real", other.state("real"))
