"""Image2StyleGAN: how to embed images into the StyleGAN latent space (arXiv:1904.03189)."""

from typing import Annotated, Any

from annotated_types import Ge, Gt

from ganzoo_projection.interfaces import LatentSearch, Space, Weight


class Image2StyleGAN(LatentSearch, name="image2stylegan", paper="arXiv:1904.03189"):
    """Searches W+, a style code for each layer, by perceptual distance and pixels; the noise stays as it is stored.

    Through VGG-16 it compares relu1_1, relu1_2, relu3_2 and relu4_2 at 256. The paper does not say whether it means
    maps before or after ReLU (`outputs: [conv1_1, conv1_2, conv3_2, conv4_2]`), nor how images are normalised; public
    ports take the second and no mean and deviation (`preprocessing: unit`). Losses of different settings are not
    comparable. The paper starts from the mean for faces, from uniform numbers for other images.

    Args:
        lr: Adam's learning rate
    """

    def __init__(
        self,
        channels: int,
        /,
        *,
        steps: Annotated[int, Ge(0)] = 5000,
        space: Space = "w+",
        lr: Annotated[float, Gt(0)] = 0.01,
        lambda_mse: Weight = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(channels, steps=steps, space=space, lambda_mse=lambda_mse, **options)
        self.rate = lr

    def lr(self, step: int) -> float:
        """The same at every step."""
        return self.rate
