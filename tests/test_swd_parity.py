"""Sliced Wasserstein distance: its steps and its value against recorded values of the reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganzoo.interfaces.growth import Shape
from ganzoo_metrics.swd import swd
from ganzoo_metrics.swd.descriptors import DescriptorStore, extract_descriptors, normalize_descriptors
from ganzoo_metrics.swd.pyramid import laplacian_pyramid, pyr_down, pyr_up
from ganzoo_metrics.swd.swd import SWD, sliced_wasserstein

GOLDEN = Path(__file__).parent / "golden" / "08_swd.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray]:
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def pyramids(golden) -> dict[str, list[torch.Tensor]]:
    return {name: laplacian_pyramid(torch.from_numpy(golden[f"images_{name}"]).float()) for name in "ab"}


class TestRecordedReference:
    def test_pyramid(self, golden, pyramids):
        assert len(pyramids["a"]) == 3
        for i, level in enumerate(pyramids["a"]):
            np.testing.assert_allclose(level[:2], golden[f"pyramid_a_first2/level{i}_64"], rtol=0, atol=1e-4)

    def test_up_and_down(self, golden):
        x = torch.from_numpy(golden["pyr/x"])
        np.testing.assert_allclose(pyr_down(x), golden["pyr/down"], atol=1e-5 * np.abs(golden["pyr/down"]).max())
        np.testing.assert_allclose(pyr_up(x, (16, 16)), golden["pyr/up"], atol=1e-5 * np.abs(golden["pyr/up"]).max())

    @staticmethod
    def cut(golden, pyramids, name: str, level: int) -> torch.Tensor:
        y, x = (torch.from_numpy(golden[f"pos_{name}/level{level}/{k}"]).long().view(64, 4) for k in "yx")
        return extract_descriptors(pyramids[name][level], y, x)

    @pytest.mark.parametrize("level", range(3))
    def test_descriptors(self, golden, pyramids, level):
        raw = self.cut(golden, pyramids, "a", level)
        expected = golden[f"desc_raw_a_first8/level{level}"]
        np.testing.assert_allclose(raw[:8].reshape(expected.shape), expected, atol=1e-4)
        for name in "ab":
            done = normalize_descriptors(self.cut(golden, pyramids, name, level), 3)
            np.testing.assert_allclose(done, golden[f"desc_{name}/level{level}"], atol=2e-5)

    @pytest.mark.parametrize("level", range(3))
    def test_distances(self, golden, pyramids, level):
        raw = [self.cut(golden, pyramids, name, level) for name in "ab"]
        done = [normalize_descriptors(r, 3) for r in raw]
        repeats = torch.from_numpy(golden[f"directions/level{level}"])
        got = [sliced_wasserstein(*done, dirs) for dirs in repeats]
        np.testing.assert_allclose(got, golden[f"per_repeat/level{level}_64"], rtol=1e-4)
        stores = [DescriptorStore(3, 147) for _ in raw]
        for store, r in zip(stores, raw):
            store.append(r)
        projected = np.empty((2, 32, 256), np.float32)
        for dirs, expected in zip(repeats, golden[f"per_repeat/level{level}_64"]):
            for store, out in zip(stores, projected):
                store.project(dirs, out)
            assert swd.row_distances(*projected).mean() == pytest.approx(expected, rel=1e-4)

    def test_whole_metric_with_own_draws(self, golden):
        """Only the distribution can be the same: values spread over seeds as the reference's do, by 1 to 2 percent."""
        theirs = golden["default_api/fakes_6_seeds"].mean(axis=0)
        ours = []
        for seed in range(4):
            m = SWD(Shape(((64, 64),), 3), seed)
            m.update(torch.from_numpy(golden["images_a"]), "real")
            m.update(torch.from_numpy(golden["images_b"]), "fake")
            values = m.compute()
            assert list(values) == ["swd/64", "swd/32", "swd/16", "swd"]
            ours.append(list(values.values()))
        np.testing.assert_allclose(ours, np.tile(theirs, (4, 1)), rtol=0.06)
        np.testing.assert_allclose(np.mean(ours, axis=0), theirs, rtol=0.02)
