"""Frechet distance between Gaussians fitted to features: FID where the features are Inception's (arXiv:1706.08500)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces import Shape, Which
from ganzoo_metrics.collect import FeatureMetric

EPS = torch.finfo(torch.float64).eps
COLUMNS = 256  # of a triangular matrix worked on at a time
ERROR = 1e-9  # relative error up to which the fast way to the trace is trusted


class Root(NamedTuple):
    """F [D, r] with F F^T = a positive semidefinite matrix [D, D]."""

    factor: Tensor
    triangular: bool  # lower triangular, and r = D

    @classmethod
    def of(cls, matrix: Tensor) -> "Root":
        """Cholesky's, or where the matrix is singular but for rounding, one of as many columns as its rank."""
        lower, failed = torch.linalg.cholesky_ex(matrix)
        noise = len(matrix) * EPS
        if not failed and lower.diagonal().square().min() > noise * matrix.diagonal().max():
            return cls(lower, True)
        values, vectors = torch.linalg.eigh(matrix)
        real = values > noise * values[-1].clamp(min=0)
        return cls(vectors[:, real] * values[real].sqrt(), False)

    def around(self, b: Tensor) -> Tensor:
        """F^T B F of a symmetric B, [r, r]: its lower triangle; what is above is not defined."""
        if not self.triangular:
            return self.factor.mT @ (b @ self.factor)
        out = torch.zeros_like(b)
        for start in range(0, len(b), COLUMNS):
            lower, here = self.factor[start:, start:], slice(start, start + COLUMNS)  # rows above start are 0 here
            out[start:, here] = lower.mT @ (b[start:, start:] @ lower[:, :COLUMNS])
        return out


