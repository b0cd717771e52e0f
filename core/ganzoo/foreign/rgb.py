"""RGB for networks that were trained on it."""

from ganzoo.errors import RecipeError
from ganzoo.types import Image


def require_rgb(name: str, channels: int) -> None:
    """Raise RecipeError for images that are neither RGB nor gray, which an extractor of this name cannot take."""
    if channels not in (1, 3):
        raise RecipeError(
            f"the extractor '{name}' was trained on RGB images: these have {channels} channels, and only gray ones can "
            "be repeated to three. Choose 'conv-random', which takes any number."
        )


def as_rgb(images: Image) -> Image:
    """Return images [N, 3, H, W]; gray ones, [N, 1, H, W], are repeated."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
