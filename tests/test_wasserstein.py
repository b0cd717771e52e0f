"""The Wasserstein distance of projections: by counting as by sorting."""

import numpy as np
import pytest

from ganzoo_metrics.swd import wasserstein as module
from ganzoo_metrics.swd.wasserstein import wasserstein


class TestWasserstein:
    @pytest.mark.parametrize(
        "name", ["same", "shifted", "wider", "cauchy", "ties", "lumps", "constant", "equal", "far", "tiny"]
    )
    def test_binning_is_sorting(self, monkeypatch, name):
        draw = np.random.default_rng(0)
        n = 30_001
        a, b = draw.standard_normal((2, n), np.float32)
        with np.errstate(over="ignore"):
            pairs = {
                "same": (a, b),
                "shifted": (a, b + np.float32(0.3)),
                "wider": (a, b * np.float32(1.5)),
                "cauchy": draw.standard_cauchy((2, n)).astype(np.float32),
                "ties": np.round(np.stack([a, b * np.float32(1.1)])),
                "lumps": (np.where(a > 0, a, 7).astype(np.float32), np.where(b > 0.1, b, 7).astype(np.float32)),
                "constant": (np.full(n, 2, np.float32), np.full(n, 5, np.float32)),
                "equal": (a, a[::-1].copy()),
                "far": (a + np.float32(1000), b + np.float32(1000)),
                "tiny": (a * np.float32(1e-30), b * np.float32(1e-30)),
            }
        x, y = pairs[name]
        exact = float(np.abs(np.sort(x.astype(np.float64)) - np.sort(y.astype(np.float64))).mean())
        scale = float(np.abs(x).mean())
        monkeypatch.setattr(module, "FEW", n)  # so many are counted
        found = wasserstein(x.copy(), y.copy())
        assert found == pytest.approx(exact, rel=1e-5, abs=1e-8 * scale)
        monkeypatch.setattr(module, "FEW", n + 1)  # so few are sorted
        assert wasserstein(x.copy(), y.copy()) == pytest.approx(exact, rel=1e-6, abs=1e-8 * scale)
