"""Checks of what networks and metrics are called with from Python: a sentence with the shape that belongs there."""

from typing import Any

from torch import Tensor

from ganzoo.errors import UsageError


def in_words(value: Any) -> str:
    """'a tensor of shape [4, 3, 16, 16]', 'a tuple of 3', or 'None'."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value) if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def require_pyramid(images: Any, taker: str) -> None:
    """Raise UsageError for images that are no pyramid, such as a tensor.

    Args:
        images: what was given
        taker: what takes it, to begin the message with
    """
    if isinstance(images, Tensor) and images.ndim == 4:
        fault, cure = in_words(images), "put it into a tuple: (images,)"
    elif not isinstance(images, tuple | list) or not images:
        fault, cure = in_words(images), "give a tuple, as a generator returns it"
    elif wrong := [level for level in images if not isinstance(level, Tensor) or level.ndim != 4]:
        fault, cure = f"a tuple that holds {in_words(wrong[0])}", "give each level as a tensor of four dimensions"
    else:
        return
    raise UsageError(f"takes a tuple of images [N, C, H, W], coarse to fine, and got {fault}", place=taker, cure=cure)


def require_latents(z: Any, z_dim: int, taker: str, *, exact: bool = True) -> None:
    """Raise UsageError for what is no tensor of latents [N, z_dim].

    Args:
        z: what was given
        z_dim: length of a latent
        taker: what takes it, to begin the message with
        exact: without, latents of any length are taken
    """
    if not isinstance(z, Tensor) or z.ndim != 2 or (exact and z.shape[1] != z_dim):
        raise UsageError(f"takes latents [N, {z_dim}], and got {in_words(z)}", place=taker)


def require_batch(batch: Any, taker: str) -> None:
    """Raise UsageError for what is no tensor, such as a pyramid of images; `taker` begins the message."""
    if not isinstance(batch, Tensor):
        cure = "of a pyramid, give the last level, as to_uint8(images[-1])"
        raise UsageError(
            f"takes a tensor, uint8 images [N, C, H, W] or features [N, D], and got {in_words(batch)}",
            place=taker,
            cure=cure,
        )
