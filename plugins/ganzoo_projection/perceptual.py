"""Perceptual distances of images: features of an extractor, subtracted, squared, weighted and summed."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from ganzoo.errors import RecipeError
from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces import Extractor
from ganzoo.registry.component import Make, default_of
from ganzoo.types import Image, PerSample

Side = Annotated[int, Gt(0)]
Outputs = tuple[str, ...]
Lambdas = tuple[Annotated[float, Ge(0)], ...]
Parts = tuple[Tensor, ...]  # [N, ...] each: their squared differences, summed, are the distance
WITH_ALPHA = (1, 3, 4)  # numbers of channels in which an RGB network finds RGB: 1 is repeated, a 4th is compared apart


# what methods compare through VGG-16 where their options do not say
IMAGE2STYLEGAN: Outputs = ("relu1_1", "relu1_2", "relu3_2", "relu4_2")  # arXiv:1904.03189, section 5.1
LPIPS: Outputs = ("lpips",)  # arXiv:1912.04958, appendix D
SIDE = 256  # pixels, in both papers


# --- sizes -----------------------------------------------------------------------------------------------------------


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


def enlarged(x: Image, least: int) -> Image:
    """Images of which no side is smaller than an extractor needs: bilinear where one was."""
    h, w = x.shape[2:]
    scale = least / min(h, w)
    return x if scale <= 1 else F.interpolate(x, (math.ceil(h * scale), math.ceil(w * scale)), mode="bilinear")


# --- the distance ----------------------------------------------------------------------------------------------------


def mean_squared(x: Tensor, weight: float = 1.0) -> Tensor:
    """Scale x [N, ...] so that squared differences, summed, are `weight` times the mean squared difference."""
    return x * math.sqrt(weight / x[0].numel())


def squared_distance(parts: Parts, target: Parts) -> PerSample:
    """Sum the squared differences of tensors [N, ...] and of those of the targets: [N]."""
    first = parts[0]
    return sum(
        ((a - b).square().flatten(1).sum(dim=1) for a, b in zip(parts, target)),
        torch.zeros(len(first), dtype=first.dtype, device=first.device),
    )


class PerceptualDistance(nn.Module):
    """sum_l lambda_l |f_l(x) - f_l(y)|^2 over outputs l of an extractor f: means over maps, sums over vectors.

    An RGB network sees the colours of RGBA images; alpha is compared with the pixels' mean square beside it. The
    features of a target are computed once, by `forward`. Any size works.

    Args:
        extractor: the network
        outputs: which of its outputs are compared
        lambdas: the weight of each
        side: longer side to which images are brought before; None for their own
        enlarge: whether smaller ones are brought to it too (bilinear); else only larger ones (averaged)

    Raises:
        RecipeError: the extractor has no such output, or weights are missing or left over
        CheckpointError: an output's weights are missing or wrong
    """

    def __init__(
        self, extractor: Extractor, outputs: Sequence[str], lambdas: Sequence[float], side: int | None, enlarge: bool
    ) -> None:
        super().__init__()
        if not outputs or len(lambdas) != len(outputs):
            raise RecipeError(
                f"lambdas: {len(lambdas)} weights were given for the {len(outputs)} outputs that are compared",
                cure="give one for each output, and one output at least",
            )
        extractor.prepare(outputs)
        self.extractor, self.outputs, self.lambdas = extractor, tuple(outputs), tuple(lambdas)
        self.side, self.enlarge = side, enlarge

    @property
    def name(self) -> str:
        """The extractor's."""
        return self.extractor.name

    def forward(self, images: Image) -> Parts:
        """Return what is compared, of images [N, C, H, W] in about [-1, 1]; differentiable."""
        alpha = images[:, 3:] if self.extractor.rgb and images.shape[1] == 4 else None
        x = images if alpha is None else images[:, :3]
        if self.side is not None:
            x = resized(x, self.side) if self.enlarge else shrunk(x, self.side)
        features = self.extractor(enlarged(x, self.extractor.least(self.outputs)), self.outputs)
        parts = [
            mean_squared(t, weight) if t.ndim == 4 else t * math.sqrt(weight)
            for t, weight in zip(features.values(), self.lambdas)
        ]
        return *parts, *(() if alpha is None else (mean_squared(alpha),))

    def distance(self, images: Image, target: Parts) -> PerSample:
        """Return the distances of images from the targets of which `forward` gave these tensors, [N]."""
        return squared_distance(self(images), target)


