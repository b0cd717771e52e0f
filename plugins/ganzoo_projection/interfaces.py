"""Real images into a generator's latent space: what compares images, and how a latent is searched for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.interfaces.layers import Noise
from ganzoo.registry.component import Component, Make
from ganzoo.types import Image, Label, PerSample, Style, Styles

Space = Literal["w", "w+"]
Start = Literal["mean", "uniform", "random"]
Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Gt(0)]
Variables = dict[str, Tensor]  # "latent" [N, ...], and "noise.<name of the input>" [N, 1, H, W]
NOISE = "noise."
Parts = tuple[Tensor, ...]


class Perceptual(nn.Module, Component, kind="perceptual"):
    """(channels, /)  Image -> tensors [N, ...]: their squared difference, summed, is how far two images look apart.

    So the tensors of a target are computed once. A perceptual works at any size, and nothing in it learns.
    """

    trial: ClassVar[str] = "ganzoo_projection.trials:check_perceptual"
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights

    def forward(self, images: Image) -> Parts:
        """What is compared, of images in about [-1, 1]; differentiable."""
        raise NotImplementedError

    def distance(self, images: Image, target: Parts) -> PerSample:
        """How far images look from the targets with these tensors, [N]."""
        parts = self(images)
        return sum(
            ((a - b).square().flatten(1).sum(dim=1) for a, b in zip(parts, target)),
            torch.zeros(len(images), dtype=images.dtype, device=images.device),
        )


@dataclass(frozen=True)
class FrozenGenerator:
    """A trained generator as a projector sees it: fixed, with what is known of its style codes.

    Args:
        G: in evaluation mode; its parameters take no gradient
        stage: where its growth stands
        label: [1, K], or None
        mean: [W], of the style codes of many latents
        spread: root of the mean squared distance of a style code from the mean
        mapped: whether a learned mapping makes style codes; without one, latents z are searched for
        noises: names of the noise inputs that are in use
        digest: sha256 of the weights
        seed: of everything random
    """

    G: Generator
    stage: Stage
    label: Label
    mean: Style
    spread: float
    mapped: bool
    noises: tuple[str, ...]
    digest: str
    seed: int = 0

    @property
    def shape(self) -> Shape:
        """Of the images it makes now."""
        return Shape(self.G.shape.sizes[: self.stage.level + 1], self.G.shape.channels)

    def labels(self, count: int) -> Label:
        """The label, once for each of so many images."""
        return None if self.label is None else self.label.expand(count, -1)

    def latent_shape(self, layers: int) -> tuple[int, ...]:
        """The shape of one latent: [Z] without a mapping, else [layers, W]."""
        return (layers, self.mean.shape[0]) if self.mapped else (self.G.z_dim,)

    def codes(self, latent: Tensor) -> Styles:
        """A style code for every layer, [N, L, W], from z [N, Z], w [N, 1, W] or w+ [N, L, W]."""
        if latent.ndim == 3:
            return latent.expand(-1, self.G.num_ws, -1)
        return self.G.styles(latent, self.labels(len(latent)), self.stage)

    def images(self, codes: Styles, variables: Mapping[str, Tensor]) -> Image:
        """Images in about [-1, 1], with the noise that is among the variables, else with the stored noise."""
        with self._noise(variables):
            return self.G.synthesize(codes, self.stage)[-1]

    def _noise(self, variables: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        modules = dict(self.G.named_modules())
        given = {id(modules[name[len(NOISE) :]]): t for name, t in variables.items() if name.startswith(NOISE)}
        return self.G.drawing(lambda noise, x: given.get(id(noise), noise.const))

    def inputs(self) -> dict[str, Noise]:
        """The noise inputs that are in use, by name."""
        modules = dict(self.G.named_modules())
        return {name: m for name in self.noises if isinstance(m := modules[name], Noise)}

    def random(self, size: tuple[int, ...], *what: int) -> Tensor:
        """Normal numbers that depend on the seed and on `what` alone: an image never notices its company."""
        mixed = np.random.SeedSequence((self.seed, *what)).generate_state(1, np.uint64)[0] >> np.uint64(1)
        return torch.randn(size, generator=torch.Generator().manual_seed(int(mixed))).to(self.mean)


class Projector(nn.Module, Component, ABC, kind="projector"):
    """(channels, /)  Finds latents whose images are given ones. The loop is `ganzoo_projection.search.Projection`.

    Images are searched for side by side: nothing here may mix the samples of a batch.

    Args:
        perceptual: how images are compared
        steps: of the optimization
        space: "w" searches one style code for all layers, "w+" one for each layer
        lambda_percept: weight of the perceptual distance
        lambda_mse: weight of the mean squared difference of pixels, which run from -1 to 1
        patience: end an image's search when its best loss has not improved in so many steps; null for never
        improvement: what counts as improved: a loss smaller by this fraction
    """

    trial: ClassVar[str] = "ganzoo_projection.trials:check_projector"
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # Adam's
    eps: ClassVar[float] = 1e-8
    digest: str = ""  # of weights of its own that decide what it finds

    def __init__(
        self,
        channels: int,
        /,
        *,
        perceptual: Make[Perceptual],
        steps: Annotated[int, Ge(0)],
        space: Space,
        init: Start = "mean",
        lambda_percept: Weight = 1.0,
        lambda_mse: Weight = 0.0,
        patience: Count | None = None,
        improvement: Annotated[float, Interval(ge=0, lt=1)] = 0.001,
    ) -> None:
        super().__init__()
        self.perceptual = perceptual(channels)
        self.steps, self.space, self.init = steps, space, init
        self.lambda_percept, self.lambda_mse = lambda_percept, lambda_mse
        self.patience, self.improvement = patience, improvement

    def begin(self, view: FrozenGenerator, target: Image) -> Variables:
        """What is optimised, for targets [N, C, H, W]: "latent", and noise maps where they are searched for too."""
        return {"latent": self.start(view, len(target))}

    def start(self, view: FrozenGenerator, count: int) -> Tensor:
        """The latents at the start: z [N, Z] where there is no mapping, else [N, 1, W] or [N, L, W] as `space` says.

        Without a mapping, style codes have no mean that is an image: the start is random there.
        """
        layers = view.G.num_ws if self.space == "w+" else 1
        if self.init == "uniform":
            one = 2 * torch.rand(view.latent_shape(layers), generator=torch.Generator().manual_seed(view.seed)) - 1
        elif view.mapped and self.init == "mean":
            one = view.mean.expand(layers, -1)
        else:  # the latent of which `gz generate` makes the image of this seed
            z = torch.from_numpy(np.random.RandomState(view.seed).randn(1, view.G.z_dim)).to(view.mean)
            one = view.G.map(z, view.label).expand(layers, -1) if view.mapped else z[0]
        return one.detach().to(view.mean).expand(count, *view.latent_shape(layers)).clone()

    @abstractmethod
    def lr(self, step: int) -> float:
        """Adam's learning rate at a step, from 0 on."""

    def perturbed(self, view: FrozenGenerator, latent: Tensor, step: int) -> Tensor:
        """The latent whose image is compared at a step."""
        return latent

    def penalty(self, variables: Variables) -> PerSample | None:
        """What is minimised beside the images' distance, [N]."""
        return None

    def after_step(self, variables: Variables) -> None:
        """Called after each step, without gradients: may change the variables in place."""
