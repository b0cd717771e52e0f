"""The end of a discriminator: statistics of the batch, and heads from the coarsest feature maps to the logit."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from ganzoo import interfaces as zoo
from ganzoo.errors import RecipeError
from ganzoo.nn.equal import ActConv2d, ActLinear, Gain, Linear
from ganzoo.nn.norm import group_size, minibatch_std
from ganzoo.registry.component import Make
from ganzoo.types import Label, Logits, Maps, Size

PAPER = "arXiv:1710.10196"
Count = Annotated[int, Ge(1)]


class MinibatchStd(zoo.Statistic, name="minibatch_std", paper=PAPER):
    """Each group's mean standard deviation as a further channel (section 3).

    Args:
        group: largest group size; the largest divisor of the batch up to it is used; null for the whole batch, as in
            the paper
        features: number of statistics, each over its share of the channels
    """

    def __init__(self, channels: int, size: Size, /, *, group: Count | None = 4, features: Count = 1) -> None:
        super().__init__()
        if channels % features:
            raise RecipeError(
                f"minibatch_std.features: {features} does not divide the {channels} channels: choose a divisor."
            )
        self.group, self.features = group, features
        self.out_channels = channels + features

    @classmethod
    def compared(cls, batch: int, option: Callable[[str], Any]) -> int:
        """Size of a group."""
        return group_size(batch, option("group"))

    def forward(self, x: Maps) -> Maps:
        """[N, C, H, W] -> [N, C + features, H, W]."""
        return minibatch_std(x, self.group, self.features)


class MinibatchDiscrimination(zoo.Statistic, name="minibatch_discrimination", paper="arXiv:1606.03498"):
    """Closeness of each sample to the others, by several learned measures, each as a further channel (section 3.2).

    Args:
        kernels: number of measures (B in the paper)
        dim: length of the vectors whose distance each one takes (C)
        equalized: scale the weight at run time (equalized learning rate)
    """

    def __init__(
        self, channels: int, size: Size, /, *, kernels: Count = 100, dim: Count = 5, equalized: bool = True
    ) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim
        self.project = Linear(channels * size[0] * size[1], kernels * dim, bias=None, equalized=equalized)
        self.out_channels = channels + kernels

    def forward(self, x: Maps) -> Maps:
        """[N, C, H, W] -> [N, C + kernels, H, W]: o_b(i) = Σ_{j≠i} exp(-|M_ib - M_jb|₁)."""
        m = self.project(x.flatten(1)).unflatten(1, (self.kernels, self.dim))  # [N B C]
        distance = (m[:, None] - m[None]).abs().sum(dim=3)  # [N N B]
        closeness = (-distance).exp().sum(dim=1) - 1  # [N B], without the sample itself
        return torch.cat([x, closeness[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


class DenseHead(zoo.Head, name="dense", paper=PAPER):
    """Statistic of the batch, 3x3 convolution, dense layer, logit.

    Args:
        statistic: statistic of the whole batch, appended as channels; null for none
        gain: where the √2 of leaky ReLU sits
        clamp: limit of the convolution's absolute output; null for none
        width: of the hidden dense layer; null for the number of channels
        out_gain: factor of the last layer's weight beside 1/√width
        norm: of the convolution, before its bias; null for none
        equalized: scale the weights at run time (equalized learning rate, 4.1)
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
        clamp: Annotated[float, Gt(0)] | None = None,
        width: Count | None = None,
        out_gain: Annotated[float, Gt(0)] = 1.0,
        norm: Make[zoo.Norm] | None = None,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        self.statistic = statistic(channels, size) if statistic else None
        entering, width = self.statistic.out_channels if self.statistic else channels, width or channels
        self.conv = ActConv2d(entering, channels, 3, gain=gain, clamp=clamp, equalized=equalized)
        self.norm = norm(channels) if norm else None
        self.dense = ActLinear(channels * size[0] * size[1], width, gain=gain, equalized=equalized)
        self.out = Linear(width, self.outputs(channels, labels), gain=out_gain, equalized=equalized)

    def outputs(self, channels: int, labels: int) -> int:
        """Number of outputs of the last layer."""
        return 1

    def hidden(self, x: Maps) -> Tensor:
        """Maps at the coarsest size -> input of the last layer, [N, width]."""
        x = self.conv(self.statistic(x) if self.statistic else x, self.norm)
        return self.dense(x.flatten(1))

    def scores(self, x: Maps) -> Tensor:
        """Maps at the coarsest size -> output of the last layer, [N, outputs]."""
        return self.out(self.hidden(x))

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """Maps at the coarsest size -> [N, 1]."""
        return self.scores(x)


class SelectionHead(DenseHead, name="selection", paper="arXiv:1812.04948"):
    """A dense head with one logit a class; that of the label counts (the released code of StyleGAN and StyleGAN2)."""

    uses_labels = True

    def outputs(self, channels: int, labels: int) -> int:
        """A logit a class."""
        return max(labels, 1)

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """Σ_k label_k logit_k, [N, 1]."""
        scores = self.scores(x)
        return scores if label is None else (scores * label).sum(dim=1, keepdim=True)


