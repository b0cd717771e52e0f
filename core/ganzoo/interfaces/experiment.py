"""The top level of a recipe: what `gz train` trains, on which images, and for how long."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ganzoo.errors import RecipeError
from ganzoo.interfaces.dataset import Dataset
from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.interfaces.logger import Logger
from ganzoo.interfaces.metric import Metric
from ganzoo.io import budgets
from ganzoo.registry.component import Component, Options
from ganzoo.registry.ramp import Scheduled

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
        if height * width * self.channels > budgets.RECIPE_IMAGE_VALUES:
            fault = f"{height}x{width} pixels of {self.channels} channels are more values than an image may have"
            cure = (
                f"choose a smaller size or fewer channels, of at most {budgets.RECIPE_IMAGE_VALUES:,} values together"
            )
            raise RecipeError(fault, cure=cure, path=("image", "size"), also=(("image", "channels"),))
        sizes = [(height, width)]
        while (
            sizes[0] != self.base and not any(side % 2 for side in sizes[0]) and (self.base or min(sizes[0]) // 2 >= 4)
        ):
            sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
        if self.base and sizes[0] != self.base:
            raise RecipeError(
                f"{list(self.base)} times a power of two is not the size {[height, width]}: "
                f"halving it gives {', '.join(str(list(s)) for s in reversed(sizes))}.",
                path=("image", "base"),
            )
        if len(sizes) < 2 or max(sizes[0]) > 64:
            raise RecipeError(
                f"{[height, width]} can be halved only down to {list(sizes[0])}",
                cure="choose sides that are a number from 4 to 7 (or a small odd one) times a power of two, such as "
                "32, 48, 96 or 128",
                path=("image", "size"),
            )
        return Shape(tuple(sizes), self.channels)


class Schedule(Options):
    """How to train anything. Time is counted in thousands of real images shown (kimg).

    A rate may be a ramp, as lr: {from: 2.0e-4, to: 5.0e-5, kimg: 20000, curve: cosine}.

    Args:
        kimg: length of the training
        batch: images of an iteration, of all processes together
        batch_gpu: images computed at once by a process; a smaller number saves memory, gradients are accumulated. What
            looks at the batch as a whole (minibatch statistics, batch norm) then sees a part. null for all; "auto" for
            as many as fit: on a GPU, all images, and half as many each time that memory runs out; on a CPU, where
            running out of memory kills the process, a GAN's size is estimated beforehand from small steps
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
        snapshot_ticks: a snapshot and a state are written every this many ticks; 0 for the end only
        keep_last: newest snapshots that are kept
        keep_best: best snapshots by the first metric that are kept beside them
    """

    kimg: Positive = 25000.0
    batch: Count = 32
    batch_gpu: Count | Literal["auto"] | None = None
    lr: Scheduled[Positive] = 0.002
    betas: tuple[Scheduled[Fraction], Scheduled[Fraction]] = (0.0, 0.99)
    eps: Positive = 1e-8
    mirror: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    on_nan: Literal["stop", "skip-step", "reload"] = "stop"
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    tick_kimg: Positive = 4.0
    snapshot_ticks: Annotated[int, Ge(0)] = 50
    keep_last: Count = 3
    keep_best: Annotated[int, Ge(0)] = 2


class CheckedRecipe(Protocol):
    """A recipe whose options are checked, as `ganzoo.recipe.node.Node` is: what a rule across slots looks at."""

    cls: type[Any]
    model: Any  # the checked options
    children: Mapping[str, Any]  # the components in its slots

    def value(self, name: str) -> Any:
        """Return a plain option's checked value."""

    def has(self, path: str) -> bool:
        """Whether the slots named by a dotted path exist and are filled."""

    def __getitem__(self, path: str) -> "CheckedRecipe": ...


