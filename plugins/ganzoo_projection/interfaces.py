"""Real images into a generator's latent space: the generator as projectors see it, and how a latent is searched for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces.extractor import Extractor
from ganzoo.interfaces.generator import Generator
from ganzoo.interfaces.growth import Shape, Stage
from ganzoo.interfaces.layers import Noise
from ganzoo.registry.component import Component, Make
from ganzoo.types import Image, Label, PerSample, Style, Styles
from ganzoo_projection.perceptual import (
    IMAGE2STYLEGAN,
    Lambdas,
    Outputs,
    Side,
    perceptual_distance,
    upgraded_comparison,
)

Space = Literal["w", "w+"]
Start = Literal["mean", "uniform", "random"]
Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Gt(0)]
Variables = dict[str, Tensor]  # "latent" [N, ...], and "noise.<name of the input>" [N, 1, H, W]
NOISE = "noise."


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
        """Sizes and channels of the images it makes now."""
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
        """Draw normal numbers that depend on the seed and on `what` only, not on the batch."""
        mixed = np.random.SeedSequence((self.seed, *what)).generate_state(1, np.uint64)[0] >> np.uint64(1)
        return torch.randn(size, generator=torch.Generator().manual_seed(int(mixed))).to(self.mean)


class Projector(nn.Module, Component, ABC, kind="projector"):
    """(channels, /)  Finds latents whose images are given ones. The loop is `ganzoo_projection.search.Projection`.

    Images are searched for side by side: nothing here may mix the samples of a batch.

    Args:
        perceptual: the extractor by which images are compared
        outputs: which of its outputs are compared, by mean squares of maps and squared distances of vectors; null for
            those of the method's paper through vgg16, for all layers through another
        lambdas: the weight of each output; null for 1
        side: images are brought to this longer side before they are compared; null for 256 through vgg16, for their own
            size through another
        enlarge: bring smaller images to that side too; else only larger ones are averaged to it. null for layers of
            vgg16, as in Image2StyleGAN, but not for lpips
        steps: length of the optimization
        space: "w" searches one style code for all layers, "w+" one for each layer
        lambda_percept: weight of the perceptual distance
        lambda_mse: weight of the mean squared difference of pixels, which run from -1 to 1
        patience: end an image's search when its best loss has not improved in so many steps; null for never
        improvement: what counts as improved: a loss smaller by this fraction
    """

    trial: ClassVar[str] = "ganzoo_projection.trials:check_projector"
    needs_weights: ClassVar[bool] = False  # whether it is of no use without a file of weights
    default_outputs: ClassVar[Outputs] = IMAGE2STYLEGAN  # what is compared through vgg16 where the options do not say
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # Adam's
    eps: ClassVar[float] = 1e-8  # Adam's
    digest: str = ""  # of weights of its own that decide what it finds

    def __init__(
        self,
        channels: int,
        /,
        *,
        perceptual: Make[Extractor] = VGG16,
        outputs: Outputs | None = None,
        lambdas: Lambdas | None = None,
        side: Side | None = None,
        enlarge: bool | None = None,
        steps: Annotated[int, Ge(0)] = 1000,
        space: Space = "w+",
        lambda_percept: Weight = 1.0,
        lambda_mse: Weight = 0.0,
        patience: Count | None = None,
        improvement: Annotated[float, Interval(ge=0, lt=1)] = 0.001,
    ) -> None:
        super().__init__()
        self.perceptual = perceptual_distance(
            perceptual, channels, self.default_outputs, outputs=outputs, lambdas=lambdas, side=side, enlarge=enlarge
        )
        self.steps, self.space = steps, space
        self.lambda_percept, self.lambda_mse = lambda_percept, lambda_mse
        self.patience, self.improvement = patience, improvement

    @classmethod
    def upgraded(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Read recipes of the time when `perceptual` held layers, weights and size itself."""
        return upgraded_comparison(options)

    @abstractmethod
    def begin(self, view: FrozenGenerator, target: Image) -> Variables:
        """Return what is optimised, for targets [N, C, H, W]: "latent", and noise maps where they are searched for too.

        Latents are z [N, Z] where there is no mapping, else w [N, 1, W] or w+ [N, L, W].
        """

    @abstractmethod
    def lr(self, step: int) -> float:
        """Adam's learning rate at a step, from 0 on."""

    def perturbed(self, view: FrozenGenerator, latent: Tensor, step: int) -> Tensor:
        """The latent whose image is compared at a step."""
        return latent

    def penalty(self, variables: Variables) -> PerSample | None:
        """Return what is minimised beside the images' distance, [N]; None for nothing."""
        return None

    def after_step(self, variables: Variables) -> None:
        """Called after each step, without gradients: may change the variables in place."""


class LatentSearch(Projector):
    """A search that starts from the same latent for every image.

    Args:
        init: the start: "mean" of many style codes, "uniform" numbers from -1 to 1, or a "random" latent's code
    """

    def __init__(self, channels: int, /, *, init: Start = "mean", **options: Any) -> None:
        super().__init__(channels, **options)
        self.init = init

    def begin(self, view: FrozenGenerator, target: Image) -> Variables:
        """The latents at the start."""
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
