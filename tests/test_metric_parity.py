"""Metrics against recorded values of published code, published test values, and torchmetrics as a second opinion."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganzoo_metrics.frechet import Moments, frechet_distance
from ganzoo_metrics.inception_score import inception_score
from ganzoo_metrics.kid import cubic_kernel, kernel_distances, unbiased_mmd
from ganzoo_metrics.msssim import WEIGHTS, gaussian_window, ms_ssim, ssim_levels
from ganzoo_metrics.precision_recall import count_balls, density_coverage, neighbour_radii, precision_recall

GOLDEN = Path(__file__).parent / "golden"


def recorded(name: str) -> dict[str, NDArray]:
    with np.load(GOLDEN / f"08_{name}.npz", allow_pickle=False) as file:
        return dict(file)


def tensor(values: NDArray) -> Tensor:
    return torch.from_numpy(values)


def moments(rows: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    found = Moments(rows.shape[1])
    found.add(rows)
    return found.mean_cov(ddof)


class TestFrechet:
    golden = recorded("frechet")
    references = (
        (
            "biased",
            ("fid_nvlabs_biased_cov", "fid_torchfidelity_formula_on_biased_cov", "fid_biased_symmetric_eigh"),
        ),
        ("unbiased", ("fid_ttur_unbiased_cov", "fid_torchfidelity_unbiased_cov", "fid_torchmetrics_unbiased_cov")),
    )

    @pytest.mark.parametrize("ddof", [0, 1])
    @pytest.mark.parametrize("case", ["full_rank", "identical", "rank_deficient", "constant_dims", "relu_like_scales"])
    def test_recorded(self, case, ddof):
        label, names = self.references[ddof]
        both = []
        for which in ("real", "gen"):
            mean, cov = moments(tensor(self.golden[f"{case}/{which}"]), ddof)
            np.testing.assert_allclose(mean, self.golden[f"{case}/mu_{which}"], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(cov, self.golden[f"{case}/sigma_{which}_{label}"], rtol=1e-9, atol=1e-13)
            both += [mean, cov]
        for name in names:
            assert frechet_distance(*both) == pytest.approx(float(self.golden[f"{case}/{name}"]), rel=1e-6, abs=1e-12)


class TestKernel:
    golden = recorded("kid")

    def test_recorded(self):
        fake, real = tensor(self.golden["gen"]), tensor(self.golden["real"])
        subsets = zip(tensor(self.golden["idx_gen"]).long(), tensor(self.golden["idx_real"]).long())
        values = np.array(kernel_distances(fake, real, subsets))
        np.testing.assert_allclose(values, self.golden["per_subset_mmd2_64"], rtol=1e-12)
        assert values.mean() == pytest.approx(float(self.golden["tf_mean_64"]), rel=1e-12)
        assert values.std() == pytest.approx(float(self.golden["tf_std_64"]), rel=1e-12)
        assert values.mean() == pytest.approx(float(self.golden["nvlabs_kid"]), rel=1e-5)

    def test_kernel(self):
        fake, real = tensor(self.golden["gen"]).double(), tensor(self.golden["real"]).double()
        first = fake[self.golden["idx_gen"][0, :8]], real[self.golden["idx_real"][0, :8]]
        np.testing.assert_allclose(cubic_kernel(*first), self.golden["subset0_kernel_gen_real_64"], rtol=1e-12)


class TestInceptionScore:
    golden = recorded("inception_score")

    @pytest.mark.parametrize("splits", [1, 10])
    def test_recorded(self, splits):
        logits = tensor(self.golden["logits"])
        shuffled = logits[tensor(self.golden["permutation_2020"]).long()]
        for rows, name in ((logits, "tf_shuffle0"), (logits, "nvlabs"), (shuffled, "tf_shuffle1")):
            expected = self.golden[f"{name}_splits{splits}"]
            np.testing.assert_allclose(inception_score(rows, splits), expected, rtol=1e-6, atol=1e-9)


class TestPrecisionRecall:
    golden = recorded("precision_recall")

    @pytest.mark.parametrize("k", [1, 3, 5])
    def test_recorded(self, k):
        real, fake = tensor(self.golden["real"]), tensor(self.golden["gen"])
        radii = [neighbour_radii(x, k) for x in (real, fake)]
        for found, which in zip(radii, ("real", "gen")):
            np.testing.assert_allclose(found.sqrt(), self.golden[f"k{k}/radius_{which}_64"], rtol=1e-12)
        counts = count_balls(real, fake, *radii)
        assert np.array_equal(counts.in_real > 0, self.golden[f"k{k}/gen_in_real"])
        assert np.array_equal(counts.in_fake, self.golden[f"k{k}/real_in_gen"])
        for theirs in ("nvlabs", "torchfidelity"):
            np.testing.assert_allclose(precision_recall(real, fake, k), self.golden[f"k{k}/{theirs}"], rtol=1e-7)
            in_half = precision_recall(real.half(), fake.half(), k, half=True)
            np.testing.assert_allclose(in_half, self.golden[f"k{k}/{theirs}"], rtol=1e-7)

    @pytest.mark.parametrize("k", [1, 3, 5])
    def test_density_and_coverage_by_their_definition(self, k):
        real, fake = tensor(self.golden["real"]), tensor(self.golden["gen"])
        reach = torch.cdist(real.double(), real.double()).kthvalue(k + 1).values
        inside = torch.cdist(real.double(), fake.double()) <= reach[:, None]
        expected = float(inside.double().sum(dim=0).mean()) / k, float(inside.any(dim=1).double().mean())
        assert density_coverage(real, fake, k) == pytest.approx(expected, rel=1e-12)


class TestMSSSIM:
    golden = recorded("ms_ssim")
    cases = sorted({name.split("/")[0] for name in golden if name.endswith("/a")})

    @pytest.mark.parametrize("case", cases)
    def test_recorded(self, case):
        a, b = (tensor(self.golden[f"{case}/{which}"]) for which in "ab")
        ssims, contrasts = ssim_levels(a.double(), b.double())
        np.testing.assert_allclose(ssims, self.golden[f"{case}/ssim_levels"], rtol=0, atol=5e-5)  # theirs is in float32
        np.testing.assert_allclose(contrasts, self.golden[f"{case}/cs_levels"], rtol=0, atol=5e-5)
        np.testing.assert_allclose(ms_ssim(a, b), self.golden[f"{case}/score_each"], rtol=0, atol=1e-5)
        assert ms_ssim(a, b).mean().item() == pytest.approx(float(self.golden[f"{case}/score"]), abs=1e-5)

    @pytest.mark.parametrize(("size", "name"), [(11, "gauss11_sigma1.5"), (8, "gauss8"), (4, "gauss4")])
    def test_windows(self, size, name):
        window = gaussian_window(size)
        np.testing.assert_allclose(torch.outer(window, window), self.golden[name], rtol=1e-12)

    def test_there_are_cases(self):
        assert len(self.cases) == 9


class TestPublishedValues:
    """Appendix A.7 of the project's specification: made-up inputs, values of the reference programs."""

    ramp = np.arange(400.0).reshape(50, 8)
    x, y = tensor(np.sin(0.37 * ramp)), tensor(np.cos(0.21 * ramp) + 0.1)

    def test_kid(self):
        assert unbiased_mmd(self.x, self.y) == pytest.approx(0.13631036, abs=5e-9)

    @pytest.mark.parametrize(("ddof", "value"), [(1, 0.6470343), (0, 0.6356299)])
    def test_fid(self, ddof, value):
        parts = [(rows.mean(dim=0), rows.mT.cov(correction=ddof)) for rows in (self.x, self.y)]
        assert frechet_distance(*parts[0], *parts[1]) == pytest.approx(value, rel=1e-6)

    def test_inception_score(self):
        logits = tensor(3 * np.sin(0.7 * np.arange(400.0))).view(40, 10)
        assert inception_score(logits, 10) == pytest.approx((1.567705, 0.025210), abs=1e-6)

    def test_ms_ssim(self):
        y, x = np.mgrid[:256, :256].astype(float)

        def image(right: int, down: int, wide: int) -> Tensor:
            waves = [np.sin((x + right) / 7), np.sin((y + down) / 11), np.sin((x + y) / wide)]
            return tensor(np.rint(127.5 + 127.5 * np.stack(waves)).astype(np.uint8))[None]

        a, b = image(0, 0, 13), image(2, 3, 15)
        assert ms_ssim(a, b).item() == pytest.approx(0.45437019, abs=1e-6)
        assert ms_ssim(a, a).item() == 1
        crop = (..., slice(128), slice(128))
        assert ms_ssim(a[crop], b[crop]).item() == pytest.approx(0.70417991, abs=1e-6)
        ssims, contrasts = ssim_levels(a.double(), b.double())
        assert ssims[0].item() == pytest.approx(0.4905941, abs=1e-5)
        assert contrasts[0].item() == pytest.approx(0.5586650, abs=1e-5)


