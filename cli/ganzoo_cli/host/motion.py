"""Options that move the images of a generator which can: --translate and --rotate."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.host.drawing import Drawing, refuse

if TYPE_CHECKING:
    from ganzoo.model.model import Model

Translate = Annotated[
    str | None,
    typer.Option(metavar="X,Y", help="Move the picture right and down by shares of its side, as 0.1,-0.05: StyleGAN3."),
]
Rotate = Annotated[
    float | None, typer.Option(metavar="DEG", help="Turn the picture counter-clockwise by degrees: StyleGAN3.")
]


@dataclass(frozen=True, kw_only=True)
class MovedDrawing(Drawing):
    """How a command draws images that the generator itself may move: a group of options."""

    translate: Translate = None
    rotate: Rotate = None

    @property
    def shift(self) -> tuple[float, float]:
        """The numbers of --translate. Raises UsageError."""
        number = r"\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*"
        match = re.fullmatch(f"{number},{number}", self.translate or "0,0")
        if not match:
            refuse(f"--translate {self.translate}: write two shares of the image's side, as 0.1,-0.05.")
        return float(match[1]), float(match[2])

    @contextmanager
    def moved(self, model: "Model") -> Iterator[None]:
        """Move the model's images within the block. Raises UsageError for a generator that cannot."""
        shift, rotate = self.shift, self.rotate
        if self.translate is None and rotate is None:
            yield
            return
        if rotate is not None and not math.isfinite(rotate):
            refuse(f"--rotate {rotate}: give a number of degrees, as 30.")
        if model.G.transform is None:
            option = "--rotate" if self.translate is None else "--translate"
            refuse(f"{option}: the generator of {model.path} cannot move its images; StyleGAN3's can. Leave it out.")
        with model.G.moved(shift, math.radians(rotate or 0.0)):
            yield

    def about(self, model: "Model") -> dict[str, Any]:
        """Metadata of a picture: the model, the settings, and the motion, as they were given."""
        motion = {"translate": None if self.translate is None else list(self.shift), "rotate": self.rotate}
        return super().about(model) | {name: value for name, value in motion.items() if value is not None}
