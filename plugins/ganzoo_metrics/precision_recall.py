"""Improved precision and recall, and density and coverage: in whose neighbourhood images lie."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces import Extractor, Shape
from ganzoo.registry.component import Make
from ganzoo_metrics.collect import RowMetric

PAIRS = 2**22  # distances computed at a time
VALUES = 2**22  # numbers of pairs of rows that are compared in float64 at a time


class Block(NamedTuple):
    """Bounds of the squared distances of some rows x from all rows y."""

    start: int  # number of the first of these x
    lower: Tensor  # float32 [n, M]
    upper: Tensor  # float32 [n, M]


def bounded_distances(x: Tensor, y: Tensor) -> Iterator[Block]:
    """Bounds of |x_i - y_j|^2 = |x_i|^2 + |y_j|^2 - 2 x_i . y_j, from matrix products in float32.

    A product of D terms, rounded D times, is off by at most D u |x| |y| <= D u (|x|^2 + |y|^2) / 2 with u = 2^-24. The
    bounds are therefore (1 -+ (D + 16) u) (|x|^2 + |y|^2) - 2 x . y; the 16 are for all other roundings. Both sets are
    shifted by one mean first, which does not change distances and makes the norms, and so the margin, small.

    Args:
        x: float [N, D]
        y: float [M, D]
    """
    margin = (x.shape[1] + 16) * 2.0**-24
    centre = y.double().mean(dim=0).float()
    columns = y.float() - centre
    squares = columns.double().square().sum(dim=1).float()
    start = 0
    for rows in x.split(max(1, PAIRS // len(y))):
        shifted = rows.float() - centre
        norms = shifted.double().square().sum(dim=1).float()[:, None] + squares
        product = shifted @ columns.mT
        lower = torch.add(norms * (1 - margin), product, alpha=-2)
        yield Block(start, lower, norms.mul_(1 + margin).sub_(product.mul_(2)))
        start += len(rows)


def squared_distances(x: Tensor, y: Tensor, pairs: Tensor) -> Tensor:
    """|x_i - y_j|^2 for pairs (i, j), int64 [P, 2]: float64 [P]."""
    parts = pairs.split(max(1, VALUES // x.shape[1]))
    found = [(x[i].double() - y[j].double()).square_().sum(dim=1) for i, j in (part.unbind(1) for part in parts)]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def neighbour_radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each row from its k-th nearest other row, exact to float64 (arXiv:1904.06991, eq. 1).

    Memory: blocks of a fixed number of distances, never [N, N].

    Args:
        x: float [N, D], N greater than k
        k: at least 1

    Returns:
        float64 [N]
    """
    radii = torch.empty(len(x), dtype=torch.float64)
    for start, lower, upper in bounded_distances(x, x):
        n = len(lower)
        itself = (torch.arange(n), torch.arange(start, start + n))
        lower[itself] = upper[itself] = torch.inf
        reach = upper.topk(k, dim=1, largest=False).values[:, -1:]  # k others certainly are as near as this
        pairs = (lower <= reach).nonzero()
        distances = squared_distances(x[start : start + n], x, pairs)
        by_distance = distances.argsort()
        order = by_distance[pairs[by_distance, 0].argsort(stable=True)]  # row by row, near to far
        counts = pairs[:, 0].bincount(minlength=n)
        radii[start : start + n] = distances[order[counts.cumsum(0) - counts + k - 1]]
    return radii


