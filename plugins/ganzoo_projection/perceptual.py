"""How far two images look apart: by pixels, by random features, by VGG-16, by LPIPS."""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from annotated_types import Gt
from pydantic import Field
from torch import Tensor

from ganzoo.errors import RecipeError
from ganzoo.foreign import lpips as lpips_
from ganzoo.foreign import vgg
from ganzoo.nn.random_convs import RandomConvs
from ganzoo.types import Image, Maps
from ganzoo_projection.interfaces import Parts, Perceptual

Side = Annotated[int, Gt(0)]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8,64})?$")]
LAYERS = ("1_1", "1_2", "3_2", "4_2")  # of VGG-16 (arXiv:1904.03189, section 5.1)
SEES = (1, 3, 4)  # numbers of channels of which an RGB network sees something


def mean_squared(x: Tensor, weight: float = 1.0) -> Tensor:
    """x [N, ...] scaled so that squared differences, summed, are weight times the mean squared difference."""
    return x * math.sqrt(weight / x[0].numel())


def colours(images: Image) -> tuple[Image, Parts]:
    """RGB for a network, and what else is compared: gray is repeated, alpha is compared pixel by pixel."""
    channels = images.shape[1]
    if channels == 1:
        return images.expand(-1, 3, -1, -1), ()
    return images[:, :3], (mean_squared(images[:, 3:]),) if channels == 4 else ()


def refuse_channels(name: str, channels: int) -> None:
    """Raise RecipeError where an RGB network cannot look at images of so many channels."""
    if channels not in SEES:
        raise RecipeError(
            f"the perceptual '{name}' looks at gray, RGB and RGBA images: these have {channels} channels. "
            f"Choose pixel or conv-random."
        )


def resized(x: Image, side: int) -> Image:
    """Images whose longer side is `side`, in their proportions: bilinear, with a low-pass filter."""
    h, w = x.shape[2:]
    size = max(1, round(h * side / max(h, w))), max(1, round(w * side / max(h, w)))
    return x if size == (h, w) else F.interpolate(x, size, mode="bilinear", antialias=True)


def shrunk(x: Image, side: int) -> Image:
    """Images whose longer side is at most `side`: each pixel is the mean of an area (arXiv:1912.04958, appendix D)."""
    h, w = x.shape[2:]
    if max(h, w) <= side:
        return x
    return F.interpolate(x, (max(1, h * side // max(h, w)), max(1, w * side // max(h, w))), mode="area")


def enlarged(x: Maps, least: int) -> Maps:
    """Images of which no side is smaller than a network needs: bilinear where one was."""
    h, w = x.shape[2:]
    scale = least / min(h, w)
    return x if scale <= 1 else F.interpolate(x, (math.ceil(h * scale), math.ceil(w * scale)), mode="bilinear")


class Pixel(Perceptual, name="pixel"):
    """Mean squared difference of pixels, which run from -1 to 1: any number of channels, no file of weights."""

    def __init__(self, channels: int, /) -> None:
        super().__init__()

    def forward(self, images: Image) -> Parts:
        """The pixels, over the root of their number."""
        return (mean_squared(images),)


class RandomFeatures(Perceptual, name="conv-random"):
    """Mean squared difference of the maps of three convolutions with fixed random weights, summed over the layers.

    Any number of channels, no file of weights; images under 4x4 are enlarged to it. It has no relation to published
    numbers.
    """

    def __init__(self, channels: int, /) -> None:
        super().__init__()
        self.net = RandomConvs(channels)

    def forward(self, images: Image) -> Parts:
        """The three layers' maps, each over the root of its number of elements."""
        return tuple(mean_squared(maps) for maps in self.net.maps(enlarged(images, 4)))


class VGGFeatures(Perceptual, name="vgg16", paper="arXiv:1904.03189"):
    """Image2StyleGAN's: mean squared differences of conv1_1, conv1_2, conv3_2 and conv4_2 of VGG-16, weighted, summed.

    Gray images are repeated to RGB. Of RGBA the network sees the colours; alpha is compared pixel by pixel beside it.
    Public ports of the paper take ReLU's output and no mean and deviation (`layer_point: post, imagenet_norm: false`):
    losses of different settings are not comparable.

    Raises CheckpointError where the weights are missing or wrong, RecipeError for 2 or more than 4 channels.

    Args:
        layer_point: compare maps before ("pre") or after ("post") their ReLU; the paper names the convolutions
        imagenet_norm: bring images to ImageNet's mean and deviation; else to values from 0 to 1
        lambdas: weight of each of the four layers
        side: images are resized to this longer side
        weights: file of VGG-16's weights; null for torchvision's in the cache directory, or a safetensors copy of it
        sha256: what that file's hash must begin with; empty for the published hash where it has its published name
    """

    needs_weights: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        /,
        *,
        layer_point: Literal["pre", "post"] = "post",
        imagenet_norm: bool = True,
        lambdas: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        side: Side = 256,
        weights: Path | None = None,
        sha256: Sha256 = "",
    ) -> None:
        super().__init__()
        refuse_channels(self.name, channels)
        self.taps = [("conv" if layer_point == "pre" else "relu") + layer for layer in LAYERS]
        self.imagenet_norm, self.lambdas, self.side = imagenet_norm, lambdas, side
        self.net = vgg.load(16, weights, sha256, noun="perceptual", name=self.name, last="relu4_2")

    def forward(self, images: Image) -> Parts:
        """The four layers' maps, each times the root of its weight over its number of elements."""
        seen, beside = colours(images)
        x = enlarged(resized(seen, self.side), self.net.least(self.taps))
        maps = self.net(vgg.imagenet(x) if self.imagenet_norm else (x + 1) / 2, self.taps)
        return *(mean_squared(maps[tap], weight) for tap, weight in zip(self.taps, self.lambdas)), *beside


class LPIPSDistance(Perceptual, name="lpips-vgg", paper="arXiv:1801.03924"):
    """LPIPS v0.1 through VGG-16, as StyleGAN2's projector uses it (arXiv:1912.04958, appendix D).

    Larger images are averaged to 256, those under 16x16 enlarged. Gray images are repeated to RGB. Of RGBA the network
    sees the colours; alpha is compared pixel by pixel beside it.

    Raises CheckpointError where weights are missing or wrong, RecipeError for 2 or more than 4 channels.

    Args:
        side: longer side to which larger images are averaged
        weights: file of VGG-16's weights; null for torchvision's in the cache directory, or a safetensors copy of it
        lpips: file of LPIPS's linear weights; null for those in the first file, if it has them, else for
            lpips-v0.1-vgg.pth in the cache directory
        sha256: what the first file's hash must begin with; empty for the published hash where it has its published name
    """

    needs_weights: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        /,
        *,
        side: Side = 256,
        weights: Path | None = None,
        lpips: Path | None = None,
        sha256: Sha256 = "",
    ) -> None:
        super().__init__()
        refuse_channels(self.name, channels)
        self.side = side
        self.net = lpips_.LPIPS(weights, lpips, sha256, noun="perceptual", name=self.name)

    def forward(self, images: Image) -> Parts:
        """LPIPS's vectors."""
        seen, beside = colours(images)
        least = self.net.net.least(lpips_.LPIPS_TAPS)
        return self.net(enlarged(shrunk(seen, self.side), least)), *beside
