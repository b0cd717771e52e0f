"""How a component of each kind is tried: built, fed, differentiated, saved. `ganzoo.testing` calls these."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PIL
from torch import Tensor, nn

from ganzoo.interfaces import (
    Augment,
    Dataset,
    Experiment,
    GanBatch,
    GeneratorMetric,
    Growth,
    Logger,
    Loss,
    Metric,
    Regularizer,
    Shape,
    Stage,
    Which,
)
from ganzoo.registry.component import Component
from ganzoo.testing.modules import N, W, check_gradients, check_module
from ganzoo.testing.running import check_experiment, check_logger


def _check_loss(make: "partial[Any]", cls: type[Component], size: tuple[int, int]) -> Iterator[str]:
    loss = make()
    logits = [torch.randn(N, 1, requires_grad=True) for _ in range(2)]
    for name, value in (("d", loss.d(*logits)), ("g", loss.g(*logits))):
        if tuple(value.shape) != (N,) or not torch.isfinite(value).all():
            yield f"{name}() gives {tuple(value.shape)}, not finite values of shape ({N},)"


class _Linear(nn.Module):
    """A tiny generator and discriminator for regularizers: everything they may call, nothing more."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.num_ws = size, 3
        self.map = nn.Linear(W, W)
        self.paint = nn.Linear(W, 3 * size[0] * size[1])
        self.judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * size[0] * size[1], 5), nn.Softplus(), nn.Linear(5, 1))

    def styles(self, z: Tensor, label: Any = None, stage: Any = None) -> Tensor:
        return self.map(z)[:, None].expand(-1, self.num_ws, -1)

    def synthesize(self, ws: Tensor, stage: Any = None) -> tuple[Tensor, ...]:
        return (self.paint(ws.mean(dim=1).tanh()).unflatten(1, (3, *self.size)),)

    def forward(self, z: Tensor, label: Any = None, stage: Any = None) -> tuple[Tensor, ...]:
        return self.synthesize(self.styles(z))


def _check_regularizer(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    reg, nets, classes = make(), _Linear(size), torch.eye(3)[torch.arange(N) % 3] if cls.needs_classes else None
    batch = GanBatch(
        nets,  # type: ignore[arg-type]
        lambda images, label, stage: nets.judge(images[-1]),
        Stage(1),
        torch.randn(N, W),
        classes,
        (torch.randn(N, 3, *size),),
        classes,
        classify=lambda images, stage: nets.judge(images[-1]) * torch.arange(1.0, 4.0),
    )
    value = reg.penalty(batch)
    if value.ndim != 1 or not torch.isfinite(value).all():
        yield f"penalty() gives {tuple(value.shape)}, not one finite value a sample"
    value.mean().backward()
    learner = nets.judge if cls.on == "d" else nets.map
    if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters()):
        yield f"its gradient does not reach the network it is on ('{cls.on}')"
    if reg.every < 1:
        yield "every must be at least 1"


def _check_growth(make: "partial[Any]", cls: type[Component], size: tuple[int, int]) -> Iterator[str]:
    shape = Shape(tuple((size[0] * 2**i, size[1] * 2**i) for i in range(3)), 3)
    growth = make(shape)
    stages = [growth.stage(images) for images in range(0, 20_000_000, 100_000)]
    if any(not (0 <= s.level < 3 and 0 <= s.alpha <= 1) for s in stages) or any(
        b.level < a.level for a, b in zip(stages, stages[1:])
    ):
        yield "a stage is out of range, or levels do not rise"
    if stages != [growth.stage(images) for images in range(0, 20_000_000, 100_000)]:
        yield "stage() is no pure function of the images seen"