class Learner(ABC):
    """A training in progress: networks by a short name each, their optimizers, and how far they are.

    `ganzoo.training.learner.GradientLearner` implements all but what a kind of training decides.
    """

    experiment: "Experiment"
    schedule: Schedule
    device: torch.device
    nets: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    stage: Stage  # where growth stands
    grows: bool  # whether it starts with small images
    averages: Mapping[str, str] = {}  # moving averages among `modules()`, each with the name of what it averages
    images: int  # real images shown
    iteration: int
    micro_batch: int | None  # images computed at once; None for all
    real_batches: int = 1  # batches of real images that a step takes
    processes: int  # number of processes that wrote the state it continues from
    reloads: int  # how often training went back to a state
    notice: Callable[[str], None]  # takes a sentence for the log

    @abstractmethod
    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """Run one iteration on this process's share of a batch.

        Args:
            real: uint8 images [R N, C, H, W], of R = `real_batches` batches
            label: their labels, [R N, K]
            fake_label: labels of generated images, [N, K]
        """

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything whose parameters and buffers training continues from, by prefix."""

    @abstractmethod
    def weights(self) -> dict[str, nn.Module]:
        """The networks that a snapshot holds, by prefix."""

    @abstractmethod
    def samples(self, dataset: Dataset, count: int) -> Tensor:
        """Return uint8 images [count, C, H, W] that show how far it is, of the same things at every call."""

    @abstractmethod
    def batch(self) -> int:
        """Images of the next iteration, of all processes together."""

    @abstractmethod
    def batches(self) -> set[int]:
        """All that `batch` gives in the course of the training."""

    @abstractmethod
    def report(self) -> dict[str, float]:
        """Means of the statistics since the last report, over all processes. Raises Diverged for one not finite."""

    @abstractmethod
    def broadcast_weights(self) -> None:
        """Give all processes the parameters and buffers of the first one."""

    @abstractmethod
    def after_restore(self) -> None:
        """Take up a state that was just loaded by all processes: forget statistics of before it."""

    @property
    def generator(self) -> Generator | None:
        """The generator that metrics measure; None where none is trained."""
        return None


@dataclass(frozen=True)
class Alarm:
    """A fault that a monitor sees in a run.

    Args:
        kind: its name, such as "mode collapse"
        sentence: what is wrong
        advice: what to do about it, another sentence
        since_kimg: thousands of images shown when it began
    """

    kind: str
    sentence: str
    advice: str
    since_kimg: float


class Monitor(ABC):
    """Watches a run for faults. The first process calls it at every tick, first `values`, then `alarms`."""

    def values(self, learner: Learner, dataset: Dataset) -> dict[str, float | None]:
        """Return numbers of its own for the tick's row in stats.jsonl, None where one cannot be had."""
        return {}

    @abstractmethod
    def alarms(self, folder: Path) -> list[Alarm]:
        """Return the alarms that the last tick raised, judged by the files of the run directory alone.

        An alarm is given once, until it is over; a resumed run repeats none.
        """


class Experiment(Component, ABC, kind="experiment"):
    """() Networks, and the images they are trained on. Its learner trains them.

    The top level of a recipe, which is a `gan` unless it has another `use`.
    """

    next_step: ClassVar[str] = ""  # the command that uses what was trained, with {folder} for the run directory
    title: str
    labels: int = 0
    shape: Shape
    training: Schedule

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the networks of a snapshot, by the prefix of their tensors."""

    @abstractmethod
    def learner(self, device: torch.device) -> Learner:
        """Return a learner at the beginning of its training."""

    @abstractmethod
    def dataset(self) -> Dataset | None:
        """Open the real images, if the recipe names them. Raises DataError."""

    def metrics(self, seed: int) -> list[Metric]:
        """Return fresh metrics, each for one measurement: those of every snapshot."""
        return []

    def loggers(self) -> list[Logger]:
        """Return loggers that a run reports to, beside its own files. Raises PluginError where a package is missing."""
        return []

    def monitors(self) -> list[Monitor]:
        """Return what watches a run of it for faults, fresh."""
        return []

    def stage_at(self, images: int) -> Stage:
        """Stage of growth after so many images; the last stage for an experiment that does not grow."""
        return Stage(len(self.shape.sizes) - 1)

    @classmethod
    def faults(cls, node: CheckedRecipe) -> Iterator[RecipeError]:
        """Yield an error with its `path` for each mix in a recipe that the parts would accept and the whole cannot."""
        yield from image_sizes(node)
        yield from metrics_differ(node)
        yield from training_is_whole(node)

    @property
    def ranking(self) -> type[Metric] | None:
        """The metric that ranks snapshots; None without metrics."""
        return None


def image_sizes(node: CheckedRecipe) -> Iterator[RecipeError]:
    """The size is a base times a power of two."""
    if "image" not in type(node.model).model_fields:
        return
    try:
        node.value("image").shape()
    except RecipeError as err:
        yield err


def metrics_differ(node: CheckedRecipe) -> Iterator[RecipeError]:
    """Each metric has a file of its own."""
    names = [child.cls.name for child in node.children.get("metrics") or ()]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield RecipeError(
                f"'{name}' is listed twice: its results would go to one file.", cure="keep one", path=("metrics", i)
            )


def training_is_whole(node: CheckedRecipe) -> Iterator[RecipeError]:
    """A training is at least one batch, and a batch a whole number of parts."""
    training = node.value("training")
    if training.kimg * 1000 < training.batch:
        yield RecipeError(
            f"{training.kimg} kimg are less than one batch of {training.batch} images",
            cure="raise kimg or lower batch",
            path=("training", "kimg"),
            also=(("training", "batch"),),
        )
    if training.batch_gpu not in (None, "auto") and training.batch % training.batch_gpu:
        yield RecipeError(
            f"the batch of {training.batch} is no multiple of {training.batch_gpu}",
            cure="choose a divisor",
            path=("training", "batch_gpu"),
        )
