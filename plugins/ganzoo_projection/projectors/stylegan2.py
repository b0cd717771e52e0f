"""StyleGAN2's projector: one style code and all noise maps at once (arXiv:1912.04958, appendix D)."""

import math
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval
from torch import Tensor

from ganzoo.types import Image, PerSample
from ganzoo_projection.interfaces import NOISE, FrozenGenerator, LatentSearch, Space, Variables, Weight
from ganzoo_projection.perceptual import LPIPS, Outputs

SMALLEST = 8  # side at which the noise regularizer's pyramid ends


def ramped(t: float, lr: float, up: float, down: float) -> float:
    """Learning rate at t in [0, 1): linearly up in the first `up`, by a cosine to 0 in the last `down` of the time."""
    fall = min(1.0, (1 - t) / down) if down else 1.0
    rise = min(1.0, t / up) if up else 1.0
    return lr * (0.5 - 0.5 * math.cos(math.pi * fall)) * rise


def noise_factor(t: float, start: float, ramp: float) -> float:
    """Strength of the noise on w at t in [0, 1), in spreads of w: start * max(0, 1 - t / ramp)^2."""
    return start * max(0.0, 1 - t / ramp) ** 2


def correlation(noise: Tensor) -> PerSample:
    """How noise maps [N, K, H, W] resemble themselves a pixel aside, squared, summed over maps, axes and a pyramid.

    The pyramid halves a map by 2x2 means until a side is at most 8, that level included: as in the released code, while
    the paper's text also multiplies by 2 at each level.
    """
    total = torch.zeros(len(noise), dtype=noise.dtype, device=noise.device)
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean(dim=(2, 3)).square().sum(dim=1)
        if min(noise.shape[2:]) <= SMALLEST:
            return total
        noise = F.avg_pool2d(noise, 2)


def normalise(noise: Tensor) -> None:
    """A noise map [N, 1, H, W] to mean 0 and root mean square 1, in place."""
    noise -= noise.mean(dim=(1, 2, 3), keepdim=True)
    noise *= noise.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()


class StyleGAN2(LatentSearch, name="stylegan2", paper="arXiv:1912.04958"):
    """Searches one style code and all noise maps, with noise on the code that fades, by LPIPS at 256.

    Args:
        lr: Adam's learning rate at its height
        lr_up: part of the time in which it rises
        lr_down: part of the time in which it falls
        w_noise: noise on the style code at the start, in spreads of style codes
        w_noise_ramp: part of the time after which there is none
        lambda_noise: weight of the noise maps' regularizer, which keeps them from holding the image
    """

    default_outputs: ClassVar[Outputs] = LPIPS

    def __init__(
        self,
        channels: int,
        /,
        *,
        space: Space = "w",
        lr: Annotated[float, Gt(0)] = 0.1,
        lr_up: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        lr_down: Annotated[float, Interval(ge=0, le=1)] = 0.25,
        w_noise: Weight = 0.05,
        w_noise_ramp: Annotated[float, Interval(gt=0, le=1)] = 0.75,
        lambda_noise: Weight = 1e5,
        **options: Any,
    ) -> None:
        super().__init__(channels, space=space, **options)
        self.rate, self.lr_up, self.lr_down = lr, lr_up, lr_down
        self.w_noise, self.w_noise_ramp, self.lambda_noise = w_noise, w_noise_ramp, lambda_noise

    def begin(self, view: FrozenGenerator, target: Image) -> Variables:
        """The latent, and a normal noise map for each noise input in use."""
        maps = {
            NOISE + name: view.random((1, 1, *module.size), 1, i).repeat(len(target), 1, 1, 1)
            for i, (name, module) in enumerate(view.inputs().items())
        }
        return super().begin(view, target) | maps

    def lr(self, step: int) -> float:
        """Up, constant, down."""
        return ramped(step / self.steps, self.rate, self.lr_up, self.lr_down)

    def perturbed(self, view: FrozenGenerator, latent: Tensor, step: int) -> Tensor:
        """The latent with fading noise, the same for all images."""
        strength = noise_factor(step / self.steps, self.w_noise, self.w_noise_ramp) * view.spread
        return latent + strength * view.random((1, *latent.shape[1:]), 2, step) if strength else latent

    def penalty(self, variables: Variables) -> PerSample | None:
        """The noise maps' regularizer."""
        sizes: dict[torch.Size, list[Tensor]] = {}
        for name, t in variables.items():
            if name.startswith(NOISE):
                sizes.setdefault(t.shape, []).append(t)
        correlations = [correlation(torch.cat(maps, dim=1)) for maps in sizes.values()]
        return self.lambda_noise * torch.stack(correlations).sum(dim=0) if correlations else None

    def after_step(self, variables: Variables) -> None:
        """Noise maps are normal numbers again, by mean and size."""
        for name, t in variables.items():
            if name.startswith(NOISE):
                normalise(t)