def _check_dataset(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    dataset = make(size, 3, 0)
    image = dataset.image(0)
    if image.shape != (3, *size) or str(image.dtype) != "uint8":
        yield f"image() gives {image.dtype} {image.shape}, not uint8 {(3, *size)}"
    if (dataset.image(0) != image).any() or dataset.fingerprint() != make(size, 3, 0).fingerprint():
        yield "the same index gives another image, or the fingerprint changes by itself"


def example(cls: type[Dataset], folder: Path) -> Path:
    """A folder of pictures, or a zip of it: whichever the dataset claims."""
    pictures = folder / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        rng = np.random.default_rng(0)
        for i in range(3):
            PIL.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(pictures / f"{i}.png")
        shutil.make_archive(str(pictures), "zip", pictures)
        shutil.make_archive(str(pictures), "tar", pictures)
    for path in (pictures, folder / "pictures.zip", folder / "pictures.tar"):
        if cls.claims(str(path)):
            return path
    raise LookupError("it claims neither a folder of pictures nor a zip or a tar of it, so it cannot be tried")


def _check_metric(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    height, width = size[0] * 4, size[1] * 4

    def fresh() -> Any:
        return make(Shape(((height // 2, width // 2), (height, width)), 3), 0, num=20)

    if not isinstance(fresh().primary, str):
        yield "does not say which of its values is primary"
    if issubclass(cls, GeneratorMetric):
        return
    sets: dict[Which, Tensor] = {}
    for which, seed in (("real", 1), ("fake", 2)):
        draw = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (20, 3, height, width), generator=draw).to(torch.uint8)
        sets[which] = images if fresh().features is None else torch.randn(20, 12, generator=draw)  # type: ignore[index]
    whole, parts, merged = fresh(), fresh(), fresh()
    for which, batch in sets.items():
        if which == "real" and whole.num_real == 0:
            continue
        whole.update(batch, which)
        for part in batch.split([7, 13]):
            parts.update(part, which)
        for part in batch.split([8, 12]):
            share = fresh()
            share.update(part, which)
            merged.merge(which, share.state(which))
    results = [metric.compute() for metric in (whole, parts, merged)]
    if results[0] != results[1]:
        yield "its value depends on how images are batched"
    if any(abs(results[0][k] - results[2][k]) > 1e-6 * (1 + abs(results[0][k])) for k in results[0]):
        yield "its value changes where two accumulators are merged"
    if whole.primary not in results[0]:
        yield f"compute() does not give its primary value '{whole.primary}'"


def _check_augment(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    yield from check_module(make, cls, size)
    augment = make()
    for _ in range(100):  # D is sure of the reals: what adapts becomes strong
        augment.observe(torch.ones(N, 1))
        augment.adapt(4000)
    buffers = dict(augment.named_buffers())
    if wrong := [name for name, b in buffers.items() if not b.is_floating_point()]:
        yield f"keeps {', '.join(wrong)} as no floating-point number: it is averaged over processes"
    other = make()
    other.load_state_dict(augment.state_dict())
    half = (size[0] // 2, size[1] // 2)
    for channels in (1, 3, 4, 5):
        images = tuple(torch.rand(N, channels, *s, requires_grad=True) for s in (half, size))
        before = [x.detach().clone() for x in images]
        outputs = []
        for module in (augment, other):
            torch.manual_seed(2)
            outputs.append(module(images))
        if [y.shape for y in outputs[0]] != [x.shape for x in images]:
            yield f"does not keep the shapes of a pyramid of {channels} channels"
        if not all(torch.equal(a, b) for a, b in zip(*outputs)):
            yield "draws other things from the same state and seed: a resumed run would differ"
        if not all(torch.equal(a, b) for a, b in zip(images, before)):
            yield "changes the images it is given"
        yield from check_gradients(augment, (images,), outputs[0][-1], cls)
    if not all(isinstance(value, float) for value in augment.values().values()):
        yield "values() gives something that is no float"


CHECKS: dict[type, Callable[..., Iterator[str]]] = {
    Augment: _check_augment,
    Experiment: check_experiment,
    Loss: _check_loss,
    Regularizer: _check_regularizer,
    Growth: _check_growth,
    Dataset: _check_dataset,
    Metric: _check_metric,
    Logger: check_logger,
}
