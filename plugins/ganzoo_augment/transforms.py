"""The transformations of adaptive augmentation and how they are drawn (arXiv:2006.06676, appendix B and table 3).

A draw is a matrix, a filter or a box for each image, which `warp.py` applies. All are relative to the image's size, so
that one draw serves all scales of a pyramid.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganzoo.interfaces import SampleRng
from ganzoo.types import Image, PerSample, Pyramid, Size
from ganzoo_augment.warp import amplify, erase, warp
from ganzoo_augment.wavelets import BANDS

Geometric = Literal["xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"]
Chromatic = Literal["brightness", "contrast", "lumaflip", "hue", "saturation"]
Transform = Literal[Geometric, Chromatic, "imgfilter", "noise", "cutout"]
Pipeline = Literal["blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"]

_BLIT: tuple[Transform, ...] = ("xflip", "rotate90", "xint")
_GEOM: tuple[Transform, ...] = ("scale", "rotate", "aniso", "xfrac")
_COLOR: tuple[Transform, ...] = ("brightness", "contrast", "lumaflip", "hue", "saturation")
PIPELINES: Mapping[Pipeline, tuple[Transform, ...]] = {
    "blit": _BLIT,
    "geom": _GEOM,
    "color": _COLOR,
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": (*_BLIT, *_GEOM),
    "bgc": (*_BLIT, *_GEOM, *_COLOR),
    "bgcf": (*_BLIT, *_GEOM, *_COLOR, "imgfilter"),
    "bgcfn": (*_BLIT, *_GEOM, *_COLOR, "imgfilter", "noise"),
    "bgcfnc": (*_BLIT, *_GEOM, *_COLOR, "imgfilter", "noise", "cutout"),
}

# strengths: standard deviations (for factors, of their binary logarithm), or half the width of uniform distributions
XINT, SCALE, ANISO, XFRAC = 0.125, 0.2, 0.2, 0.125
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0
IMGFILTER, NOISE, CUTOUT = 1.0, 0.1, 0.5
SPECTRUM = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected power of a photograph's octaves, from low to high


class BatchRng:
    """Random numbers for N images, and which of the images a transformation applies to.

    Args:
        like: [N], of the dtype and on the device of what is drawn
        chances: probability of each transformation; those that are absent are left out
        source: generator of the numbers, one seed per sample
    """

    def __init__(self, like: PerSample, chances: Mapping[Transform, Tensor | float], source: SampleRng) -> None:
        self.like, self.chances, self.source = like, chances, source

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), [N, *shape]."""
        return self.source.uniform(self.like.new_empty(len(self.like), *shape))

    def signed(self, *shape: int) -> Tensor:
        """Numbers in [-1, 1), [N, *shape]."""
        return 2 * self.uniform(*shape) - 1

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [N, *shape]."""
        return self.source.normal(self.like.new_empty(len(self.like), *shape))

    def power(self, deviation: float) -> Tensor:
        """2^N(0, deviation²), [N]."""
        return torch.exp2(self.normal() * deviation)

    def applies(self, name: Transform) -> Tensor:
        """Whether each image is transformed, [N] of bool.

        Rotation comes twice, before and after the stretch, so that at least one of the two happens with its chance.
        """
        chance = torch.as_tensor(self.chances[name], dtype=self.like.dtype, device=self.like.device).clamp(0, 1)
        return self.uniform() < (1 - (1 - chance).sqrt() if name == "rotate" else chance)

    def eye(self, n: int) -> Tensor:
        """Identity matrices, [N, n, n]."""
        return torch.eye(n, dtype=self.like.dtype, device=self.like.device).repeat(len(self.like), 1, 1)


# --- geometry: factors of the inverse matrix, from output to input, in pixels from the centre ------------------------


def stretching(x: Tensor, y: Tensor) -> Tensor:
    """Matrices that multiply x and y by factors [N], [N, 3, 3]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def rotation(rng: BatchRng, cos: Tensor, sin: Tensor) -> Tensor:
    """Matrices that rotate by angles of these cosines and sines [N], [N, 3, 3]."""
    matrix = rng.eye(3)
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, -sin, sin, cos
    return matrix


def translation(rng: BatchRng, by: Tensor) -> Tensor:
    """Matrices that add (x, y) [N, 2], [N, 3, 3]."""
    matrix = rng.eye(3)
    matrix[:, :2, 2] = by
    return matrix


