"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676)."""

from typing import Annotated

import torch
from annotated_types import Gt, Interval
from torch import Tensor

from ganzoo.errors import RecipeError
from ganzoo.interfaces import Augment, SampleRng
from ganzoo.registry.ramp import Ramp, Scheduled, at
from ganzoo.types import Logits, Positive, Pyramid, Weight
from ganzoo_augment.transforms import PIPELINES, Pipeline, Transform, applied, draw


def adapted(p: Tensor, signs: Tensor, count: Tensor, images: Tensor, target: float, speed_kimg: float) -> Tensor:
    """p after `images` images: raised if the mean sign of D's logits on reals exceeds the target, else lowered.

    The heuristic is r_t = E[sign(D(real))] (section 3.1); near 1, D has memorised its reals. p moves by 1 within
    `speed_kimg`, never below 0. It may exceed 1, which applies every transformation until p has come down again.
    """
    step = (signs / count.clamp_min(1) - target).sign() * images / (1000 * speed_kimg)
    return torch.where(count > 0, (p + step).clamp_min(0), p)


class ADA(Augment, name="ada", paper="arXiv:2006.06676"):
    """Up to 15 transformations, each applied with the probability p, which follows how D overfits to the reals.

    Args:
        pipeline: which transformations: `blit` (mirror images, quarter turns, whole pixels), `geom` (scale, rotation,
            stretch, fractions of pixels), `color`, `filter` (gains of octaves), `noise`, `cutout`; `bg` is blit and
            geom, `bgc` adds color, and so on up to `bgcfnc`, which is everything
        multipliers: a transformation's probability as a multiple of p, in place of the pipeline's 1 or 0, such as
            {saturation: 0.5, cutout: 1}; names are xflip rotate90 xint scale rotate aniso xfrac brightness contrast
            lumaflip hue saturation imgfilter noise cutout
        p: probability at the start; with target null, throughout, or a ramp
        target: mean sign of D's logits on reals that p is adapted to reach; null keeps p constant
        speed_kimg: thousands of images in which p moves from 0 to 1; use 100 to continue from a trained model
        every: p is adapted at every k-th iteration
    """

    p: Tensor  # []
    signs: Tensor  # [] sum of the logits' signs since p was last adapted
    count: Tensor  # [] number of these logits
    iterations: Tensor  # [] since then
    images: Tensor  # [] since then

    def __init__(
        self,
        *,
        pipeline: Pipeline = "bgc",
        multipliers: dict[Transform, Weight] = {},  # noqa: B006 (never changed)
        p: Scheduled[Weight] = 0.0,
        target: Annotated[float, Interval(gt=-1, lt=1)] | None = 0.6,
        speed_kimg: Positive = 500.0,
        every: Annotated[int, Gt(0)] = 4,
    ) -> None:
        super().__init__()
        if target is None and p == 0:
            raise RecipeError("augment: with target null, p stays 0 and nothing is augmented: set p too, such as 0.3.")
        if target is not None and isinstance(p, Ramp):
            raise RecipeError("augment: p follows its ramp or how D overfits, not both: set target to null.")
        factors = dict.fromkeys(PIPELINES[pipeline], 1.0) | multipliers
        self.multipliers = {name: m for name, m in factors.items() if m > 0}
        self.target = target
        self.speed_kimg = speed_kimg
        self.every = every
        self.schedule = p
        self.rng = SampleRng()
        for name in ("p", "signs", "count", "iterations", "images"):
            self.register_buffer(name, torch.tensor(at(p, 0) if name == "p" else 0.0))

    def begin(self, images: int) -> None:
        """Set p where it follows a ramp."""
        if isinstance(self.schedule, Ramp):
            self.p.fill_(self.schedule.at(images))

    def forward(self, images: Pyramid) -> Pyramid:
        """Transform each image, all its scales alike. With p = 0 nothing is drawn and the images are returned."""
        if not self.p:
            return images
        chances = {name: m * self.p for name, m in self.multipliers.items()}
        return applied(draw(images[-1], chances, self.rng), images)

    @torch.no_grad()
    def observe(self, real: Logits) -> None:
        """Add up the signs of D's logits on reals; that of NaN is 0."""
        self.signs += real.sign().nan_to_num().sum()
        self.count += real.numel()

    def adapt(self, batch: int) -> None:
        """Adapt p at every k-th iteration, by the images since."""
        if self.target is None:
            return
        self.iterations += 1
        self.images += batch
        due = self.iterations > self.every - 0.5
        p = adapted(self.p, self.signs, self.count, self.images, self.target, self.speed_kimg)
        self.p.copy_(torch.where(due, p, self.p))
        for counter in (self.signs, self.count, self.iterations, self.images):
            counter.mul_(~due)

    def values(self) -> dict[str, float]:
        """The probability p."""
        return {"p": float(self.p)}
