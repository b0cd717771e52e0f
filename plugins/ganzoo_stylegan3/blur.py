"""The blur of configuration R's early training (arXiv:2106.12423, appendix F): without it, D looks at pixels first."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.interfaces import Augment
from ganzoo.registry.component import Make
from ganzoo.registry.ramp import Ramp, Scheduled, at
from ganzoo.types import Image, Logits, Pyramid, Weight


def blurred(x: Image, sigma: float) -> Image:
    """Filter each axis by taps 2^(-(i / sigma)²), |i| <= 3 sigma, of sum 1, with zeros (gray) around the image.

    Args:
        x: [N, C, H, W]
        sigma: in pixels; below 1/3 nothing changes
    """
    radius = int(3 * sigma)
    if radius < 1:
        return x
    i = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    taps = torch.exp2(-(i / sigma).square())
    weight = (taps / taps.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, weight, padding=(0, radius), groups=x.shape[1])
    return F.conv2d(x, weight.transpose(2, 3), padding=(radius, 0), groups=x.shape[1])


class Blur(Augment, name="blur", paper="arXiv:2106.12423"):
    """Blurs all images that the discriminator sees, less and less; then another augmentation, if any.

    A smaller image of a pyramid is blurred by as large a share of its side.

    Args:
        sigma: in pixels of the finest image; as published a ramp from 10 to 0 within 200 kimg at a batch of 32
        then: augmentation of the blurred images; null for none
    """

    sigma_now: Tensor  # []

    def __init__(
        self,
        *,
        sigma: Scheduled[Weight] = Ramp.model_validate({"from": 10.0, "to": 0.0, "kimg": 200.0}),  # noqa: B008 (frozen)
        then: Make[Augment] | None = None,
    ) -> None:
        super().__init__()
        self.sigma = sigma
        self.then = then() if then else None
        self.register_buffer("sigma_now", torch.tensor(float(at(sigma, 0))))

    def forward(self, images: Pyramid) -> Pyramid:
        """Blur, then augment."""
        sigma, side = float(self.sigma_now), images[-1].shape[-1]
        images = tuple(blurred(x, sigma * x.shape[-1] / side) for x in images)
        return self.then(images) if self.then else images

    def begin(self, images: int) -> None:
        """Take the blur of this iteration."""
        self.sigma_now.fill_(at(self.sigma, images))
        if self.then:
            self.then.begin(images)

    def observe(self, real: Logits) -> None:
        """Let the augmentation behind the blur take in D's logits on reals."""
        if self.then:
            self.then.observe(real)

    def adapt(self, batch: int) -> None:
        """Let the augmentation behind the blur adapt."""
        if self.then:
            self.then.adapt(batch)

    def values(self) -> dict[str, float]:
        """The blur in pixels, and the numbers of the augmentation behind it."""
        return {"sigma": float(self.sigma_now)} | (self.then.values() if self.then else {})
