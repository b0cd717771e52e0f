"""Path length regularization (arXiv:1912.04958, section 3.2)."""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from ganzoo.interfaces import GanBatch, Regularizer
from ganzoo.training import distributed
from ganzoo.types import PerSample


class PathLength(Regularizer, name="path_length", paper="arXiv:1912.04958"):
    """weight * (|J_w^T y| - a)²: a step in W should change the image by a fixed amount (Eq. 4).

    a is the moving mean of the lengths |J_w^T y|.

    Args:
        weight: factor of the penalty
        decay: how fast `a` follows the batch's mean length
        shrink: only batch / shrink samples are used
    """

    on = "g"
    needs_styles = True

    def __init__(
        self,
        *,
        weight: Annotated[float, Ge(0)] = 2.0,
        decay: Annotated[float, Interval(gt=0, le=1)] = 0.01,
        shrink: Annotated[int, Ge(1)] = 2,
        every: Annotated[int, Ge(1)] = 4,
    ) -> None:
        super().__init__(every=every)
        self.weight, self.decay, self.shrink = weight, decay, shrink
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(()))

    def penalty(self, batch: GanBatch) -> PerSample:
        """[N / shrink]. The mean that is subtracted is the updated one, and the gradient flows through it."""
        n = max(1, len(batch.z) // self.shrink)
        label = None if batch.label is None else batch.label[:n]
        ws = batch.G.styles(batch.z[:n], label, batch.stage)
        ws = ws if ws.requires_grad else ws.detach().requires_grad_()  # a mapping without parameters
        image = batch.G.synthesize(ws, batch.stage)[-1]
        y = batch.rng.normal(image) / math.sqrt(image.shape[2] * image.shape[3])
        return self.weight * (self._lengths(image, ws, y)).square()

    def _lengths(self, image: Tensor, ws: Tensor, y: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad((image * y).sum(), ws, create_graph=True)
        lengths = grad.square().sum(dim=2).mean(dim=1).sqrt()  # [N]
        mean = self.mean.lerp(distributed.mean(lengths.mean()), self.decay)
        self.mean.copy_(mean.detach())
        return lengths - mean
