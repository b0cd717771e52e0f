"""Inception score: whether images are recognisable and varied to a classifier (arXiv:1606.03498)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces import Shape
from ganzoo_metrics.collect import RowMetric


def exp_kl(logits: Tensor) -> float:
    """exp(mean_x KL(p(y|x) || p(y))) with p(y) = mean_x p(y|x) (arXiv:1606.03498, section 4).

    Args:
        logits: float [N, classes], N at least 1

    Returns:
        A number from 1 to the number of classes, computed in float64.
    """
    logs = logits.double().log_softmax(dim=1)
    conditional = logs.exp()
    marginal = conditional.mean(dim=0)
    return float((conditional * (logs - marginal.log())).nan_to_num(0).sum(dim=1).mean().exp())


def inception_score(logits: Tensor, splits: int = 10) -> tuple[float, float]:
    """Mean and (population) standard deviation of the score over consecutive parts, N i / splits to N (i + 1) / splits.

    Args:
        logits: float [N, classes], N at least splits
        splits: number of parts

    Raises:
        DataError: fewer logits than parts
    """
    n = len(logits)
    if n < splits:
        raise DataError(f"is: {n} images cannot be split into {splits} parts; set splits to fewer, or num to more.")
    scores = [exp_kl(logits[i * n // splits : (i + 1) * n // splits]) for i in range(splits)]
    parts = torch.tensor(scores, dtype=torch.float64)
    return float(parts.mean()), float(parts.std(correction=0))


class InceptionScore(RowMetric, name="is", paper="arXiv:1606.03498"):
    """Inception score, higher is better: exp of the information between image and class; real images are not used.

    Mean and standard deviation over consecutive parts, as `is` and `is_std`. The classes are those of Inception's 1,008
    logits, without their bias, as the published code has it. With another extractor the values are called
    `exp_kl/<extractor>` and `exp_kl_std/<extractor>`. Memory: 4 * classes bytes an image, 200 MB for 50,000.

    Args:
        splits: number of parts; the score rises with the size of a part
    """

    output = "logits_unbiased"
    lower_is_better = False
    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {"is50k": {"num": 50_000}}

    def __init__(self, shape: Shape, seed: int, /, *, splits: Annotated[int, Ge(1)] = 10, **options: Any) -> None:
        super().__init__(shape, seed, **options)
        self.splits = splits
        self.primary = self.titled("is", "exp_kl")

    def compute(self) -> dict[str, float]:
        """{"is": mean, "is_std": standard deviation}, both over parts.

        Raises:
            DataError: fewer images than parts
        """
        mean, std = inception_score(self.rows("fake"), self.splits)
        return {self.primary: mean, self.titled("is_std", "exp_kl_std"): std}
