"""The discriminator made of slots: a trunk and a head."""

from collections.abc import Sequence
from typing import Any, ClassVar

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

    example: ClassVar[dict[str, Any]] = {"channel_max": 8}

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
        parts = [part for part in self.trunk.modules() if isinstance(part, TrunkPart)]
        trunk_and_head_only = type(self).forward is ComposedDiscriminator.forward  # a subclass may do more
        self.samplewise = trunk_and_head_only and all(part.samplewise for part in parts)

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        """Score images."""
        return self.head(self.features(images, stage), label)

    def judge_each(self, batches: Sequence[tuple[Pyramid, Label]], stage: Stage | None = None) -> list[Logits]:
        """Score several batches in one pass of a samplewise trunk; the head, and its statistic, see each by itself."""
        if not self.samplewise:
            return super().judge_each(batches, stage)
        for images, _ in batches:
            self.require_pyramid(images)
        pyramids = [images if self.accepts == "pyramid" else images[-1:] for images, _ in batches]
        merged = tuple(torch.cat(level) for level in zip(*pyramids, strict=True))
        features = self.features(merged, stage).split([len(images[-1]) for images, _ in batches])
        return [self.head(maps, label) for maps, (_, label) in zip(features, batches)]

    def classify(self, images: Pyramid, stage: Stage | None = None) -> Tensor:
        """Unnormalised scores of the classes, [N, K], by a head that classifies."""
        return self.head.classify(self.features(images, stage))

    def features(self, images: Pyramid, stage: Stage | None = None) -> Maps:
        """Maps at the coarsest size, as the head takes them: in float32, which its statistics and sums need."""
        self.require_pyramid(images)
        return at_least_fp32(self.trunk(images, stage or Stage(len(self.shape.sizes) - 1)))

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps; the head stays in float32."""
        self.trunk.dtype = dtype
