"""What a recipe's top level holds. Its signature is the schema of a recipe, and binding it builds the experiment."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from ganzoo.component import Component, Make, Options
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Augment, Dataset, Discriminator, Generator, Growth, Loss, Metric, Regularizer, Shape
from ganzoo.networks import ComposedDiscriminator, ComposedGenerator

Count = Annotated[int, Gt(0)]
Positive = Annotated[float, Gt(0)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]


class Images(Options):
    """The images a GAN works on.

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


class Training(Options):
    """How to train. Time is counted in thousands of real images shown to the discriminator (kimg).

    Args:
        kimg: length of the training
        batch: images of an iteration
        batch_gpu: images computed at once; a smaller number saves memory, gradients are accumulated. What looks at the
            batch as a whole (minibatch statistics, batch norm, relativistic averages) then sees a part. null for all
        lr: Adam's learning rate
        d_lr: the discriminator's, where it differs
        betas: Adam's decay rates
        eps: Adam's epsilon
        order: which network moves first in an iteration: "gd" as in StyleGAN2, "dg" as in ProGAN
        g_every: the generator learns at every k-th iteration only: k discriminator steps to one (WGAN-GP)
        ema_kimg: half-life of the moving average of the generator's weights
        ema_beta: the moving average's decay at every iteration, in place of the half-life; null for the half-life
        ema_rampup: the half-life is at most this fraction of the images seen; null for none
        mirror: flip half of the real images horizontally
        precision: of the feature maps; "auto" is bf16 where the processor computes in it, else fp32
        seed: of everything random
        tick_kimg: interval of the status line
        snapshot_ticks: a snapshot and a state are written each so many ticks; 0 for the end only
        keep_last: newest snapshots that are kept
        keep_best: best snapshots by the first metric that are kept beside them
    """

    kimg: Positive = 25000.0
    batch: Count = 32
    batch_gpu: Count | None = None
    lr: Positive = 0.002
    d_lr: Positive | None = None
    betas: tuple[Fraction, Fraction] = (0.0, 0.99)
    eps: Positive = 1e-8
    order: Literal["gd", "dg"] = "gd"
    g_every: Count = 1
    ema_kimg: Annotated[float, Ge(0)] = 10.0
    ema_beta: Annotated[float, Interval(ge=0, lt=1)] | None = None
    ema_rampup: Positive | None = None
    mirror: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    tick_kimg: Positive = 4.0
    snapshot_ticks: Annotated[int, Ge(0)] = 50
    keep_last: Count = 3
    keep_best: Annotated[int, Ge(0)] = 2


class Experiment(Component, kind="experiment", name="gan"):
    """A generator, a discriminator, what they are trained for, on which images and how.

    Args:
        title: one line about the architecture
        paper: where it is described
        image: size and channels
        labels: number of classes, or length of a label vector; 0 for none
        generator: latents to images
        discriminator: images to logits
        loss: the adversarial loss
        regularizers: penalties on either network
        growth: schedule of resolutions; null trains all of them from the start
        augment: what the discriminator sees in place of the images; null for the images themselves
        dataset: the real images; `--data` chooses it on the command line
        metrics: measured at each snapshot
        training: how to train
    """

    def __init__(
        self,
        *,
        title: str = "",
        paper: str = "",
        image: Images,
        labels: Annotated[int, Ge(0)] = 0,
        generator: Make[Generator] = ComposedGenerator,
        discriminator: Make[Discriminator] = ComposedDiscriminator,
        loss: Make[Loss],
        regularizers: list[Make[Regularizer]] = [],  # noqa: B006 (never changed)
        growth: Make[Growth] | None = None,
        augment: Make[Augment] | None = None,
        dataset: Make[Dataset] | None = None,
        metrics: list[Make[Metric]] = [],  # noqa: B006
        training: Training = Training(),  # noqa: B008 (frozen)
    ) -> None:
        self.title, self.labels, self.training = title, labels, training
        self.shape = image.shape()
        self.G = generator(self.shape, labels)
        self.D = discriminator(self.shape, labels)
        self.loss = loss()
        self.regularizers = [make() for make in regularizers]
        self.growth = growth(self.shape) if growth else None
        self.augment = augment() if augment else None
        self._dataset, self._metrics = dataset, metrics

    def dataset(self) -> Dataset | None:
        """Open the real images, if the recipe names them. Raises DataError."""
        return self._dataset(self.shape.size, self.shape.channels, self.labels) if self._dataset else None

    def metrics(self, seed: int) -> list[Metric]:
        """Fresh metrics, to be filled once."""
        made = [make(self.shape, seed) for make in self._metrics]
        for metric, make in zip(made, self._metrics):
            metric.options = dict(make.keywords)  # type: ignore[attr-defined]
        return made

    @property
    def ranking(self) -> type[Metric] | None:
        """The metric that says which snapshot is best: the first one."""
        return self._metrics[0].func if self._metrics else None  # type: ignore[attr-defined]


CORE_COMPONENTS: list[type[Component]] = [ComposedGenerator, ComposedDiscriminator, Experiment]
