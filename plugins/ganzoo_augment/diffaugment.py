"""Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738)."""

from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor

from ganzoo.interfaces import Augment, SampleRng
from ganzoo.types import Image, Pyramid
from ganzoo_augment.transforms import colours
from ganzoo_augment.warp import erase, shift

Policy = Literal["color", "translation", "cutout"]

TRANSLATION, CUTOUT = 0.125, 0.5  # fractions of the image's sides


def coloured(x: Image, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Image:
    """Add the brightness, then multiply deviations from a pixel's gray, then from the image's mean.

    Args:
        x: [N, C, H, W]
        brightness: [N, 1, 1, 1]
        saturation: factor of deviations from the pixel's gray, [N, 1, 1, 1]
        contrast: factor of deviations from the image's mean, [N, 1, 1, 1]
    """
    x = x + brightness
    gray = x.mean(dim=1, keepdim=True)
    x = gray + (x - gray) * saturation
    mean = x.mean(dim=[1, 2, 3], keepdim=True)
    return mean + (x - mean) * contrast


class DiffAugment(Augment, name="diffaugment", paper="arXiv:2006.10738"):
    """Colour, translation and cutout, applied to every image.

    Args:
        policy: which transformations. `color`: brightness within ±0.5, saturation within 0 to 2, contrast within 0.5
            to 1.5. `translation`: by whole pixels within ±1/8 of the image, with zeros (gray) around. `cutout`: zeros
            in a box of half the image's sides
    """

    def __init__(
        self, *, policy: Annotated[tuple[Policy, ...], MinLen(1)] = ("color", "translation", "cutout")
    ) -> None:
        super().__init__()
        self.policy, self.rng = policy, SampleRng()

    def forward(self, images: Pyramid) -> Pyramid:
        """Transform each image, all its scales alike; alpha takes part in translation and cutout only."""
        if "color" in self.policy:
            images = self._color(images)
        if "translation" in self.policy:
            images = self._translation(images)
        return self._cutout(images) if "cutout" in self.policy else images

    def _uniform(self, images: Pyramid, *shape: int) -> Tensor:
        return self.rng.uniform(images[-1].new_empty(len(images[-1]), *shape))

    def _sides(self, images: Pyramid) -> Tensor:
        """Width and height of the finest images, [2]."""
        x = images[-1]
        return torch.tensor([x.shape[3], x.shape[2]], dtype=x.dtype, device=x.device)

    def _color(self, images: Pyramid) -> Pyramid:
        u = self._uniform(images, 3, 1, 1, 1)
        factors, c = (u[:, 0] - 0.5, 2 * u[:, 1], u[:, 2] + 0.5), colours(images[-1])
        return tuple(torch.cat([coloured(x[:, :c], *factors), x[:, c:]], dim=1) for x in images)

    def _translation(self, images: Pyramid) -> Pyramid:
        sides = self._sides(images)
        most = (sides * TRANSLATION + 0.5).floor()
        pixels = (self._uniform(images, 2) * (2 * most + 1)).floor() - most
        return tuple(shift(x, pixels * (x.shape[2] / images[-1].shape[2])) for x in images)

    def _cutout(self, images: Pyramid) -> Pyramid:
        """Set a box to 0 that begins and ends at whole pixels of the finest images, wholly or partly inside."""
        sides = self._sides(images)
        box = (sides * CUTOUT + 0.5).floor()
        odd = box % 2
        centre = (self._uniform(images, 2) * (sides + 1 - odd)).floor() + odd / 2
        return tuple(erase(x, centre / sides, (box / sides).expand_as(centre)) for x in images)
