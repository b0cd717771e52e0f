"""Image2StyleGAN: how to embed images into the StyleGAN latent space (arXiv:1904.03189)."""

from typing import Annotated

from annotated_types import Ge, Gt, Interval

from ganzoo.registry.component import Make
from ganzoo_projection.interfaces import Count, Perceptual, Projector, Space, Start, Weight
from ganzoo_projection.perceptual import VGGFeatures


class Image2StyleGAN(Projector, name="image2stylegan", paper="arXiv:1904.03189"):
    """Searches W+, a style code for each layer, by perceptual distance and pixels; the noise stays as it is stored.

    The paper starts from the mean for faces, from uniform numbers for other images.

    Args:
        init: the start: "mean" of many style codes, "uniform" numbers from -1 to 1, or a "random" latent's code
        lr: Adam's learning rate
    """

    def __init__(
        self,
        channels: int,
        /,
        *,
        perceptual: Make[Perceptual] = VGGFeatures,
        steps: Annotated[int, Ge(0)] = 5000,
        space: Space = "w+",
        init: Start = "mean",
        lr: Annotated[float, Gt(0)] = 0.01,
        lambda_percept: Weight = 1.0,
        lambda_mse: Weight = 1.0,
        patience: Count | None = None,
        improvement: Annotated[float, Interval(ge=0, lt=1)] = 0.001,
    ) -> None:
        super().__init__(
            channels,
            perceptual=perceptual,
            steps=steps,
            space=space,
            init=init,
            lambda_percept=lambda_percept,
            lambda_mse=lambda_mse,
            patience=patience,
            improvement=improvement,
        )
        self.rate = lr

    def lr(self, step: int) -> float:
        """The same at every step."""
        return self.rate
