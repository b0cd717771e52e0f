"""A generator: latents to images.

`ganzoo.gan.generator.ComposedGenerator` is made of slots; a whole generator subclasses `Generator`, and needs `forward`
alone.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ganzoo.errors import UsageError
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.interfaces.layers import Draw, Noise, fresh
from ganzoo.nn.arguments import require_latents
from ganzoo.registry.component import Component
from ganzoo.types import Label, Latent, Maps, Pyramid, Style, Styles

NoiseMode = Literal["random", "const", "none"]
Learning = Literal["g", "d"]  # the network that learns: generator or discriminator


class Network(nn.Module):
    """A whole network, built with (shape, labels, /), which it knows as `shape` and `labels` from the beginning."""

    shape: Shape
    labels: int = 0
    phase: Learning = "g"

    def __new__(cls, *sizes: Any, **options: Any) -> Self:
        """Keep the sizes before `__init__` runs, so that a subclass's `super().__init__()` needs none."""
        network = super().__new__(cls, *sizes, **options)
        network.__dict__.update(zip(("shape", "labels"), sizes))
        return network

    @property
    def finest(self) -> Stage:
        """The stage at which everything is in use."""
        return Stage(len(self.shape.sizes) - 1)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps: float32, bfloat16 or float16. Without an own one: float32."""

    def set_phase(self, phase: Learning) -> None:
        """Say which network learns from what is computed next; some moving statistics follow one of them only."""
        self.phase = phase


class Generator(Network, Component, kind="generator"):
    """A generator, which draws images of `shape` from latents.

    Built with (shape, labels, /). Latent [N, Z], Label [N, K] or None, Stage or None -> Pyramid, a tuple of float32
    images in about [-1, 1], coarse to fine; most give one.

    A subclass defines `forward` alone: then the style code is the latent, with its label appended, one for all layers,
    and truncation has no effect. A generator with style codes of its own defines `map` and `synthesize` instead, and
    sets `num_ws` and the buffer `w_mean`.
    """

    grows: ClassVar[bool] = False  # whether it makes smaller images at stages below the finest
    emits: ClassVar[Literal["image", "pyramid"]] = "image"
    num_ws: int = 1  # number of style codes, L
    w_mean: Tensor  # [W] moving average of style codes, a buffer

    def __init__(self, shape: Shape | None = None, labels: int | None = None, /) -> None:
        super().__init__()
        self.register_buffer("w_mean", torch.zeros(0))
        self.z_dim = 512

    @property
    def z_dim(self) -> int:
        """Length of a latent; 512 where a subclass sets no other."""
        return self._z_dim

    @z_dim.setter
    def z_dim(self, length: int) -> None:
        """Set the length of a latent."""
        self._z_dim = length
        if type(self).map is Generator.map:  # then a style code is as long as a latent with its label
            self.register_buffer("w_mean", torch.zeros(length + self.labels))

    @property
    def has_styles(self) -> bool:
        """Whether images come from style codes that can be truncated and mixed, not from the latent itself."""
        return type(self).synthesize is not Generator.synthesize

    @property
    def has_mapping(self) -> bool:
        """Whether a learned mapping makes style codes, so that truncation has a mean to pull towards."""
        return type(self).map is not Generator.map

    def map(self, z: Latent, label: Label = None) -> Style:
        """Map latents to style codes, [N, W]; without a mapping the latent with its label appended."""
        return z if label is None else torch.cat([z, label.to(z.dtype)], dim=1)

    def styles(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Styles:
        """Return one style code per layer, [N, L, W]; in training mode with style mixing, and `w_mean` follows."""
        return self.map(z, label)[:, None].expand(-1, self.num_ws, -1)

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        """Turn style codes into images in about [-1, 1]; at the finest stage where none is given."""
        code = ws[:, 0]
        images: Pyramid = self(code[:, : self.z_dim], code[:, self.z_dim :] if self.labels else None, stage)
        return images

    def __call__(self, z: Latent, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`. Raises UsageError for what are no latents [N, Z]."""
        taker = f"the generator '{self.name or type(self).__name__}'"
        require_latents(z, self.z_dim, taker, exact=False)
        return super().__call__(z, *args, **kwargs)

    def forward(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Pyramid:
        """Turn latents into images in about [-1, 1]; at the finest stage where none is given."""
        if not self.has_styles:
            raise NotImplementedError(f"{type(self).__name__} defines neither forward() nor map() and synthesize().")
        return self.synthesize(self.styles(z, label, stage), stage)

    def truncate(self, ws: Styles, psi: float, cutoff: int | None = None) -> Styles:
        """w_mean + psi * (w - w_mean) for the first `cutoff` layers (arXiv:1812.04948, appendix B).

        Without style codes of its own, a generator's codes are latents: they stay as they are.
        """
        if psi == 1 or not self.has_styles:
            return ws
        near = self.w_mean.lerp(ws, psi)
        return near if cutoff is None else torch.cat([near[:, :cutoff], ws[:, cutoff:]], dim=1)

    @contextmanager
    def noise(self, mode: NoiseMode, seeds: Sequence[int] | None = None) -> Iterator[None]:
        """Choose the source of noise within the block.

        Args:
            mode: "random" draws anew at each call, "const" uses the stored maps, "none" adds nothing
            seeds: with "random", one seed a sample, so that a sample's noise does not depend on the batch it is in
        """
        draws: dict[str, Draw] = {
            "const": lambda noise, x: noise.const,
            "none": lambda noise, x: None,
            "random": fresh if seeds is None else _seeded(seeds),
        }
        if mode not in draws:
            raise UsageError(f"noise mode '{mode}': choose random, const or none.")
        with self.drawing(draws[mode]):
            yield

    @property
    def transform(self) -> Tensor | None:
        """A buffer [3, 3] that moves the images: a point (x, y, 1) shows what was at its product with the point.

        Coordinates are in image sides from the centre, to the right and down. None where images cannot be moved.
        """
        return None

    @contextmanager
    def moved(self, translate: tuple[float, float] = (0.0, 0.0), rotate: float = 0.0) -> Iterator[None]:
        """Rotate images about their centre, then translate them, within the block.

        Args:
            translate: in image sides, to the right and down
            rotate: radians, counter-clockwise

        Raises UsageError for a generator without `transform`.
        """
        transform = self.transform
        if transform is None:
            raise UsageError("this generator cannot move its images: choose one that begins with Fourier features.")
        cos, sin = math.cos(rotate), math.sin(rotate)
        inverse = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        before = transform.clone()
        try:
            transform[:2, :2] = inverse
            transform[:2, 2] = -inverse @ torch.tensor(translate, dtype=torch.float64)
            yield
        finally:
            transform.copy_(before)

    @contextmanager
    def drawing(self, draw: Draw) -> Iterator[None]:
        """Let every noise input take its noise from `draw(noise, x)`, within the block."""
        inputs = [m for m in self.modules() if isinstance(m, Noise)]
        before = [m.draw for m in inputs]
        for m in inputs:
            m.draw = draw
        try:
            yield
        finally:
            for m, was in zip(inputs, before):
                m.draw = was


def _seeded(seeds: Sequence[int]) -> Draw:
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(noise: Noise, x: Maps) -> Tensor:
        return torch.stack([torch.randn(1, *noise.size, generator=g) for g in streams]).to(x.device)

    return draw
