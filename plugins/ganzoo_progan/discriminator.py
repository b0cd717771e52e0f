"""ProGAN's discriminator, part by part (arXiv:1710.10196, appendix A.1)."""

from typing import Annotated

import torch
from annotated_types import Ge

from ganzoo import interfaces as zoo
from ganzoo.component import Make
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Stage
from ganzoo.nn.equal import ActConv2d, ActLinear, Gain, Linear
from ganzoo.nn.norm import minibatch_std
from ganzoo.nn.resample import downsample
from ganzoo.types import Image, Label, Logits, Maps, Plan, Pyramid, Size

PAPER = "arXiv:1710.10196"


class FromRGB(zoo.FromRGB, name="plain", paper=PAPER):
    """1x1 convolution, bias, leaky ReLU.

    Args:
        gain: where the √2 of leaky ReLU sits: in the weight (ProGAN, StyleGAN) or after the activation (StyleGAN2)
        clamp: limit of the absolute output; null for none
    """

    def __init__(
        self, image_channels: int, channels: int, /, *, gain: Gain = "weight", clamp: float | None = None
    ) -> None:
        super().__init__()
        self.conv = ActConv2d(image_channels, channels, 1, gain=gain, clamp=clamp)

    def forward(self, x: Image) -> Maps:
        """Image -> Maps."""
        return self.conv(x)


class PlainDown(zoo.Down, name="plain", paper=PAPER):
    """Two 3x3 convolutions with leaky ReLU, then the mean of 2x2 pixels.

    Args:
        gain: where the √2 of leaky ReLU sits
    """

    def __init__(self, in_channels: int, out_channels: int, size: Size, /, *, gain: Gain = "weight") -> None:
        super().__init__()
        self.conv0 = ActConv2d(in_channels, in_channels, 3, gain=gain)
        self.conv1 = ActConv2d(in_channels, out_channels, 3, gain=gain)

    def forward(self, x: Maps) -> Maps:
        """Maps -> Maps at half the size."""
        return downsample(self.conv1(self.conv0(x)), (1, 1))


class PlainTrunk(zoo.Trunk, name="plain", paper="arXiv:1912.04958"):
    """The image comes in at the finest resolution only.

    Args:
        from_rgb: image to features
    """

    rgb_at_every_level = False

    def __init__(
        self, plan: Plan, image_channels: int, /, *, down: Make[zoo.Down], from_rgb: Make[zoo.FromRGB] = FromRGB
    ) -> None:
        super().__init__(plan, image_channels, down=down, from_rgb=from_rgb)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Features at the coarsest size."""
        x = self.features(images[-1], stage.level)
        for block in reversed(self.blocks[: stage.level]):
            x = block(x)
        return x


class ProgressiveTrunk(zoo.Trunk, name="progressive", paper=PAPER):
    """The newest block's features are cross-faded with those of the halved image (section 2, figure 2).

    Args:
        from_rgb: image to features
    """

    grows = True

    def __init__(
        self,
        plan: Plan,
        image_channels: int,
        /,
        *,
        down: Make[zoo.Down] = PlainDown,
        from_rgb: Make[zoo.FromRGB] = FromRGB,
    ) -> None:
        super().__init__(plan, image_channels, down=down, from_rgb=from_rgb)

    def forward(self, images: Pyramid, stage: Stage) -> Maps:
        """Features at the coarsest size."""
        x = self.features(images[-1], stage.level)
        for level in range(stage.level, 0, -1):
            x = self.blocks[level - 1](x)
            if level == stage.level and stage.alpha < 1:
                x = torch.lerp(self.features(downsample(images[-1], (1, 1)), level - 1), x, stage.alpha)
        return x


class MinibatchStd(zoo.Statistic, name="minibatch_std", paper=PAPER):
    """Each group's mean standard deviation as a further channel (section 3).

    Args:
        group: largest group size; the largest divisor of the batch up to it is used; null for the whole batch, as in
            the paper
        features: number of statistics, each over its share of the channels
    """

    def __init__(
        self, channels: int, /, *, group: Annotated[int, Ge(1)] | None = 4, features: Annotated[int, Ge(1)] = 1
    ) -> None:
        super().__init__()
        if channels % features:
            raise RecipeError(
                f"minibatch_std.features: {features} does not divide the {channels} channels: choose a divisor."
            )
        self.group, self.features = group, features
        self.out_channels = channels + features

    def forward(self, x: Maps) -> Maps:
        """[N, C, H, W] -> [N, C + features, H, W]."""
        return minibatch_std(x, self.group, self.features)


class DenseHead(zoo.Head, name="dense", paper=PAPER):
    """Statistic of the batch, 3x3 convolution, dense layer, logit.

    Args:
        statistic: what is said about the whole batch
        gain: where the √2 of leaky ReLU sits
        clamp: limit of the convolution's absolute output; null for none
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        labels: int,
        /,
        *,
        statistic: Make[zoo.Statistic] | None = MinibatchStd,
        gain: Gain = "weight",
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.statistic = statistic(channels) if statistic else None
        self.conv = ActConv2d(
            self.statistic.out_channels if self.statistic else channels, channels, 3, gain=gain, clamp=clamp
        )
        self.dense = ActLinear(channels * size[0] * size[1], channels, gain=gain)
        self.out = Linear(channels, 1)

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """Maps at the coarsest size -> [N, 1]."""
        x = self.conv(self.statistic(x) if self.statistic else x)
        return self.out(self.dense(x.flatten(1)))
