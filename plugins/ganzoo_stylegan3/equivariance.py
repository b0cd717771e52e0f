"""EQ-T and EQ-R: how exactly images move with the motion that a generator is asked for (arXiv:2106.12423, section E).

EQ = 10 log10(I² / MSE) in dB, with I = 2, the range of images in [-1, 1], and one mean over all samples and pixels that
are known.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Generator, GeneratorMetric, ProbeContext, Shape, Stage, Which
from ganzoo.training.seeds import image_seeds, latents
from ganzoo.types import Count, Image, Styles
from ganzoo_stylegan3.motion import fractionally_translated, pseudo_rotated, rotated, translated

SHIFT = 0.125  # largest translation, in image sides
PIXELS = 2**19  # of images computed at once


def moved_image(
    G: Generator, stage: Stage, ws: Styles, translate: tuple[float, float] = (0.0, 0.0), rotate: float = 0.0
) -> Image:
    """Finest images [N, C, H, W] of style codes, moved by the generator itself (`Generator.moved`)."""
    with G.moved(translate, rotate):
        return G.synthesize(ws, stage)[-1]


def translation_error(
    G: Generator, stage: Stage, ws: Styles, shift: tuple[float, float], whole: bool, still: Image
) -> tuple[float, float]:
    """Sum of squared differences over known pixels, and the number of these in all channels.

    Args:
        G: the generator
        stage: of its growth
        ws: style codes [N, L, W]
        shift: (x, y) in image sides
        whole: round the shift to whole pixels
        still: the images of the style codes, [N, C, H, W]
    """
    h, w = still.shape[2:]
    dx, dy = shift[0] * w, shift[1] * h
    if whole:
        dx, dy = float(np.rint(dx)), float(np.rint(dy))
        expected, known = translated(still, int(dx), int(dy))
    else:
        expected, known = fractionally_translated(still, dx, dy)
    return _summed(moved_image(G, stage, ws, (dx / w, dy / h)) - expected, known)


def rotation_error(G: Generator, stage: Stage, ws: Styles, angle: float, still: Image) -> tuple[float, float]:
    """Sum of squared differences over known pixels, and the number of these; `angle` in radians, else as above."""
    expected, known = rotated(still, angle)
    image, kept = pseudo_rotated(moved_image(G, stage, ws, rotate=angle), angle)
    return _summed(image - expected, known & kept)


def _summed(difference: Image, known: Tensor) -> tuple[float, float]:
    mask = known.to(difference.device)
    count = float(mask.sum()) * difference.shape[0] * difference.shape[1]
    return float((difference.double().square() * mask).sum()), count


def decibels(squares: float, count: float) -> float:
    """EQ of a sum of squared differences of `count` values; infinite where images are equal."""
    return math.inf if squares == 0 else 20 * math.log10(2) - 10 * math.log10(squares / count)


class _Equivariance(GeneratorMetric):
    """Draws a motion for each batch, and adds up what `errors` gives.

    Args:
        num: number of samples
        batch: number of samples that share a motion; the value's spread depends on it
    """

    lower_is_better = False

    def __init__(self, shape: Shape, seed: int, /, *, num: Annotated[int, Ge(1)] = 50_000, batch: Count = 64) -> None:
        super().__init__(shape, seed, num=num)
        self.batch = batch
        self.sums: dict[int, tuple[float, float]] = {}  # (squared differences, number of values) of each batch

    def errors(
        self, G: Generator, stage: Stage, ws: Styles, still: Image, draw: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Squared differences and number of values of some samples, moved as three numbers in [0, 1) say."""
        raise NotImplementedError

    @torch.no_grad()
    def probe(self, context: ProbeContext) -> None:
        """Measure this process's share of the batches. Raises UsageError where the generator cannot be moved."""
        G = context.G
        if G.transform is None:
            raise UsageError(f"{self.name} moves the generator's images, and this one cannot: leave {self.name} out.")
        mine = range(context.rank, -(-self.num // self.batch), context.world)
        labels = context.labels(self.num, 3) if G.labels else None
        for done, index in enumerate(mine, 1):
            draw = np.random.Generator(np.random.Philox(key=np.array([self.seed, index], np.uint64))).random(3)
            squares = count = 0.0
            for part in self._parts(index, context):
                z = latents(image_seeds(self.seed, part), G.z_dim).to(context.device)
                label = None if labels is None else labels[part.start : part.stop].to(context.device)
                ws = G.styles(z, label, context.stage)
                with G.noise("const"):
                    still = moved_image(G, context.stage, ws)
                    error = self.errors(G, context.stage, ws, still, draw)
                squares, count = squares + error[0], count + error[1]
            self.sums[index] = (squares, count)
            context.progress(self.name, done, len(mine))

    def _parts(self, index: int, context: ProbeContext) -> Iterator[range]:
        """Yield the samples of a batch that are computed at once."""
        h, w = context.G.shape.sizes[context.stage.level]
        step = max(1, PIXELS // (h * w))
        last = min((index + 1) * self.batch, self.num)
        for start in range(index * self.batch, last, step):
            yield range(start, min(start + step, last))

    def compute(self) -> dict[str, float]:
        """The value by name. Raises DataError where nothing was measured, or images were not finite."""
        if not self.sums:
            raise DataError(f"{self.name} asks a generator, and there was none: give a checkpoint.")
        squares, count = (math.fsum(self.sums[i][k] for i in sorted(self.sums)) for k in (0, 1))
        if not math.isfinite(squares) or count == 0:
            raise DataError(f"{self.name} is not defined: images are not finite, or too small for the motions.")
        return {self.primary: decibels(squares, count)}

    def state(self, which: Which) -> dict[str, Tensor]:
        """Batches int64 [n] and their sums float64 [n, 2]; nothing of real images."""
        if which == "real":
            return {}
        sums = torch.tensor([self.sums[i] for i in self.sums], dtype=torch.float64).reshape(-1, 2)
        return {"index": torch.tensor(list(self.sums), dtype=torch.int64), "sums": sums}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Add the batches of another process."""
        if which == "fake":
            pairs = [(float(squares), float(count)) for squares, count in state["sums"].tolist()]
            self.sums.update(zip(state["index"].tolist(), pairs))


class EquivarianceT(_Equivariance, name="eqt", paper="arXiv:2106.12423"):
    """Equivariance under translation in dB: images moved by their generator, against moved images.

    Translations are drawn uniformly within 1/8 of the side. Values above 90 say only that both agree but for rounding.

    Args:
        whole: by whole pixels (EQ-T), else by fractions, compared by Lanczos interpolation (EQ-T_frac)
    """

    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "eqt50k_int": {"whole": True},
        "eqt50k_frac": {"whole": False},
    }

    def __init__(self, shape: Shape, seed: int, /, *, whole: bool = True, **options: Any) -> None:
        super().__init__(shape, seed, **options)
        self.whole = whole
        self.primary = "eqt_int" if whole else "eqt_frac"

    def errors(
        self, G: Generator, stage: Stage, ws: Styles, still: Image, draw: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Translate by two of the numbers."""
        x, y = ((2 * u - 1) * SHIFT for u in draw[:2].tolist())
        return translation_error(G, stage, ws, (x, y), self.whole, still)


class EquivarianceR(_Equivariance, name="eqr", paper="arXiv:2106.12423"):
    """Equivariance under rotation in dB: images rotated by their generator, against rotated images.

    Angles are drawn from the whole circle. Both are brought to the spectrum that a rotation keeps.
    """

    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {"eqr50k": {}}
    primary = "eqr"

    def __init__(self, shape: Shape, seed: int, /, **options: Any) -> None:
        super().__init__(shape, seed, **options)

    def errors(
        self, G: Generator, stage: Stage, ws: Styles, still: Image, draw: NDArray[np.float64]
    ) -> tuple[float, float]:
        """Rotate by one of the numbers."""
        return rotation_error(G, stage, ws, (2 * float(draw[2]) - 1) * math.pi, still)
