"""The top level of a recipe: what `gz train` trains, on which images, and for how long."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from ganzoo.component import Component, Options
from ganzoo.errors import RecipeError
from ganzoo.interfaces.layers import Shape
from ganzoo.interfaces.logging import Logger
from ganzoo.interfaces.running import Dataset
from ganzoo.interfaces.tools import Metric

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ganzoo.learner import Learner

Count = Annotated[int, Gt(0)]
Positive = Annotated[float, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]


class Images(Options):
    """The images a network works on.

    Args:
        size: side, or [height, width], of the finest images; a base size times a power of two
        channels: 3 for RGB, 4 with alpha, 1 for gray, or any other number
        base: [height, width] of the coarsest feature maps; null halves the size as often as a side of 4 allows
    """

    size: Count | tuple[Count, Count]
    channels: Count = 3
    base: tuple[Count, Count] | None = None

    def shape(self) -> Shape:
        """All sizes from base to size. Raises RecipeError where the base does not lead to the size."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        sizes = [(height, width)]
        while (
            sizes[0] != self.base and not any(side % 2 for side in sizes[0]) and (self.base or min(sizes[0]) // 2 >= 4)
        ):
            sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
        if self.base and sizes[0] != self.base:
            raise RecipeError(
                f"image.base: {list(self.base)} times a power of two is not the size {[height, width]}: "
                f"halving it gives {', '.join(str(list(s)) for s in reversed(sizes))}."
            )
        if len(sizes) < 2 or max(sizes[0]) > 64:
            raise RecipeError(
                f"image.size: {[height, width]} can be halved only down to {list(sizes[0])}: choose sides that are a "
                f"number from 4 to 7 (or a small odd one) times a power of two, such as 32, 48, 96 or 128."
            )
        return Shape(tuple(sizes), self.channels)


class Schedule(Options):
    """How to train anything. Time is counted in thousands of real images shown (kimg).

    Args:
        kimg: length of the training
        batch: images of an iteration, of all processes together
        batch_gpu: images computed at once by a process; a smaller number saves memory, gradients are accumulated. What
            looks at the batch as a whole (minibatch statistics, batch norm) then sees a part. null for all; "auto" for
            as many as fit: a GPU begins with all and halves where memory runs out, a processor, whose system would end
            the training, measures a GAN's small parts first
        lr: Adam's learning rate
        betas: Adam's decay rates
        eps: Adam's epsilon
        mirror: flip half of the real images horizontally
        precision: of the feature maps; "auto" is bf16 where the processor or GPU computes in it, else fp32. "fp16" is
            for GPUs without bf16: only at the four finest sizes, with activations limited to ±256; give the layers
            `clamp: 256` so that the trained network keeps the limit (arXiv:2006.06676's released networks)
        on_nan: what to do where a gradient is not finite. Its step is never taken: "stop" ends the training and names
            the parameter, "skip-step" goes on and says so, "reload" goes back to the last state and draws anew
        seed: of everything random
        tick_kimg: interval of the status line
        snapshot_ticks: a snapshot and a state are written each so many ticks; 0 for the end only
        keep_last: newest snapshots that are kept
        keep_best: best snapshots by the first metric that are kept beside them
    """

    kimg: Positive = 25000.0
    batch: Count = 32
    batch_gpu: Count | Literal["auto"] | None = None
    lr: Positive = 0.002
    betas: tuple[Fraction, Fraction] = (0.0, 0.99)
    eps: Positive = 1e-8
    mirror: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    on_nan: Literal["stop", "skip-step", "reload"] = "stop"
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    tick_kimg: Positive = 4.0
    snapshot_ticks: Annotated[int, Ge(0)] = 50
    keep_last: Count = 3
    keep_best: Annotated[int, Ge(0)] = 2


class Experiment(Component, ABC, kind="experiment"):
    """() What is trained: networks and their images. Its learner trains them.

    A recipe's top level; `use: gan` where it does not say.
    """

    next_step: ClassVar[str] = ""  # the command that uses what was trained, with {folder} for the run directory
    title: str
    labels: int = 0
    shape: Shape
    training: Schedule

    @abstractmethod
    def networks(self) -> "dict[str, nn.Module]":
        """What a snapshot holds, by the prefix of its tensors."""

    @abstractmethod
    def learner(self, device: "torch.device") -> "Learner":
        """A training of it, from the beginning."""

    @abstractmethod
    def dataset(self) -> Dataset | None:
        """Open the real images, if the recipe names them. Raises DataError."""

    def metrics(self, seed: int) -> list[Metric]:
        """What is measured at each snapshot, fresh, to be filled once."""
        return []

    def loggers(self) -> list[Logger]:
        """Where a run tells how it goes, beside its own files. Raises PluginError where a package is missing."""
        return []

    @property
    def ranking(self) -> type[Metric] | None:
        """The metric that says which snapshot is best."""
        return None
