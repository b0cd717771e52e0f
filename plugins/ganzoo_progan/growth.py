"""Progressive growth (arXiv:1710.10196, section 2 and appendix A)."""

from ganzoo.errors import RecipeError
from ganzoo.interfaces import Growth, Shape, Stage
from ganzoo.types import Count, Positive


class Progressive(Growth, name="progressive", paper="arXiv:1710.10196"):
    """Each resolution is trained, then the next one is faded in, both for a fixed number of images.

    Args:
        train_kimg: thousands of images for which a resolution is trained before the next one fades in
        fade_kimg: thousands of images of each fade-in
        start: height of the first resolution; null for the coarsest
        batches: {height: batch size}; other heights use training.batch; null for none
        lrs: {height: learning rate}; other heights use training.lr; null for none
        reset_optimizer: reset Adam's moments at the start and the end of each fade
    """

    def __init__(
        self,
        shape: Shape,
        /,
        *,
        train_kimg: Positive = 600.0,
        fade_kimg: Positive = 600.0,
        start: int | None = None,
        batches: dict[int, Count] | None = None,
        lrs: dict[int, Positive] | None = None,
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
        """Resolution and alpha after `images` images; alpha rises from 0 to 1 while a resolution fades in."""
        phase = self.train_kimg + self.fade_kimg
        index, into = divmod(images / 1000, phase)
        level = self.first + int(index)
        faded = max(into - self.train_kimg, 0.0) / self.fade_kimg
        last = len(self.heights) - 1
        if level >= last:
            return Stage(last)
        return Stage(level + 1, faded) if faded > 0 else Stage(level)

    def batch(self, stage: Stage, batch: int) -> int:
        """Look the batch size up in `batches`."""
        return self.batches.get(self.heights[stage.level], batch)

    def lr(self, stage: Stage, lr: float) -> float:
        """Look the learning rate up in `lrs`."""
        return self.lrs.get(self.heights[stage.level], lr)

    def resets_optimizer(self, before: Stage, after: Stage) -> bool:
        """Whether a fade starts or ends between two stages."""
        return self.reset_optimizer and (before.level, before.alpha < 1) != (after.level, after.alpha < 1)
