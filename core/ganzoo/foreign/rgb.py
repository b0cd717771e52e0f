"""TODO docstring."""

from torch import Tensor

from ganzoo.errors import RecipeError


def three_channels(noun: str, name: str, channels: int, cure: str) -> None:
    """Raise RecipeError for images that are neither RGB nor gray; `cure` is the sentence that ends it."""
    if channels not in (1, 3):
        raise RecipeError(
            f"the {noun} '{name}' was trained on RGB images: these have {channels} channels, and only gray ones can be "
            f"repeated to three. {cure}"
        )


def rgb(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] as floating-point numbers; gray ones [N, 1, H, W] are repeated."""
    x = images if images.is_floating_point() else images.float()
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
