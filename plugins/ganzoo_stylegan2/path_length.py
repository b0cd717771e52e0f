"""Path length regularization (arXiv:1912.04958, section 3.2)."""

import math
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from ganzoo.interfaces import GanBatch, Regularizer
from ganzoo.types import Count, PerSample, Weight


class PathLength(Regularizer, name="path_length", paper="arXiv:1912.04958"):
    """weight * (|J_w^T y| - a)²: a step in W should change the image by a fixed amount (Eq. 4).

    y is a random image of N(0, 1 / (H W)); |J_w^T y| is the root mean square over the L style codes, as in the released
    code; a is the moving mean of these lengths.

    Args:
        weight: factor of the penalty
        decay: weight of the batch's mean length in the moving mean (1 - β_pl; the released code's pl_decay)
        shrink: the penalty uses batch / shrink samples
    """

    on = "g"
    needs_styles = True

    def __init__(
        self,
        *,
        weight: Weight = 2.0,
        decay: Annotated[float, Interval(gt=0, le=1)] = 0.01,
        shrink: Count = 2,
        every: Count = 4,
    ) -> None:
        super().__init__(every=every)
        self.weight, self.decay, self.shrink = weight, decay, shrink
        self.mean: Tensor  # a, []
        self.register_buffer("mean", torch.zeros(()))

    def samples(self, size: int) -> int:
        """Return 1 / shrink of the batch, at least one sample."""
        return max(1, size // self.shrink)

    def penalty(self, batch: GanBatch) -> PerSample:
        """weight * (|J_w^T y| - a)², [N / shrink], with the updated a, through which the gradient flows."""
        n = batch.among_first(self.samples(batch.total))
        label = None if batch.label is None else batch.label[:n]
        ws = batch.G.styles(batch.z[:n], label, batch.stage)
        ws = ws if ws.requires_grad else ws.detach().requires_grad_()  # no graph: the mapping has no parameters
        image = batch.G.synthesize(ws, batch.stage)[-1]
        y = batch.rng.normal(image) / math.sqrt(image.shape[2] * image.shape[3])
        (grad,) = torch.autograd.grad((image * y).sum(), ws, create_graph=True)
        lengths = grad.square().sum(dim=2).mean(dim=1).sqrt()  # [N / shrink]
        return self.weight * (lengths - self.moving_mean("mean", lengths, self.decay, batch)).square()
