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


def check_style_statistic(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """A distance: one number a sample, at least 0, 0 for the style, whatever the order of positions."""
    statistic, draw = make(), torch.Generator().manual_seed(0)
    x = torch.randn(N, C, *size, generator=draw, dtype=torch.float64).requires_grad_()
    style = torch.randn(1, C, size[1], size[0] + 1, generator=draw, dtype=torch.float64) + 1
    target = statistic.describe(style)
    value = statistic.distance(x, target)
    if tuple(value.shape) != (N,) or not torch.isfinite(value).all() or not (value > 0).all():
        yield f"distance() gives {value.tolist()}, not a positive number for each of {N} samples"
    if float(statistic.distance(style, target).abs().max()) > 1e-9:
        yield "a style is not at distance 0 from itself"
    shuffled = x.flatten(2)[:, :, torch.randperm(size[0] * size[1], generator=draw)].reshape(x.shape)
    if not torch.allclose(statistic.distance(shuffled, target), value, rtol=1e-9, atol=0):
        yield "its distance changes with the order of positions"
    (gradient,) = torch.autograd.grad(value.sum(), x)
    if not torch.isfinite(gradient).all() or not gradient.abs().sum() > 0:
        yield "no finite gradient reaches the maps"


def check_transfer(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """A picture of the content's size, the same when it was saved in between."""
    content = (size[0] * 4 + 1, size[1] * 4)
    styles = ((_image((size[1] * 4, size[0] * 3), 1), 0.5), (_image(content, 2), 0.5))
    task = StyleTask(_image(content, 0), styles, seed=1)
    transfer = make()
    if transfer.memory(content) <= 0:
        yield "memory() says that it takes none"

    def begin() -> StyleTransferRun:
        run: StyleTransferRun = transfer.begin(task, torch.device("cpu"))
        return run

    try:
        run, other = begin(), begin()
    except UsageError:
        return  # it needs a file that it was not given
    run.advance()
    other.restore(run.state())
    other.done = run.done
    if run.total > run.done:
        run.advance()
        other.advance()
        if not torch.equal(run.picture, other.picture):
            yield "gives another picture after it was saved and restored"
    if run.picture.shape != task.content.shape:
        yield f"gives {tuple(run.picture.shape)}, not the content's {tuple(task.content.shape)}"
    if not (run.picture.abs() <= 1).all():
        yield "gives values outside of [-1, 1]"