def _extent(rng: BatchRng, size: Size) -> Tensor:
    return torch.tensor([size[1], size[0]], dtype=rng.like.dtype, device=rng.like.device)


def _xflip(rng: BatchRng, size: Size) -> Tensor:
    side = 1 - 2 * (2 * rng.uniform()).floor()
    return stretching(side, torch.ones_like(side))


def _rotate90(rng: BatchRng, size: Size) -> Tensor:
    angle = math.pi / 2 * (4 * rng.uniform()).floor()
    return rotation(rng, angle.cos().round(), angle.sin().round())


def _xint(rng: BatchRng, size: Size) -> Tensor:
    return translation(rng, -(rng.signed(2) * XINT * _extent(rng, size)).round())


def _scale(rng: BatchRng, size: Size) -> Tensor:
    s = rng.power(SCALE)
    return stretching(1 / s, 1 / s)


def _rotate(rng: BatchRng, size: Size) -> Tensor:
    angle = rng.signed() * math.pi
    return rotation(rng, angle.cos(), angle.sin())


def _aniso(rng: BatchRng, size: Size) -> Tensor:
    s = rng.power(ANISO)
    return stretching(1 / s, s)


def _xfrac(rng: BatchRng, size: Size) -> Tensor:
    return translation(rng, -rng.normal(2) * XFRAC * _extent(rng, size))


_GEOMETRY: tuple[tuple[Geometric, Callable[[BatchRng, Size], Tensor]], ...] = (
    ("xflip", _xflip),
    ("rotate90", _rotate90),
    ("xint", _xint),
    ("scale", _scale),
    ("rotate", _rotate),
    ("aniso", _aniso),
    ("rotate", _rotate),
    ("xfrac", _xfrac),
)


def geometry(rng: BatchRng, size: Size) -> Tensor | None:
    """The map from each output image to its input, [N, 3, 3] in pixels from the centre; None for the identity."""
    inverse = None
    for name, draw in _GEOMETRY:
        if name in rng.chances:
            step = torch.where(rng.applies(name)[:, None, None], draw(rng, size), rng.eye(3))
            inverse = step if inverse is None else inverse @ step
    return inverse


# --- colour: homogeneous matrices [N, c + 1, c + 1] -------------------------------------------------------------------


def _axis(rng: BatchRng, c: int) -> Tensor:
    """vvᵀ of the luma axis v = (1, ..., 1) / √c, [c + 1, c + 1]."""
    v = torch.tensor([1.0] * c + [0.0], dtype=rng.like.dtype, device=rng.like.device) / math.sqrt(c)
    return torch.outer(v, v)


def _brightness(rng: BatchRng, c: int) -> Tensor:
    matrix = rng.eye(c + 1)
    matrix[:, :c, c] = (rng.normal() * BRIGHTNESS)[:, None]
    return matrix


def _contrast(rng: BatchRng, c: int) -> Tensor:
    s = rng.power(CONTRAST)[:, None]
    return torch.diag_embed(torch.cat([s.expand(-1, c), torch.ones_like(s)], dim=1))


def _lumaflip(rng: BatchRng, c: int) -> Tensor:
    return rng.eye(c + 1) - 2 * _axis(rng, c) * (2 * rng.uniform()).floor()[:, None, None]


def _hue(rng: BatchRng, c: int) -> Tensor:
    """Rodrigues' rotation about v: vvᵀ + cos θ (I - vvᵀ) + sin θ [v]×."""
    angle = (rng.signed() * math.pi)[:, None, None]
    matrix, along = rng.eye(4), _axis(rng, 3)[:3, :3]
    across = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=along.dtype, device=along.device) / math.sqrt(3)
    matrix[:, :3, :3] = along + angle.cos() * (matrix[:, :3, :3] - along) + angle.sin() * across
    return matrix


def _saturation(rng: BatchRng, c: int) -> Tensor:
    along = _axis(rng, c)
    return along + (rng.eye(c + 1) - along) * rng.power(SATURATION)[:, None, None]


_COLOURS: tuple[tuple[Chromatic, Callable[[BatchRng, int], Tensor]], ...] = (
    ("brightness", _brightness),
    ("contrast", _contrast),
    ("lumaflip", _lumaflip),
    ("hue", _hue),
    ("saturation", _saturation),
)