class Pixels(nn.Module):
    """A feature extractor for torchmetrics: the images themselves, flattened."""

    num_features = 24

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(24, 24, generator=draw) / 5
    real, fake = (torch.randn(n, 24, generator=draw) @ mix for n in (300, 200))
    return real.view(-1, 2, 3, 4), (fake * 0.8 + 0.2).view(-1, 2, 3, 4)


@pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics")
class TestSecondOpinion:
    """torchmetrics 1.9, which checks arithmetic only: it looks through extractors of the caller's."""

    def test_fid(self, images):
        torchmetrics = pytest.importorskip("torchmetrics.image.fid")
        theirs = torchmetrics.FrechetInceptionDistance(feature=Pixels(), input_img_size=(2, 3, 4))
        theirs.set_dtype(torch.float64)
        for batch, real in zip(images, (True, False)):
            theirs.update(batch, real=real)
        ours = frechet_distance(*(part for batch in images for part in moments(batch.flatten(1), 1)))
        assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)

    def test_kid(self, images):
        torchmetrics = pytest.importorskip("torchmetrics.image.kid")
        theirs = torchmetrics.KernelInceptionDistance(feature=Pixels(), subsets=3, subset_size=200)
        for batch, real in zip((images[0][:200], images[1]), (True, False)):
            theirs.update(batch, real=real)
        mean, std = theirs.compute()  # a subset of all is the same whatever was drawn
        ours = unbiased_mmd(images[1].flatten(1), images[0][:200].flatten(1))
        assert ours == pytest.approx(float(mean), rel=1e-4)
        assert float(std) == pytest.approx(0, abs=1e-5)

    def test_inception_score(self, images):
        torchmetrics = pytest.importorskip("torchmetrics.image.inception")
        theirs = torchmetrics.InceptionScore(feature=Pixels(), splits=1)
        theirs.update(images[0])
        assert inception_score(images[0].flatten(1), 1)[0] == pytest.approx(float(theirs.compute()[0]), rel=1e-5)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_ms_ssim(self, channels):
        """Its windows do not shrink, so the fifth level must have room; there it averages a mirrored border as well."""
        functional = pytest.importorskip("torchmetrics.functional.image")
        draw = torch.Generator().manual_seed(0)
        coarse = torch.rand(2, channels, 24, 24, generator=draw) * 255
        a = nn.functional.interpolate(coarse, size=(192, 192), mode="bilinear").round()
        b = (a + torch.randn(a.shape, generator=draw) * 20).clamp(0, 255).round()
        theirs = functional.multiscale_structural_similarity_index_measure(
            a, b, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=255.0, reduction="none",
            betas=WEIGHTS, normalize="relu",
        )  # fmt: skip
        np.testing.assert_allclose(ms_ssim(a, b), theirs, rtol=0, atol=1e-4)
