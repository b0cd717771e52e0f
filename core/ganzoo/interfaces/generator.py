"""A generator: latents to images.

`ganzoo.gan.generator.ComposedGenerator` is made of slots; a GAN that is not, subclasses this one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo.errors import UsageError
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.interfaces.layers import Draw, Noise, fresh
from ganzoo.registry.component import Component
from ganzoo.types import Label, Latent, Maps, Pyramid, Style, Styles

NoiseMode = Literal["random", "const", "none"]


class Generator(nn.Module, Component, kind="generator"):
    """(shape, labels, /)  Latent, Label, Stage -> Pyramid."""

    shape: Shape
    labels: int
    z_dim: int
    num_ws: int
    w_mean: Tensor  # [W] moving average of style codes, a buffer

    def map(self, z: Latent, label: Label = None) -> Style:
        """One style code per sample, [N, W]."""
        raise NotImplementedError

    def styles(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Styles:
        """One style code per layer, [N, L, W]; in training mode with style mixing, and `w_mean` follows."""
        raise NotImplementedError

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        """Styles to images in about [-1, 1]; at the finest stage where none is given."""
        raise NotImplementedError

    def forward(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Pyramid:
        """Latents to images in about [-1, 1]."""
        return self.synthesize(self.styles(z, label, stage), stage)

    def truncate(self, ws: Styles, psi: float, cutoff: int | None = None) -> Styles:
        """w_mean + psi * (w - w_mean) for the first `cutoff` layers (arXiv:1812.04948, appendix B)."""
        if psi == 1:
            return ws
        near = self.w_mean.lerp(ws, psi)
        return near if cutoff is None else torch.cat([near[:, :cutoff], ws[:, cutoff:]], dim=1)

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps: float32, bfloat16 or float16 (see `layers.at_level`)."""
        raise NotImplementedError

    @contextmanager
    def noise(self, mode: NoiseMode, seeds: Sequence[int] | None = None) -> Iterator[None]:
        """Choose where noise comes from, within the block.

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
