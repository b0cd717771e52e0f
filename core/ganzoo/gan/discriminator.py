"""TODO docstring."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ganzoo.gan.generator import Count
from ganzoo.interfaces import Discriminator, Head, Shape, Stage, Trunk, TrunkPart
from ganzoo.nn.precision import at_least_fp32
from ganzoo.registry.component import Make
from ganzoo.types import Label, Logits, Maps, Pyramid


class ComposedDiscriminator(Discriminator, name="composed"):
    """A discriminator made of a trunk and a head.

    Args:
        trunk: images to features at the coarsest size
        head: features to logits
        channel_base: level l has min(channel_base / (4 * 2^l), channel_max) channels
        channel_max: most channels of any level
        channels: of each level, coarse to fine, in place of that rule; null for the rule
    """

    def __init__(
        self,
        shape: Shape,
        labels: int,
        /,
        *,
        trunk: Make[Trunk],
        head: Make[Head],
        channel_base: Count = 16384,
        channel_max: Count = 512,
        channels: tuple[Count, ...] | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.labels = shape, labels
        plan = shape.plan(channel_base, channel_max, channels)
        self.trunk = trunk(plan, shape.channels)
        self.head = head(self.trunk.out_channels, shape.sizes[0], labels)
        self.accepts = self.trunk.accepts
        # each class says it for itself: what a subclass inherits was said of another computation
        classes = [type(part) for part in self.trunk.modules() if isinstance(part, TrunkPart)]
        alike = type(self).forward is ComposedDiscriminator.forward
        self.samplewise = alike and all(vars(cls).get("samplewise", False) for cls in classes)

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        """Judge images."""
        return self.head(self.features(images, stage), label)

    def judge_each(self, batches: Sequence[tuple[Pyramid, Label]], stage: Stage | None = None) -> list[Logits]:
        """One batch for a trunk that treats each sample by itself; the head, and its statistic, see them apart."""
        if not self.samplewise:
            return super().judge_each(batches, stage)
        wanted = [images if self.accepts == "pyramid" else images[-1:] for images, _ in batches]
        together = tuple(torch.cat(level) for level in zip(*wanted, strict=True))
        features = self.features(together, stage).split([len(images[-1]) for images, _ in batches])
        return [self.head(part, label) for part, (_, label) in zip(features, batches)]

    def classify(self, images: Pyramid, stage: Stage | None = None) -> Tensor:
        """Scores of the classes, of a head that classifies."""
        return self.head.classify(self.features(images, stage))

    def features(self, images: Pyramid, stage: Stage | None = None) -> Maps:
        """What the head sees, in float32 (its statistics and sums need it)."""
        return at_least_fp32(self.trunk(images, stage or Stage(len(self.shape.sizes) - 1)))

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps."""
        self.trunk.dtype = dtype