def trace_sqrt(a: Tensor, b: Tensor) -> float:
    """Tr((A B)^(1/2)) of symmetric positive semidefinite matrices, singular ones included.

    A B has the eigenvalues of the symmetric F^T B F for any F F^T = A (and zeros), so that no square root of a matrix
    is needed. Rounding moves an eigenvalue x by some eps * max(x), hence its root by up to eps * max(x) / (2 sqrt(x)):
    little, unless F^T B F is nearly singular. Then the trace is the sum of singular values of F^T G, with B = G G^T:
    these have no root to take.

    Args:
        a: float64 [D, D]
        b: float64 [D, D]
    """
    root = Root.of(a)
    if not root.factor.shape[1]:
        return 0.0
    values = torch.linalg.eigvalsh(root.around(b), UPLO="L").clamp(min=0)
    noise, roots = len(a) ** 0.5 * EPS * values[-1], values.sqrt()
    if torch.minimum(noise / (2 * roots), noise.sqrt()).sum() <= ERROR * roots.sum():
        return float(roots.sum())
    return float(torch.linalg.svdvals(root.factor.mT @ Root.of(b).factor).sum())


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau, 1982; arXiv:1706.08500, eq. 6).

    |mean_a - mean_b|^2 + Tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)).

    Args:
        mean_a: float64 [D]
        cov_a: float64 [D, D]
        mean_b: float64 [D]
        cov_b: float64 [D, D]

    Returns:
        The distance; rounding below 0 is cut off.
    """
    spread = float(cov_a.trace() + cov_b.trace()) - 2 * trace_sqrt(cov_a, cov_b)
    return max(0.0, float((mean_a - mean_b).square().sum()) + spread)


class Moments:
    """Sum and sum of outer products of rows, in float64: 8 * D * (D + 1) bytes, for any number of rows.

    Rows are added up in blocks of equal size, so that the sums do not depend on how rows arrived.

    Args:
        width: D
    """

    BLOCK = 256

    def __init__(self, width: int) -> None:
        self.count = 0  # rows in all, pending ones included
        self.sum = torch.zeros(width, dtype=torch.float64)
        self.outer = torch.zeros(width, width, dtype=torch.float64)
        self.pending = torch.empty(0, width, dtype=torch.float32)

    def add(self, rows: Tensor) -> None:
        """Take in float [N, D]."""
        self.count += len(rows)
        rows = torch.cat([self.pending, rows.float()])
        whole = len(rows) // self.BLOCK * self.BLOCK
        for block in rows[:whole].split(self.BLOCK):
            self._sum(block.double(), self.sum, self.outer)
        self.pending = rows[whole:].clone()

    @staticmethod
    def _sum(block: Tensor, total: Tensor, outer: Tensor) -> None:
        total += block.sum(dim=0)
        outer.addmm_(block.mT, block)

    def mean_cov(self, ddof: int) -> tuple[Tensor, Tensor]:
        """Mean [D] and covariance [D, D], divided by N - ddof."""
        total, outer = self.sum.clone(), self.outer.clone()
        self._sum(self.pending.double(), total, outer)
        mean = total / self.count
        return mean, outer.addr_(mean, mean, alpha=-self.count).div_(self.count - ddof)

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {"count": torch.tensor(self.count), "sum": self.sum, "outer": self.outer, "pending": self.pending}

    def merge(self, state: Mapping[str, Tensor]) -> None:
        """Add the rows of another one."""
        self.count += int(state["count"]) - len(state["pending"])
        self.sum += state["sum"]
        self.outer += state["outer"]
        self.add(state["pending"])


class FID(FeatureMetric, name="fid", paper="arXiv:1706.08500"):
    """Frechet Inception distance: Gaussians fitted to the pooled features of real and of generated images.

    It falls with the number of images, and comparing 10,000 with 50,000 is comparing nothing. With another extractor
    the value is called `frechet/<extractor>`, and has no relation to any published FID. Order and batches of images do
    not matter. Memory: 8 * D^2 bytes a set, 34 MB for Inception's 2,048 features.

    Args:
        num_real: number of real images; null for all there are
        ddof: 0 divides covariances by N (stylegan2-ada-pytorch, EDM), 1 by N - 1 (TTUR, StyleGAN in TensorFlow,
            torch-fidelity, torchmetrics, clean-fid)
    """

    output = "pool"
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fid50k": {"num": 50_000, "num_real": 50_000},
        "fid50k_full": {"num": 50_000, "num_real": None},
    }

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num_real: Annotated[int, Ge(2)] | None = None,
        ddof: Literal[0, 1] = 0,
        **options: Any,
    ) -> None:
        super().__init__(shape, seed, num_real, **options)
        self.ddof = ddof
        self.primary = self.titled("fid", "frechet")
        self.moments: dict[Which, Moments] = {}

    def update(self, batch: Tensor, which: Which) -> None:
        """Take in features [N, D].

        Raises:
            DataError: not [N, D] numbers, of another D than before, NaN or infinity
        """
        width = next((len(m.sum) for m in self.moments.values()), None)
        rows = self.accepted(batch, which, self._seen(which), width)
        self.moments.setdefault(which, Moments(rows.shape[1])).add(rows)

    def _seen(self, which: Which) -> int:
        return self.moments[which].count if which in self.moments else 0

    def compute(self) -> dict[str, float]:
        """{"fid": value}, or {"frechet/<extractor>": value}.

        Raises:
            DataError: fewer than two images of a set
        """
        self.enough({"real": self._seen("real"), "fake": self._seen("fake")}, 2)
        real, fake = (self.moments[which].mean_cov(self.ddof) for which in ("real", "fake"))
        return {self.primary: frechet_distance(*real, *fake)}

    def state(self, which: Which) -> dict[str, Tensor]:
        """Number, sums and sums of outer products of features; empty if there are none."""
        return self.moments[which].state() if which in self.moments else {}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add the sums of the images that follow.

        Raises:
            DataError: they are of features of another width
        """
        if not state:
            return
        width = len(state["sum"])
        mine = self.moments.setdefault(which, Moments(width))
        if len(mine.sum) != width:
            raise DataError(f"fid cannot add statistics of {width} features to those of {len(mine.sum)}.")
        mine.merge(state)
