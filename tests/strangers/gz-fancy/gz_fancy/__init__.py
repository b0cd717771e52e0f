"""A plugin of somebody else: a norm, a layer, a loss and a regularizer in one file, and a recipe beside it."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn

from ganzoo import Make, hookimpl
from ganzoo import interfaces as zoo

GANZOO_API = 2


class RMSGate(zoo.Norm, name="rms_gate"):
    """Unit RMS over channels, times a learned gate."""

    def __init__(self, channels: int, /) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt() * (1 + self.gate)


class Gated(zoo.Layer, name="gated"):
    """3x3 convolution whose channels the style opens and shuts.

    Args:
        norm: after the gate
        slope: of leaky ReLU
    """

    styled = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
        up: bool,
        /,
        *,
        norm: Make[zoo.Norm] | None = RMSGate,
        slope: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        super().__init__()
        self.up, self.slope = up, slope
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.open = nn.Linear(w_dim, out_channels)
        self.norm = norm(out_channels) if norm else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2) if self.up else x
        x = F.leaky_relu(self.conv(x), self.slope) * self.open(w).sigmoid()[:, :, None, None]
        return self.norm(x) if self.norm else x


class SquaredHinge(zoo.Loss, name="squared_hinge"):
    """D relu(1 - r)² + relu(1 + f)², G -f."""

    critic = True

    def d(self, real: Tensor, fake: Tensor) -> Tensor:
        return zoo.per_sample(F.relu(1 - real).square() + F.relu(1 + fake).square())

    def g(self, fake: Tensor, real: Tensor) -> Tensor:
        return -zoo.per_sample(fake)


class EMALogit(zoo.Regularizer, name="ema_logit", paper="arXiv:2104.03310"):
    """weight ((r - E f)² + (f - E r)²), with moving averages for E.

    Args:
        weight: strength
        decay: of the moving averages
    """

    on = "d"

    def __init__(
        self,
        *,
        weight: Annotated[float, Ge(0)] = 0.1,
        decay: Annotated[float, Interval(ge=0, le=1)] = 0.99,
        every: Annotated[int, Ge(1)] = 1,
    ) -> None:
        super().__init__(every=every)
        self.weight, self.decay = weight, decay
        self.anchors: Tensor
        self.register_buffer("anchors", torch.zeros(2))

    def penalty(self, batch: zoo.GanBatch) -> Tensor:
        real, fake = (
            zoo.per_sample(batch.D(images, label, batch.stage))
            for images, label in ((batch.real, batch.real_label), (batch.fake, batch.label))
        )
        now = torch.stack([real, fake], dim=1).detach()
        means = self.moving_mean("anchors", now, 1 - self.decay, batch)
        return self.weight * ((real - means[1]).square() + (fake - means[0]).square())


@hookimpl
def ganzoo_components() -> list[type]:
    return [RMSGate, Gated, SquaredHinge, EMALogit]