def colour(rng: BatchRng, c: int) -> Tensor | None:
    """The affine map of c colour channels, [N, c, c + 1]; None for the identity. Hue needs three channels."""
    matrix = None
    for name, draw in _COLOURS:
        if name in rng.chances and (name != "hue" or c == 3):
            step = torch.where(rng.applies(name)[:, None, None], draw(rng, c), rng.eye(c + 1))
            matrix = step if matrix is None else step @ matrix
    return None if matrix is None else matrix[:, :c]


# --- corruption -----------------------------------------------------------------------------------------------------


def gains(rng: BatchRng) -> Tensor:
    """Factors of the octaves, [N, 4], each step scaled to keep the power of a photograph's spectrum."""
    expected = torch.tensor(SPECTRUM, dtype=rng.like.dtype, device=rng.like.device)
    total = torch.ones(len(rng.like), BANDS, dtype=rng.like.dtype, device=rng.like.device)
    for band in range(BANDS):
        t = torch.ones_like(total)
        t[:, band] = torch.where(rng.applies("imgfilter"), rng.power(IMGFILTER), 1)
        total = total * t / (expected * t.square()).sum(dim=1, keepdim=True).sqrt()
    return total


@dataclass(frozen=True)
class Draw:
    """The transformations of each image of a batch, in their order; None leaves one out."""

    size: Size  # of the finest images
    inverse: Tensor | None  # [N, 3, 3], in the finest images' pixels
    colour: Tensor | None  # [N, c, c + 1]
    gains: Tensor | None  # [N, 4] of the finest images' octaves
    noise: Tensor | None  # [N, c, H, W]
    box: tuple[Tensor, Tensor] | None  # centre and sides, [N, 2], as fractions of the image's sides


def colours(x: Image) -> int:
    """Number of colour channels: three of RGBA, else all."""
    return 3 if x.shape[1] == 4 else x.shape[1]


def draw(finest: Image, chances: Mapping[Transform, Tensor | float], sample_rng: SampleRng) -> Draw:
    """Draw the transformations of images [N, C, H, W]."""
    size, c = (finest.shape[2], finest.shape[3]), colours(finest)
    rng = BatchRng(finest.new_empty(len(finest)), chances, sample_rng)
    noise = box = None
    inverse, matrix = geometry(rng, size), colour(rng, c)
    bands = gains(rng) if "imgfilter" in chances else None
    if "noise" in chances:
        sigma = torch.where(rng.applies("noise"), rng.normal().abs() * NOISE, 0)
        noise = sigma[:, None, None, None] * rng.normal(c, *size)
    if "cutout" in chances:
        box = rng.uniform(2), CUTOUT * rng.applies("cutout").to(finest.dtype)[:, None].expand(-1, 2)
    return Draw(size, inverse, matrix, bands, noise, box)


def applied(drawn: Draw, images: Pyramid) -> Pyramid:
    """Transform all scales of the images; alpha takes part in geometry and cutout only."""
    return tuple(_applied(drawn, x) for x in images)


def _applied(drawn: Draw, x: Image) -> Image:
    octaves, c = round(math.log2(drawn.size[0] / x.shape[2])), colours(x)
    if drawn.inverse is not None:
        ratio = torch.tensor([1, 1, x.shape[2] / drawn.size[0]], dtype=x.dtype, device=x.device)
        x = warp(x, drawn.inverse * ratio)  # translations are in pixels
    rgb, alpha = x[:, :c], x[:, c:]
    if drawn.colour is not None:
        rgb = (drawn.colour[:, :, :c] @ rgb.flatten(2) + drawn.colour[:, :, c:]).unflatten(2, x.shape[2:])
    if drawn.gains is not None:  # a coarser image's highest octave is a finer one's second
        kept = [max(band - octaves, 0) for band in range(BANDS)]
        rgb = amplify(rgb, drawn.gains[:, kept])
    if drawn.noise is not None:
        rgb = rgb + F.avg_pool2d(drawn.noise, 2**octaves)
    x = torch.cat([rgb, alpha], dim=1) if alpha.shape[1] else rgb
    return x if drawn.box is None else erase(x, *drawn.box)
