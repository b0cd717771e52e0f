"""Kernel distance: the squared maximum mean discrepancy of features (arXiv:1801.01401)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.interfaces import Shape
from ganzoo_metrics.collect import RowMetric

BLOCK = 2048  # rows of a kernel matrix computed at a time


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / D + 1)^3 for rows x [n, D] and y [m, D]: [n, m] (arXiv:1801.01401, section 4)."""
    base = torch.from_numpy(x.numpy() @ y.numpy().T)  # numpy computes one half of x @ x.T and mirrors it
    base.div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def kernel_sum(x: Tensor, y: Tensor) -> float:
    """Sum of the kernel over all pairs, a block of rows at a time."""
    return sum(float(cubic_kernel(rows, y).sum()) for rows in x.split(BLOCK))


def unbiased_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3).

    sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 sum_ij k(x_i, y_j) / (n m).

    Args:
        x: float [n, D], n at least 2
        y: float [m, D], m at least 2

    Returns:
        The estimate, computed in float64. It may be negative: it is unbiased, and 0 for equal distributions.
    """
    x, y = x.double(), y.double()

    def inner(rows: Tensor) -> float:
        n = len(rows)
        diagonal = rows.square().sum(dim=1).div(rows.shape[1]).add(1).pow(3).sum()
        return (kernel_sum(rows, rows) - float(diagonal)) / (n * (n - 1))

    return inner(x) + inner(y) - 2 * kernel_sum(x, y) / (len(x) * len(y))


def draw_subsets(seed: int, fake: int, real: int, size: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of generated and of real features for each estimate, drawn without replacement: int64 [size] each."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield tuple(torch.from_numpy(draw.choice(n, size, replace=False)) for n in (fake, real))  # type: ignore[misc]


def kernel_distances(fake: Tensor, real: Tensor, subsets: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """The unbiased estimate for each pair of subsets.

    Args:
        fake: float [N, D]
        real: float [M, D]
        subsets: row numbers into either, int64 [m] each
    """
    return [unbiased_mmd(fake[i], real[j]) for i, j in subsets]


class KID(RowMetric, name="kid", paper="arXiv:1801.01401"):
    """Kernel Inception distance: mean over subsets of the unbiased squared MMD with a cubic kernel.

    The value is the distance itself, as programs give it; papers print 1,000 times that. It is unbiased, so it does not
    shrink with the number of images, and may be slightly negative; `kid_std` is its (population) standard deviation
    over subsets, which says how it would vary with 1,000 images. Subsets are drawn from the seed: another order of
    images is another draw. With another extractor the values are called `mmd3/<extractor>` and `mmd3_std/<extractor>`.
    Memory: 4 * D bytes an image of either set, 820 MB for 50,000 and 50,000 with Inception's 2,048 features.

    Args:
        num_real: number of real images; null for all there are
        subsets: number of subsets
        subset_size: images in a subset; fewer if a set has fewer
    """

    output = "pool"
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kid50k": {"num": 50_000, "num_real": 50_000},
        "kid50k_full": {"num": 50_000, "num_real": 1_000_000},
    }

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num_real: Annotated[int, Ge(2)] | None = None,
        subsets: Annotated[int, Ge(1)] = 100,
        subset_size: Annotated[int, Ge(2)] = 1000,
        **options: Any,
    ) -> None:
        super().__init__(shape, seed, num_real, **options)
        self.subsets, self.subset_size = subsets, subset_size
        self.primary = self.titled("kid", "mmd3")

    def compute(self) -> dict[str, float]:
        """{"kid": mean, "kid_std": standard deviation}, both over subsets.

        Raises:
            DataError: fewer than two images of a set
        """
        fake, real = self.rows("fake"), self.rows("real")
        self.enough({"real": len(real), "fake": len(fake)}, 2)
        size = min(self.subset_size, len(fake), len(real))
        drawn = draw_subsets(self.seed, len(fake), len(real), size, self.subsets)
        values = np.array(kernel_distances(fake, real, drawn))
        return {self.primary: float(values.mean()), self.titled("kid_std", "mmd3_std"): float(values.std())}
