"""How an extractor is tried: every output by itself, for images of several numbers of channels."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganzoo.errors import DataError, RecipeError
from ganzoo.interfaces import Extractor

N = 3  # images


def check_extractor(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """Shapes, gradients to the image, float64, independence of the batch, and that only what is named is computed."""
    if unknown := set(cls.layers) - set(cls.outputs):
        yield f"has layers that are no outputs: {', '.join(sorted(unknown))}"
    for channels in (1, 3) if cls.rgb else (1, 3, 4):
        extractor: Extractor = make(channels)
        extractor.prepare(cls.outputs)
        if any(p.requires_grad for p in extractor.parameters()):
            yield "has parameters that would learn: an extractor is fixed"
        images = _images(extractor, channels, size)
        together = extractor(images, cls.outputs)
        if list(together) != list(cls.outputs):
            yield f"gives {', '.join(together)} where {', '.join(cls.outputs)} were named"
        if any(not torch.equal(t, together[name]) for name, t in extractor.train()(images, cls.outputs).items()):
            yield "gives other features in training mode: extractors stay in evaluation mode"
        for name in cls.outputs:
            yield from (f"output '{name}' {fault}" for fault in _output(extractor, images, name, together[name]))
        yield from (f"output '{name}' {fault}" for name, fault in _double(make(channels), images, together))
    yield from _refusals(make(3), cls)
    yield from _identity(make, cls)


def _images(extractor: Extractor, channels: int, size: tuple[int, int]) -> Tensor:
    least = extractor.least(type(extractor).outputs)
    height, width = (max(side, least) for side in size)
    draw = torch.Generator().manual_seed(0)
    return torch.rand(N, channels, height, width, generator=draw) * 2 - 1


def _output(extractor: Extractor, images: Tensor, name: str, expected: Tensor) -> Iterator[str]:
    """The faults of one output, of images [N, C, H, W]."""
    x = images.clone().requires_grad_()
    y = extractor(x, [name])[name]
    shown = ", ".join(map(str, y.shape))
    dimensions = 4 if name in type(extractor).layers else 2
    if y.ndim != dimensions or len(y) != N:
        yield f"is [{shown}], not {'maps' if dimensions == 4 else 'vectors'} of {N} images"
    if y.dtype != images.dtype or not torch.isfinite(y).all():
        yield f"is not finite {images.dtype}"
    if not torch.equal(y, expected):
        yield "is another where other outputs are named too"
    alone = torch.cat([extractor(image[None], [name])[name] for image in images])
    if not torch.allclose(alone, y, rtol=1e-4, atol=1e-5 * max(1.0, float(y.detach().abs().max()))):
        yield "depends on the other images of the batch"
    if y.requires_grad:
        (gradient,) = torch.autograd.grad(y.square().sum(), x, allow_unused=True)
        if gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0:
            return
    yield "gives no finite gradient to the images"


def _double(extractor: Extractor, images: Tensor, single: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Compare with the same in float64."""
    with torch.no_grad():
        exact = extractor.double()(images.double(), list(single))
    for name, y in exact.items():
        if y.dtype != torch.float64:
            yield name, f"is {y.dtype} for images in float64"
        elif not torch.allclose(single[name].double(), y, rtol=1e-3, atol=1e-4 * float(y.abs().max())):
            yield name, "differs in float32 from itself in float64"


def _refusals(extractor: Extractor, cls: Any) -> Iterator[str]:
    try:
        extractor.prepare(["no such output"])
        yield "prepares an output that it does not have: RecipeError is expected"
    except RecipeError:
        pass
    for name in cls.outputs:
        least = extractor.least([name])
        if tuple(extractor(torch.zeros(1, 3, least, least), [name])) != (name,):
            yield f"does not give '{name}' of the smallest images that it says it takes, {least}x{least}"
        if least < 2:
            continue
        try:
            extractor(torch.zeros(1, 3, least - 1, least), [name])
            yield f"gives '{name}' of smaller images than it says it takes, {least}x{least}: DataError is expected"
        except DataError:
            pass


def _identity(make: "partial[Any]", cls: Any) -> Iterator[str]:
    """Fingerprints and weights of two that were built alike."""
    one, other = make(3), make(3)
    for each in (one, other):
        each.prepare(cls.outputs)
    prints = [[each.fingerprint(name) for name in cls.outputs] for each in (one, other)]
    if prints[0] != prints[1] or not all(isinstance(text, str) and text for text in prints[0]):
        yield f"has the fingerprints {prints}, not the same text for the same network"
    weights = other.state_dict()
    if any(not torch.equal(t, weights[name]) for name, t in one.state_dict().items()):
        yield "has other weights each time that it is built"