class ProjectionHead(DenseHead, name="projection", paper="arXiv:1802.05637"):
    """A dense head that gives a feature vector; its inner product with the mapped label is the logit (Eq. 5).

    With a mapping network for the label and divided by √cmap_dim, as in arXiv:2006.06676's released networks.

    Args:
        mapping: label to a vector of cmap_dim
        cmap_dim: length of both vectors; null for the number of channels
    """

    uses_labels = True

    def __init__(
        self,
        channels: int,
        size: Size,
        labels: int,
        /,
        *,
        gain: Gain = "activation",
        mapping: Make[zoo.Mapping],
        cmap_dim: Count | None = None,
        **options: Any,
    ) -> None:
        self.cmap_dim = (cmap_dim or channels) if labels else 1
        super().__init__(channels, size, labels, gain=gain, **options)
        self.mapping = mapping(0, self.cmap_dim, labels) if labels else None
        if self.mapping is not None and self.mapping.keeps_size and self.cmap_dim != labels:
            raise RecipeError(
                f"discriminator.head.cmap_dim: the mapping '{self.mapping.name}' passes the label on: cmap_dim must be "
                f"labels = {labels}, got {self.cmap_dim}."
            )

    def outputs(self, channels: int, labels: int) -> int:
        """A feature vector; without labels a logit."""
        return self.cmap_dim

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """<features, mapped label> / √cmap_dim, [N, 1]."""
        scores = self.scores(x)
        if self.mapping is None:
            return scores
        cmap = self.mapping(scores.new_zeros(len(scores), 0), label)
        return (scores * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)


class EmbeddingHead(DenseHead, name="embedding", paper="arXiv:1802.05637"):
    """A dense head whose hidden features also meet a learned vector of the class: <features, V label> + logit (Eq. 3).

    Args:
        max_norm: class vectors longer than this are shortened to it; null for none
        activated: leaky ReLU on the dense logit, as in akanimax/pro_gan_pytorch
    """

    uses_labels = True

    def __init__(
        self,
        channels: int,
        size: Size,
        labels: int,
        /,
        *,
        width: Count | None = None,
        max_norm: Annotated[float, Gt(0)] | None = None,
        activated: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(channels, size, labels, width=width, **options)
        self.max_norm, self.activated = max_norm, activated
        self.vectors = torch.nn.Parameter(torch.randn(labels, width or channels)) if labels else None

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """<features, V label> + logit, [N, 1]; without labels the logit alone."""
        features = self.hidden(x)
        scores = self.out(features)
        scores = F.leaky_relu(scores, 0.2) if self.activated else scores
        if self.vectors is None or label is None:
            return scores
        return scores + (features * (label @ self.clipped(self.vectors))).sum(dim=1, keepdim=True)

    def clipped(self, vectors: Tensor) -> Tensor:
        """The class vectors, none longer than `max_norm`; the 1e-7 is that of torch's embeddings."""
        if self.max_norm is None:
            return vectors
        norms = vectors.norm(dim=1, keepdim=True)
        return torch.where(norms > self.max_norm, vectors * (self.max_norm / (norms + 1e-7)), vectors)


class ACGANHead(DenseHead, name="acgan", paper="arXiv:1610.09585"):
    """A dense head that also predicts the class; the regularizers acgan_d and acgan_g train that."""

    classifies = True

    def outputs(self, channels: int, labels: int) -> int:
        """The logit, then a score a class."""
        return 1 + labels

    def forward(self, x: Maps, label: Label = None) -> Logits:
        """The first output, [N, 1]; it does not depend on the label."""
        return self.scores(x)[:, :1]

    def classify(self, x: Maps) -> Tensor:
        """Scores of the classes, [N, K]."""
        return self.scores(x)[:, 1:]


def cross_entropy(scores: Tensor, label: Tensor) -> Tensor:
    """-log softmax(scores) at the label, [N]."""
    return F.cross_entropy(scores, label, reduction="none")


class _AuxiliaryClassifier(zoo.Regularizer):
    """weight * the cross entropy of the discriminator's class scores.

    Args:
        weight: factor of the cross entropy
    """

    needs_classes = True

    def __init__(self, *, weight: Annotated[float, Ge(0)] = 1.0, every: Count = 1) -> None:
        super().__init__(every=every)
        self.weight = weight

    def entropy(self, batch: zoo.GanBatch, images: tuple[Tensor, ...], label: Label) -> Tensor:
        """Weighted cross entropy of the class scores of some images at their labels, [N]."""
        assert batch.classify is not None
        assert label is not None
        return self.weight * cross_entropy(batch.classify(images, batch.stage), label)


class ACGANDiscriminator(_AuxiliaryClassifier, name="acgan_d", paper="arXiv:1610.09585"):
    """Teaches the discriminator to predict the classes of real and of generated images (section 3)."""

    on = "d"

    def penalty(self, batch: zoo.GanBatch) -> Tensor:
        """L_C of real and of generated images, [N]."""
        return self.entropy(batch, batch.real, batch.real_label) + self.entropy(batch, batch.fake, batch.label)


class ACGANGenerator(_AuxiliaryClassifier, name="acgan_g", paper="arXiv:1610.09585"):
    """Teaches the generator to make images whose class the discriminator predicts (section 3)."""

    on = "g"

    def penalty(self, batch: zoo.GanBatch) -> Tensor:
        """L_C of generated images, [N]."""
        return self.entropy(batch, batch.fake_with_graph, batch.label)