def perceptual_distance(
    make: Make[Extractor],
    channels: int,
    default_outputs: Outputs,
    *,
    outputs: Outputs | None = None,
    lambdas: Lambdas | None = None,
    side: int | None = None,
    enlarge: bool | None = None,
) -> PerceptualDistance:
    """Build the distance that a recipe describes. Options that are null mean what the papers do.

    Args:
        make: the extractor
        channels: of the images
        default_outputs: what is compared through VGG-16 where `outputs` is null; through others it is all layers, or
            the first output of an extractor without layers
        outputs: names of the extractor's outputs
        lambdas: the weight of each; null for 1
        side: longer side to which images are brought; null for 256 through VGG-16, for their own through others
        enlarge: whether smaller images are too; null for layers of VGG-16, as Image2StyleGAN, but not for LPIPS

    Raises:
        RecipeError: the extractor cannot see images of so many channels, or has no such output
        CheckpointError: weights are missing or wrong
    """
    chosen = default_of(make)
    cls: Any = chosen[0] if chosen else Extractor
    if cls.rgb and channels not in WITH_ALPHA:
        raise RecipeError(
            f"the extractor '{cls.name}' sees gray, RGB and RGBA images: these have {channels} channels. "
            f"Choose pixel or conv-random."
        )
    extractor = make(3 if cls.rgb and channels == 4 else channels)
    through_vgg = isinstance(extractor, VGG16)
    if outputs is None:
        outputs = default_outputs if through_vgg else extractor.layers or extractor.outputs[:1]
    if through_vgg:
        side = side or SIDE
        enlarge = "lpips" not in outputs if enlarge is None else enlarge
    return PerceptualDistance(extractor, outputs, lambdas or (1.0,) * len(outputs), side, bool(enlarge))


# --- earlier recipes -------------------------------------------------------------------------------------------------


def upgraded_comparison(options: Mapping[str, Any]) -> dict[str, Any]:
    """Bring options of the time when `perceptual` was a component that held its layers, weights and size to today's.

    `perceptual: {use: vgg16, layer_point: pre, imagenet_norm: true, lambdas: [1, 1, 1, 1], side: 256}` compared
    Image2StyleGAN's layers; `perceptual: lpips-vgg` was LPIPS; conv-random and pixel compared all their maps, as today.
    """
    given, perceptual = dict(options), options.get("perceptual")
    if not isinstance(perceptual, str | dict) or "outputs" in given:
        return given
    inner = {"use": perceptual} if isinstance(perceptual, str) else dict(perceptual)
    moved = {name: inner.pop(name) for name in ("lambdas", "side") if name in inner}
    name = str(inner.get("use", "")).rpartition(":")[2]
    before_relu = inner.get("layer_point") == "pre"
    if inner.get("layer_point") in ("pre", "post"):
        del inner["layer_point"]
    if isinstance(inner.get("imagenet_norm"), bool) and not inner.pop("imagenet_norm"):
        inner["preprocessing"] = "unit"
    if name == "lpips-vgg":
        inner["use"] = VGG16.name
        moved["outputs"] = list(LPIPS)
    elif name == VGG16.name or before_relu:
        moved["outputs"] = [name.replace("relu", "conv") if before_relu else name for name in IMAGE2STYLEGAN]
    return {**moved, **given, "perceptual": inner}
