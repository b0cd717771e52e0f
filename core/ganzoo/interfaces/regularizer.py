"""Regularizers: penalties on one of the networks, and the batch that they are computed on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ganzoo.interfaces.generator import Generator, Learning
from ganzoo.interfaces.growth import Stage
from ganzoo.interfaces.metric import Which
from ganzoo.registry.component import Component
from ganzoo.registry.ramp import Ramp, at
from ganzoo.types import Label, Latent, Logits, PerSample, Pyramid

Judge = Callable[[Pyramid, Label, Stage], Logits]
Classify = Callable[[Pyramid, Stage], Tensor]


class SampleRng:
    """Random numbers for each sample of a batch, from a seed of its own.

    A sample's numbers depend neither on the other samples nor on how the batch is cut into micro-batches or over
    processes.

    Args:
        seeds: one for each sample; empty for torch's global generator
        device: device of the generators and of the numbers
    """

    def __init__(self, seeds: Sequence[int] = (), device: torch.device | None = None) -> None:
        self.streams = [torch.Generator(device or "cpu").manual_seed(seed) for seed in seeds]

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers of a tensor's shape and dtype, for the first len(like) samples."""
        if not self.streams:
            return torch.randn_like(like)
        return torch.stack([torch.randn_like(row, generator=s) for row, s in zip(like, self.streams)])

    def uniform(self, like: Tensor) -> Tensor:
        """Draw numbers in [0, 1) of a tensor's shape and dtype, for the first len(like) samples."""
        if not self.streams:
            return torch.rand_like(like)
        return torch.stack([torch.rand_like(row, generator=s) for row, s in zip(like, self.streams)])


class Judged(NamedTuple):
    """Images, of which gradients are wanted, and D's logits [N, P] on them, with the graph between the two."""

    images: Pyramid
    logits: Logits


@dataclass
class GanBatch:
    """One micro-batch as a regularizer sees it: the networks, reals, latents, and the stage of growth.

    Alone, it is the whole batch. In training it holds the rows from `start` on of a process's batch of `size` samples,
    and a regularizer is called once for each micro-batch of a step.
    """

    G: Generator
    D: Judge  # with the augmentation in front
    stage: Stage
    z: Latent
    label: Label
    real: Pyramid
    real_label: Label
    images: int = 0  # real images shown before this step
    classify: Classify | None = None  # D's class scores, with the augmentation in front
    observe: Callable[[Logits], None] = lambda real: None  # called with D's logits on reals, which ADA counts
    rng: SampleRng = field(default_factory=SampleRng)  # random numbers of penalties
    start: int = 0  # index of the first sample in the process's batch; 0 begins a step
    size: int | None = None  # samples of the process's batch; None for those that are here
    all_mean: Callable[[Tensor], Tensor] = lambda value: value  # mean over processes, differentiable
    notes: dict[Any, Any] = field(default_factory=dict)  # what is noted between the micro-batches of one step

    @property
    def total(self) -> int:
        """Number of samples of the process's batch, of all micro-batches."""
        return len(self.z) if self.size is None else self.size

    def among_first(self, count: int) -> int:
        """Return how many samples of this micro-batch are among the first `count` of the process's batch."""
        return max(0, min(len(self.z), count - self.start))

    def now(self, value: float | Ramp) -> float:
        """Return a number at this step that may follow a ramp."""
        return at(value, self.images)

    def judge(self, images: Pyramid, label: Label) -> Judged:
        """Let D score images, so that its gradient at these images can be taken."""
        points = tuple(x.detach().requires_grad_() for x in images)
        return Judged(points, self.D(points, label, self.stage))

    @cached_property
    def judged_real(self) -> Judged:
        """The reals as D scores them, once for the loss and all penalties at reals."""
        judged = self.judge(self.real, self.real_label)
        self.observe(judged.logits)
        return judged

    @cached_property
    def judged_fake(self) -> Judged:
        """The generated images as D scores them, once for its loss and all penalties at generated images."""
        return self.judge(self.fake, self.label)

    @cached_property
    def fake_with_graph(self) -> Pyramid:
        """Generated images with their graph, computed once for all that the generator minimises."""
        return self.G(self.z, self.label, self.stage)

    @cached_property
    def fake(self) -> Pyramid:
        """Generated images without a graph, computed once for all that the discriminator minimises.

        Images that are assigned to it take their place.
        """
        with torch.no_grad():
            return self.G(self.z, self.label, self.stage)


class Regularizer(nn.Module, Component, ABC, kind="regularizer"):
    """A penalty on one network. It holds its formula and the paper's factor; the trainer multiplies by `every`.

    Built with (). What it keeps between steps are buffers, and they depend on the samples of a step, not on how these
    are cut into micro-batches: `moving_mean` takes care of that.

    Args:
        every: apply it at each k-th step of its network only, k times as strong (lazy regularization,
            arXiv:1912.04958, appendix B)
    """

    on: ClassVar[Learning]  # the network whose parameters it trains
    judged_at: ClassVar[Which | None] = None  # takes D's gradient at `judged_real` or `judged_fake`, as the loss does
    needs_styles: ClassVar[bool] = False  # the generator must have styled layers
    needs_classes: ClassVar[bool] = False  # D must be a classifier too
    needs_critic: ClassVar[bool] = False  # the loss must be one whose D is no sigmoid classifier

    def __init__(self, *, every: int = 1) -> None:
        super().__init__()
        self.every = every

    @abstractmethod
    def penalty(self, batch: GanBatch) -> PerSample:
        """Return the penalty of each sample, [N], not yet multiplied by `every`. Called once a micro-batch."""

    def samples(self, size: int) -> int:
        """Return how many samples of a batch of `size` it is computed on: the first ones. All by default.

        A micro-batch without any of them is left out; of one that has some, `penalty` takes
        `batch.among_first(self.samples(batch.total))`.
        """
        return size

    def moving_mean(self, name: str, values: Tensor, decay: float, batch: GanBatch) -> Tensor:
        """Move a buffer towards the mean of the step's values: once a step, however the batch is cut.

        Args:
            name: of the buffer, of the shape of one value
            values: [n, ...] of the samples of this micro-batch
            decay: weight of the step's mean

        Returns:
            The buffer's new value, from the step's values so far, with the graph of those that are given here.
        """
        buffer: Tensor = getattr(self, name)
        key = (self, name)
        if batch.start == 0 or key not in batch.notes:
            batch.notes[key] = (buffer.clone(), torch.zeros_like(buffer), 0)
        before, earlier, count = batch.notes[key]
        mean = batch.all_mean(values.mean() if values.ndim == 1 else values.mean(dim=0))
        if count:
            mean = torch.lerp(earlier, mean, len(values) / (count + len(values)))
        moved = torch.lerp(before, mean, decay)
        with torch.no_grad():
            buffer.copy_(moved)
        batch.notes[key] = (before, mean.detach(), count + len(values))
        return moved
