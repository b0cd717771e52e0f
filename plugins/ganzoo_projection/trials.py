"""How the parts of projection are tried."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Generator, Noise, Shape, Stage
from ganzoo.types import Image, Label, Latent, Maps, Pyramid, Size, Style, Styles
from ganzoo_projection.interfaces import FrozenGenerator
from ganzoo_projection.search import Projection

N, C, W, LAYERS = 3, 3, 6, 4


def _images(size: Size, channels: int, seed: int) -> Image:
    return torch.rand(N, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class _Noise(Noise):
    """Adds noise."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("const", torch.randn(1, 1, *size))

    def forward(self, x: Maps) -> Maps:
        noise = self.draw(self, x)
        return x if noise is None else x + 0.1 * noise


class _Small(Generator):
    """A generator of one layer, with a noise input: all that a projector may ask for."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.shape, self.labels, self.z_dim, self.num_ws = Shape((size,), C), 0, W, LAYERS
        self.dense, self.paint, self.noisy = nn.Linear(W, W), nn.Linear(W, C * size[0] * size[1]), _Noise(size)
        self.register_buffer("w_mean", torch.zeros(W))

    def map(self, z: Latent, label: Label = None) -> Style:
        return torch.tanh(self.dense(z))

    def styles(self, z: Latent, label: Label = None, stage: Stage | None = None) -> Styles:
        return self.map(z, label)[:, None].expand(-1, LAYERS, -1)

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        scale = torch.arange(1.0, LAYERS + 1)[:, None] / LAYERS
        return (self.noisy(self.paint((ws * scale).mean(dim=1)).unflatten(1, (C, *self.shape.size))),)


def check_projector(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """It moves, in W and without a mapping; a batch changes nothing; it goes on where it was."""
    torch.manual_seed(0)
    G = _Small(size).eval().requires_grad_(False)
    mean = G.map(torch.randn(100, W)).mean(dim=0)
    for mapped in (True, False):
        view = FrozenGenerator(G, Stage(0), None, mean, 1.0, mapped, ("noisy",), "00" * 32)

        def search(target: Tensor, view: FrozenGenerator = view) -> Projection:
            projector = make(C)
            projector.steps = 20
            return Projection(view, projector, target)

        target = _images(size, C, 0)
        together, alone, resumed = search(target), search(target[1:2]), search(target)
        begun = together.variables["latent"].detach().clone()
        for step in range(10):
            loss = together.advance()
            alone.advance()
            if step == 4:
                resumed.restore(together.state())
            if step > 4:
                resumed.advance()
        if tuple(loss.shape) != (N,) or not torch.isfinite(loss).all():
            yield f"its loss is {loss.tolist()}, not one finite number for each of {N} images"
        if torch.equal(together.variables["latent"], begun):
            yield "its latents do not move in ten steps"
        if not torch.allclose(together.codes()[1:2], alone.codes(), atol=1e-4):
            yield "what it finds for an image depends on the others of its batch"
        if not torch.equal(together.codes(), resumed.codes()):
            yield "finds other latents after it was set down"
