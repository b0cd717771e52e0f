"""The growth schedule (arXiv:1710.10196, section 2 and appendix A)."""

from typing import Annotated

from annotated_types import Ge, Gt

from ganzoo.errors import RecipeError
from ganzoo.interfaces import Growth, Shape, Stage

Kimg = Annotated[float, Gt(0)]


class Progressive(Growth, name="progressive", paper="arXiv:1710.10196"):
    """Train a resolution, fade the next one in, and so on; each takes a fixed number of images.

    Args:
        train_kimg: thousands of images at each stable resolution
        fade_kimg: thousands of images of each fade-in
        start: height of the first resolution; null for the coarsest
        batches: batch size by height, where it differs from training.batch; null for none
        lrs: learning rate by height, where it differs from training.lr; null for none
        reset_optimizer: forget Adam's moments at the start and the end of each fade
    """

    def __init__(
        self,
        shape: Shape,
        /,
        *,
        train_kimg: Kimg = 600.0,
        fade_kimg: Kimg = 600.0,
        start: int | None = None,
        batches: dict[int, Annotated[int, Ge(1)]] | None = None,
        lrs: dict[int, Annotated[float, Gt(0)]] | None = None,
        reset_optimizer: bool = True,
    ) -> None:
        self.heights = [h for h, _ in shape.sizes]
        if start is not None and start not in self.heights:
            raise RecipeError(
                f"growth.start: {start} is not among the heights {', '.join(map(str, self.heights))}: "
                "choose one, or null for the first."
            )
        self.first = 0 if start is None else self.heights.index(start)
        self.train_kimg, self.fade_kimg = train_kimg, fade_kimg
        self.batches, self.lrs, self.reset_optimizer = batches or {}, lrs or {}, reset_optimizer

    def stage(self, images: int) -> Stage:
        """phase = train + fade; the next resolution is in use from the start of its fade, with alpha from 0 to 1."""
        phase = self.train_kimg + self.fade_kimg
        index, into = divmod(images / 1000, phase)
        level = self.first + int(index)
        faded = max(into - self.train_kimg, 0.0) / self.fade_kimg
        last = len(self.heights) - 1
        if level >= last:
            return Stage(last)
        return Stage(level + 1, faded) if faded > 0 else Stage(level)

    def batch(self, stage: Stage, batch: int) -> int:
        """From the table of `batches`."""
        return self.batches.get(self.heights[stage.level], batch)

    def lr(self, stage: Stage, lr: float) -> float:
        """From the table of `lrs`."""
        return self.lrs.get(self.heights[stage.level], lr)

    def resets_optimizer(self, before: Stage, after: Stage) -> bool:
        """At the start and at the end of each fade."""
        return self.reset_optimizer and (before.level, before.alpha < 1) != (after.level, after.alpha < 1)