def _within(block: Block, radii: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 <= radii, [n, 1] or [1, M], without a doubt: bool [n, M]."""
    surely = block.upper <= radii
    doubtful = ((block.lower <= radii) & ~surely).nonzero()
    i, j = doubtful.unbind(1)
    limits = radii.expand(len(surely), len(y))[i, j]
    surely[i, j] = squared_distances(x[block.start : block.start + len(surely)], y, doubtful) <= limits
    return surely


class Counts(NamedTuple):
    """How generated and real samples lie in each other's balls."""

    in_real: Tensor  # int64 [fakes]: balls of real samples that each generated one lies in
    in_fake: Tensor  # bool [reals]: whether each real sample lies in the ball of a generated one
    covered: Tensor  # bool [reals]: whether the ball of each real sample holds a generated one


def count_balls(real: Tensor, fake: Tensor, real_radii: Tensor, fake_radii: Tensor) -> Counts:
    """Compare all pairs once, block by block. A ball is closed: its own radius lies in it.

    Args:
        real: float [N, D]
        fake: float [M, D]
        real_radii: squared, float64 [N]
        fake_radii: squared, float64 [M]
    """
    in_real = torch.zeros(len(fake), dtype=torch.int64)
    in_fake, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for block in bounded_distances(fake, real):
        here = slice(block.start, block.start + len(block.lower))
        in_real_balls = _within(block, real_radii[None], fake, real)
        in_real[here] = in_real_balls.sum(dim=1)
        covered |= in_real_balls.any(dim=0)
        in_fake |= _within(block, fake_radii[here, None], fake, real).any(dim=0)
    return Counts(in_real, in_fake, covered)


def half_radii(radii: Tensor) -> Tensor:
    """Squared limits for distances that are rounded to float16 before they are compared with radii in float16."""
    rounded = radii.sqrt().half()
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return ((rounded.double() + above.double()) / 2).square()


def precision_recall(real: Tensor, fake: Tensor, k: int, half: bool = False) -> tuple[float, float]:
    """Share of generated samples in a ball of a real one, and of real ones in a ball of a generated one.

    A ball reaches to its centre's k-th nearest other sample of the same set (arXiv:1904.06991, eq. 1 and 2).

    Args:
        real: float [N, D], N greater than k
        fake: float [M, D], M greater than k
        k: at least 1
        half: whether distances and radii are rounded to float16 before they are compared
    """
    radii = [neighbour_radii(x, k) for x in (real, fake)]
    counts = count_balls(real, fake, *(half_radii(r) if half else r for r in radii))
    return float((counts.in_real > 0).double().mean()), float(counts.in_fake.double().mean())


def density_coverage(real: Tensor, fake: Tensor, k: int, half: bool = False) -> tuple[float, float]:
    """Real balls that a generated sample lies in, over k; share of real balls that hold a generated sample.

    Source: arXiv:2002.09797, eq. 5 and 6. Its program leaves out samples at exactly a ball's radius; this one does not.

    Args:
        real: float [N, D], N greater than k
        fake: float [M, D], M at least 1
        k: at least 1
        half: whether distances and radii are rounded to float16 before they are compared
    """
    radii = neighbour_radii(real, k)
    counts = count_balls(real, fake, half_radii(radii) if half else radii, torch.zeros(len(fake), dtype=torch.float64))
    return float(counts.in_real.double().mean()) / k, float(counts.covered.double().mean())


class PrecisionRecall(RowMetric, name="pr", paper="arXiv:1904.06991"):
    """Improved precision and recall with density and coverage (arXiv:2002.09797), all four higher is better.

    Precision and density say how much of what is generated looks real, recall and coverage how much of what is real can
    be generated. Coverage ranks checkpoints: precision alone is best for a generator that repeats one good image. All
    fall or rise with the number of images: compare equal `num` and `num_real` only. Order and batches of images do not
    matter. With another extractor values are called `precision/<extractor>` and so on.

    Memory: 4 * D bytes an image of either set, half of it with `float16`: 1.6 GB for 50,000 and 50,000 with VGG-16's
    4,096 activations, and 0.1 GB to work in. Decisions are those of exact distances, though most are made in float32.

    Args:
        num_real: number of real images; null for all there are
        k: which neighbour a ball reaches to, for precision and recall
        k_density: the same for density and coverage
        float16: keep features, and compare distances and radii, in half precision: as NVIDIA's program
            does on a GPU
    """

    published = "vgg16"
    output = "fc2"
    lower_is_better = False
    cacheable = False  # gigabytes
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pr50k3": {"num": 50_000, "num_real": 50_000, "k": 3},
        "pr50k3_full": {"num": 50_000, "num_real": 200_000, "k": 3},
    }

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num_real: Annotated[int, Ge(2)] | None = None,
        k: Annotated[int, Ge(1)] = 3,
        k_density: Annotated[int, Ge(1)] = 5,
        float16: bool = False,
        extractor: Make[Extractor] = VGG16,
        **options: Any,
    ) -> None:
        super().__init__(shape, seed, num_real, extractor=extractor, **options)
        self.k, self.k_density, self.float16 = k, k_density, float16
        self.primary = self.titled("coverage")

    def kept(self, rows: Tensor) -> Tensor:
        """A copy in float32 or float16.

        Raises:
            DataError: numbers too large for float16
        """
        if not self.float16:
            return super().kept(rows)
        if (half := rows.to(torch.float16, copy=True)).isinf().any():
            raise DataError("pr: features exceed 65,504, the largest number of float16; set float16 to false.")
        return half

    def compute(self) -> dict[str, float]:
        """{"precision", "recall", "density", "coverage"}.

        Raises:
            DataError: too few images of a set to have so many neighbours
        """
        real, fake = self.rows("real"), self.rows("fake")
        self.enough({"real": len(real), "fake": len(fake)}, max(self.k, self.k_density) + 1)
        precision, recall = precision_recall(real, fake, self.k, self.float16)
        density, coverage = density_coverage(real, fake, self.k_density, self.float16)
        values = {"precision": precision, "recall": recall, "density": density, "coverage": coverage}
        return {self.titled(name): value for name, value in values.items()}
