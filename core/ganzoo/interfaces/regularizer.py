"""What the networks are trained for: adversarial losses and regularizers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Stage
from ganzoo.registry.component import Component
from ganzoo.types import Label, Latent, Logits, PerSample, Pyramid

Judge = Callable[[Pyramid, Label, Stage], Logits]
Classify = Callable[[Pyramid, Stage], Tensor]


class SampleRng:
    """Random numbers for each sample of a batch, from a seed of its own.

    So what a sample draws depends neither on its company nor on how a batch is cut into parts or over processes.

    Args:
        seeds: one for each sample; without, all draw from torch's global generator
        device: of the generators; that of what is drawn
    """

    def __init__(self, seeds: Sequence[int] = (), device: torch.device | None = None) -> None:
        self.streams = [torch.Generator(device or "cpu").manual_seed(seed) for seed in seeds]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of a tensor's shape and type, for the first samples there are."""
        if not self.streams:
            return torch.randn_like(like)
        return torch.stack([torch.randn_like(row, generator=s) for row, s in zip(like, self.streams)])

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers in [0, 1) of a tensor's shape and type, for the first samples there are."""
        if not self.streams:
            return torch.rand_like(like)
        return torch.stack([torch.rand_like(row, generator=s) for row, s in zip(like, self.streams)])


@dataclass
class GanBatch:
    """What a regularizer may look at: the networks, one batch of reals, one batch of latents, where growth stands."""

    G: Generator
    D: Judge  # with the augmentation in front
    stage: Stage
    z: Latent
    label: Label
    real: Pyramid
    real_label: Label
    detached_fake: Pyramid | None = None
    classify: Classify | None = None  # D's class scores, with the augmentation in front
    observe: Callable[[Logits], None] = lambda real: None  # what watches D's logits on reals
    rng: SampleRng = field(default_factory=SampleRng)  # what penalties draw

    @cached_property
    def fake_with_graph(self) -> Pyramid:
        """Generated images with their graph, made once for all that G minimises."""
        return self.G(self.z, self.label, self.stage)

    @property
    def fake(self) -> Pyramid:
        """Generated images without a graph; those of D's own step where there are any."""
        if self.detached_fake is None:
            with torch.no_grad():
                self.detached_fake = self.G(self.z, self.label, self.stage)
        return self.detached_fake


class Regularizer(nn.Module, Component, ABC, kind="regularizer"):
    """A penalty on one network. It knows its formula and the paper's number; the trainer multiplies by `every`.

    Args:
        every: apply it at each k-th step of its network only, k times as strong (lazy regularization,
            arXiv:1912.04958, appendix B)
    """

    on: ClassVar[Literal["g", "d"]]
    needs_styles: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False  # D must be a classifier too
    needs_critic: ClassVar[bool] = False  # only meaningful with a loss whose D is no sigmoid classifier

    def __init__(self, *, every: int = 1) -> None:
        super().__init__()
        self.every = every

    @abstractmethod
    def penalty(self, batch: GanBatch) -> PerSample:
        """The penalty, [N], not yet multiplied by `every`."""
