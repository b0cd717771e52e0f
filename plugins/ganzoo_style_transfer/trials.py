"""How the parts of style transfer are tried."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from ganzoo.errors import UsageError
from ganzoo.types import Image, Size
from ganzoo_style_transfer.interfaces import StyleTask, StyleTransferRun

N, C = 3, 5


def _image(size: Size, seed: int) -> Image:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def check_feature_maps(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """Every layer it names is there, reaches the image, and fits its plan."""
    net, image = make(), _image(size, 0).requires_grad_()
    maps = net(image, cls.layers)
    if list(maps) != list(cls.layers):
        yield f"gives the layers {list(maps)}, not {list(cls.layers)}, which were asked for"
    if unknown := {cls.content, *cls.style} - set(cls.layers):
        yield f"has its content or style in layers that it does not give: {', '.join(sorted(unknown))}"
    factor, width = 2 ** cls.plan.count(0), [w for w in cls.plan if w][-1]
    expected = (1, width, size[0] // factor, size[1] // factor)
    if tuple(maps[cls.layers[-1]].shape) != expected:
        yield f"its last layer is {tuple(maps[cls.layers[-1]].shape)}, and its plan says {expected}"
    for name, x in net(image, cls.layers).items():
        (gradient,) = torch.autograd.grad(x.square().sum(), image, allow_unused=True, retain_graph=True)
        if gradient is None or not torch.isfinite(gradient).all():
            yield f"no finite gradient reaches the image from {name}"
    if not isinstance(getattr(net, "fingerprint", None), str):
        yield "has no fingerprint"


def check_style_statistic(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """A distance: one number a sample, at least 0, 0 for the style, whatever the order of positions."""
    statistic, draw = make(), torch.Generator().manual_seed(0)
    x = torch.randn(N, C, *size, generator=draw, dtype=torch.float64).requires_grad_()
    style = torch.randn(1, C, size[1], size[0] + 1, generator=draw, dtype=torch.float64) + 1
    told = statistic.describe(style)
    value = statistic.distance(x, told)
    if tuple(value.shape) != (N,) or not torch.isfinite(value).all() or not (value > 0).all():
        yield f"distance() gives {value.tolist()}, not a positive number for each of {N} samples"
    if float(statistic.distance(style, told).abs().max()) > 1e-9:
        yield "a style is not at distance 0 from itself"
    shuffled = x.flatten(2)[:, :, torch.randperm(size[0] * size[1], generator=draw)].reshape(x.shape)
    if not torch.allclose(statistic.distance(shuffled, told), value, rtol=1e-9, atol=0):
        yield "its distance changes with the order of positions"
    (gradient,) = torch.autograd.grad(value.sum(), x)
    if not torch.isfinite(gradient).all() or not gradient.abs().sum() > 0:
        yield "no finite gradient reaches the maps"


def check_transfer(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """A picture of the content's size, the same when it was set down in between."""
    content = (size[0] * 4 + 1, size[1] * 4)
    styles = ((_image((size[1] * 4, size[0] * 3), 1), 0.5), (_image(content, 2), 0.5))
    commission = StyleTask(_image(content, 0), styles, seed=1)
    transfer = make()
    if transfer.memory(content) <= 0:
        yield "memory() says that it takes none"

    def begin() -> StyleTransferRun:
        painting: StyleTransferRun = transfer.begin(commission, torch.device("cpu"))
        return painting

    try:
        painting, other = begin(), begin()
    except UsageError:
        return  # it needs a file that it was not given
    painting.advance()
    other.restore(painting.state())
    other.done = painting.done
    if painting.total > painting.done:
        painting.advance()
        other.advance()
        if not torch.equal(painting.picture, other.picture):
            yield "gives another picture after it was set down"
    if painting.picture.shape != commission.content.shape:
        yield f"gives {tuple(painting.picture.shape)}, not the content's {tuple(commission.content.shape)}"
    if not (painting.picture.abs() <= 1).all():
        yield "gives values outside of [-1, 1]"
