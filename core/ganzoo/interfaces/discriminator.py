"""A discriminator: images to logits; and the augmentation in front of it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ganzoo.interfaces.generator import Network
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.nn.arguments import require_pyramid
from ganzoo.registry.component import Component
from ganzoo.types import Label, Logits, Pyramid


class Discriminator(Network, Component, kind="discriminator"):
    """A discriminator, which scores images of `shape`.

    Built with (shape, labels, /). Pyramid of float32 images in about [-1, 1], Label [N, K] or None, Stage or None ->
    Logits [N, P], higher for images that look real; P is 1 unless it scores patches. A subclass defines `forward`
    alone; it is differentiated twice where a gradient penalty is used.
    """

    grows: ClassVar[bool] = False  # whether it takes smaller images at stages below the finest
    uses_labels: ClassVar[bool] = True  # whether the logit depends on the label
    classifies: ClassVar[bool] = False  # whether `classify` gives scores of the classes
    accepts: Literal["image", "pyramid"] = "image"  # "image": a tuple of the finest one alone; "pyramid": of all sizes

    def __init__(self, shape: Shape | None = None, labels: int | None = None, /) -> None:
        super().__init__()

    def __call__(self, images: Pyramid, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`. Raises UsageError for images that are no pyramid."""
        self.require_pyramid(images)
        return super().__call__(images, *args, **kwargs)

    def require_pyramid(self, images: Pyramid) -> None:
        """Raise UsageError for images that are no pyramid."""
        require_pyramid(images, f"the discriminator '{self.name or type(self).__name__}'")

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        """Score images; at the finest stage where none is given."""
        raise NotImplementedError

    def judge_each(self, batches: Sequence[tuple[Pyramid, Label]], stage: Stage | None = None) -> list[Logits]:
        """Return the logits of batches whose statistics must not mix, such as reals and fakes."""
        return [self(images, label, stage) for images, label in batches]

    def classify(self, images: Pyramid, stage: Stage | None = None) -> Tensor:
        """Return unnormalised scores of the classes, [N, K], where the discriminator `classifies` (AC-GAN)."""
        raise NotImplementedError


class Augment(nn.Module, Component, kind="augment"):
    """An augmentation of all images that the discriminator sees. Differentiable, twice.

    Built with (). Pyramid of float32 images in about [-1, 1] -> Pyramid of the same shapes. What it keeps between
    steps (its strength, sums of what it observed) are floating-point buffers, changed in place: they are saved with a
    run's state, and averaged over processes before `adapt`.
    """

    def forward(self, images: Pyramid) -> Pyramid:
        """Augment images; each sample draws for itself, from torch."""
        raise NotImplementedError

    def begin(self, images: int) -> None:
        """Prepare for an iteration, with the real images shown before it; called once."""

    def observe(self, real: Logits) -> None:
        """Take in D's logits [N, P] on reals, of its loss and of its penalties; called once a micro-batch."""

    def adapt(self, batch: int) -> None:
        """Move the strength; called once after every iteration, with the images of the whole batch."""

    def values(self) -> dict[str, float]:
        """Return the numbers that a status line shows."""
        return {}
