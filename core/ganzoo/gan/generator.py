"""The generator made of slots: a mapping and a synthesis network."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt, Interval
from torch import Tensor

from ganzoo.interfaces import Generator, Learning, Mapping, Shape, Stage, SynthesisNetwork
from ganzoo.registry.component import Make
from ganzoo.types import Label, Latent, Pyramid, Style, Styles

Count = Annotated[int, Gt(0)]


class ComposedGenerator(Generator, name="composed"):
    """A generator made of a mapping and a synthesis network.

    Args:
        mapping: latent to style code
        synthesis: style codes to images
        z_dim: length of a latent
        w_dim: length of a style code
        channel_base: level l has min(channel_base / (4 * 2^l), channel_max) channels
        channel_max: most channels of any level
        channels: of each level, coarse to fine, in place of that rule; null for the rule
        output: "tanh" holds images within [-1, 1]; "linear" leaves them as they are, as all papers since ProGAN do
        mixing: probability of mixing two latents' styles at a random layer while training (arXiv:1812.04948, 3.1)
        w_mean_beta: decay of the moving average of style codes, per batch
        w_mean_phases: whether it follows the style codes of both networks' phases, or of the discriminator's only
    """

    example: ClassVar[dict[str, Any]] = {"w_dim": 8, "channel_max": 8}

    def __init__(
        self,
        shape: Shape,
        labels: int,
        /,
        *,
        mapping: Make[Mapping],
        synthesis: Make[SynthesisNetwork],
        z_dim: Count = 512,
        w_dim: Count = 512,
        channel_base: Count = 16384,
        channel_max: Count = 512,
        channels: tuple[Count, ...] | None = None,
        output: Literal["linear", "tanh"] = "linear",
        mixing: Annotated[float, Interval(ge=0, le=1)] = 0.0,
        w_mean_beta: Annotated[float, Interval(ge=0, le=1)] = 0.995,
        w_mean_phases: Literal["both", "d"] = "both",
    ) -> None:
        super().__init__()
        self.shape = shape
        self.labels = labels
        self.z_dim = z_dim
        self.mapping = mapping(z_dim, w_dim, labels)
        self.synthesis = synthesis(shape.plan(channel_base, channel_max, channels), w_dim, shape.channels)
        self.output = output
        self.mixing = mixing
        self.w_mean_beta = w_mean_beta
        self.w_mean_phases = w_mean_phases
        self.num_ws = self.synthesis.num_ws
        self.w_mean: Tensor
        self.register_buffer("w_mean", torch.zeros(w_dim))

    def map(self, z: Latent, label: Label = None) -> Style:
        """Map latents to one style code per sample, [N, W]."""
        return self.mapping(z, label)

    def styles(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Styles:
        """Map latents to one style code per layer, [N, L, W].

        In training mode, styles are mixed, and `w_mean` moves towards the batch's mean.
        """
        w = self.map(z, label)
        if self.training and self.w_mean_phases in ("both", self.phase):
            self.w_mean.lerp_(w.detach().mean(dim=0), 1 - self.w_mean_beta)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if self.training and self.mixing and float(torch.rand(())) < self.mixing:
            active = self.synthesis.active_ws(stage or self.finest)
            crossover = int(torch.randint(1, max(active, 2), ()))
            w2 = self.map(torch.randn_like(z), label)
            ws = torch.cat([ws[:, :crossover], w2[:, None].expand(-1, self.num_ws - crossover, -1)], dim=1)
        return ws

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        """Turn styles [N, L, W] into images in about [-1, 1]."""
        images: Pyramid = self.synthesis(ws, stage or self.finest)
        return tuple(image.tanh() for image in images) if self.output == "tanh" else images

    @property
    def has_mapping(self) -> bool:
        """Whether the mapping has parameters; without any, a style code is a latent, as in ProGAN."""
        return next(self.mapping.parameters(), None) is not None

    @property
    def transform(self) -> Tensor | None:
        """The buffer by which the synthesis network moves its images."""
        return self.synthesis.transform

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the precision of the feature maps; mapping, style affines and images stay float32."""
        self.synthesis.dtype = dtype

    def set_phase(self, phase: Learning) -> None:
        """Say which network learns from what is computed next."""
        self.phase = self.synthesis.phase = phase
