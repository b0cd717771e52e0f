"""A discriminator: images to logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.registry.component import Component
from ganzoo.types import Label, Logits, Pyramid


class Discriminator(nn.Module, Component, kind="discriminator"):
    """(shape, labels, /)  Pyramid, Label, Stage -> Logits, higher for images that look real."""

    shape: Shape
    labels: int
    accepts: str = "image"  # "image": the finest image alone; "pyramid": every size

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        """Judge images; at the finest stage where none is given."""
        raise NotImplementedError

    def judge_each(self, batches: Sequence[tuple[Pyramid, Label]], stage: Stage | None = None) -> list[Logits]:
        """The logits of batches that do not see each other, such as reals and fakes."""
        return [self(images, label, stage) for images, label in batches]

    def classify(self, images: Pyramid, stage: Stage | None = None) -> Tensor:
        """Unnormalised scores of the classes, [N, K], where the discriminator is also a classifier (AC-GAN)."""
        raise NotImplementedError

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps: float32, bfloat16 or float16 (see `layers.at_level`)."""
        raise NotImplementedError


class Augment(nn.Module, Component, kind="augment"):
    """() Pyramid -> Pyramid, applied to whatever the discriminator sees. Differentiable, twice.

    What it keeps between steps (its strength, sums of what it observed) are floating-point buffers, changed in place:
    they are saved with a run's state, and averaged over processes before `adapt`.
    """

    def forward(self, images: Pyramid) -> Pyramid:
        """Augment images in [-1, 1]."""
        raise NotImplementedError

    def observe(self, real: Logits) -> None:
        """Take in D's logits [N, 1] on reals, of its loss and of its penalties."""

    def adapt(self, batch: int) -> None:
        """Called after every iteration, with the images of the whole batch: a controller moves its strength here."""

    def values(self) -> dict[str, float]:
        """What a status line says of it."""
        return {}
