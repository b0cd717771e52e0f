"""How a component of each kind is tried: built, fed, differentiated, saved. `ganzoo.testing` calls these."""

import math
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PIL
from torch import Tensor

from ganzoo.interfaces import (
    Augment,
    Dataset,
    Experiment,
    Extractor,
    GeneratorMetric,
    Growth,
    Logger,
    Loss,
    Metric,
    Regularizer,
    Shape,
    Which,
)
from ganzoo.registry.component import Component, options
from ganzoo.testing.cases import N
from ganzoo.testing.extractors import check_extractor
from ganzoo.testing.modules import check_gradients, check_module
from ganzoo.testing.objectives import check_loss, check_regularizer
from ganzoo.testing.running import check_experiment, check_logger
from ganzoo.testing.state import attributes
from ganzoo.types import Size


def _check_growth(make: "partial[Any]", cls: type[Component], size: Size) -> Iterator[str]:
    """Stages in range, of rising levels; batch sizes and learning rates that can be used; a pure function."""
    shape = Shape(tuple((size[0] * 2**i, size[1] * 2**i) for i in range(3)), 3)
    growth, seen = make(shape), range(0, 20_000_000, 100_000)
    stages = [growth.stage(images) for images in seen]
    if any(not (0 <= s.level < 3 and 0 <= s.alpha <= 1) for s in stages) or any(
        b.level < a.level for a, b in zip(stages, stages[1:])
    ):
        yield "a stage is out of range, or levels do not rise"
        return
    if stages != [growth.stage(images) for images in seen] or stages != [make(shape).stage(images) for images in seen]:
        yield "stage() is no pure function of the images seen"
    batches, rates = ([f(stage, value) for stage in stages] for f, value in ((growth.batch, 16), (growth.lr, 0.01)))
    if not all(isinstance(batch, int) and batch >= 1 for batch in batches):
        yield "batch() gives no number of images from 1 on"
    if not all(0 < rate < math.inf for rate in rates):
        yield "lr() gives no learning rate above 0"


def _check_dataset(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """Images and labels of the promised type and shape, always the same ones."""
    dataset, other = make(size, 3, 0), make(size, 3, 0)
    if len(dataset) < 1:
        yield "has no images"
        return
    image, label = dataset.image(0), dataset.label(0)
    if image.shape != (3, *size) or str(image.dtype) != "uint8":
        yield f"image() gives {image.dtype} {image.shape}, not uint8 {(3, *size)}"
    if label.shape != (0,) or str(label.dtype) != "float32":
        yield f"label() gives {label.dtype} {label.shape}, not float32 (0,)"
    same = all((dataset.image(i) == other.image(i)).all() for i in (0, len(dataset) - 1))
    if (dataset.image(0) != image).any() or not same or dataset.fingerprint() != other.fingerprint():
        yield "the same index gives another image, or the fingerprint changes by itself"
    if not (dataset.title and isinstance(dataset.title, str)):
        yield "title is no text"


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


def _check_metric(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    height, width = size[0] * 4, size[1] * 4

    def fresh() -> Any:
        return make(Shape(((height // 2, width // 2), (height, width)), 3), 0, num=20)

    if not isinstance(fresh().primary, str):
        yield "does not say which of its values is primary"
    if lost := [name for name in options(cls).model_fields if not hasattr(fresh(), name)]:
        yield f"does not keep its option '{lost[0]}' as an attribute of that name: records are made of them"
    if issubclass(cls, GeneratorMetric):
        return
    sets: dict[Which, Tensor] = {}
    for which, seed in (("real", 1), ("fake", 2)):
        draw = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (20, 3, height, width), generator=draw).to(torch.uint8)
        sets[which] = images if fresh().extractor is None else torch.randn(20, 12, generator=draw)  # type: ignore[index]
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
    if bad := [f"{name} {value}" for result in results for name, value in result.items() if not math.isfinite(value)]:
        yield f"gives values that are not finite: {bad[0]}"
        return
    if results[0] != results[1]:
        yield "its value depends on how images are batched"
    if not all(abs(results[0][k] - results[2][k]) <= 1e-6 * (1 + abs(results[0][k])) for k in results[0]):
        yield "its value changes where two accumulators are merged"
    if whole.primary not in results[0]:
        yield f"compute() does not give its primary value '{whole.primary}'"


def _check_augment(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """As a module; then as it is after reals that D is sure of, on images of several numbers of channels."""
    yield from check_module(make, cls, size)
    augment = make()
    for _ in range(100):  # what adapts becomes strong
        augment.observe(torch.ones(N, 1))
        augment.adapt(4000)
    if wrong := [name for name, b in augment.named_buffers() if not b.is_floating_point()]:
        yield f"keeps {', '.join(wrong)} as no floating-point number: it is averaged over processes"
    other = make()
    other.load_state_dict(augment.state_dict())
    for channels in (1, 3, 4, 5):
        yield from _check_augmented(augment, other, cls, size, channels)
    before = attributes(augment)
    augment.observe(-torch.ones(N, 2))
    augment.adapt(4000)
    if changed := [name for name, value in attributes(augment).items() if before.get(name, value) != value]:
        yield f"keeps {', '.join(changed)} outside of its saved state: use buffers"
    if not all(isinstance(value, float) and math.isfinite(value) for value in augment.values().values()):
        yield "values() gives something that is no finite float"


def _check_augmented(augment: Augment, other: Augment, cls: Any, size: Size, channels: int) -> Iterator[str]:
    """Images of some channels in two sizes, of an augmentation and of another one in the same state."""
    half = (size[0] // 2, size[1] // 2)
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
    yield from check_gradients(augment, [(images,)], outputs[0][-1:], cls)


CHECKS: dict[type, Callable[..., Iterator[str]]] = {
    Augment: _check_augment,
    Experiment: check_experiment,
    Extractor: check_extractor,
    Loss: check_loss,
    Regularizer: check_regularizer,
    Growth: _check_growth,
    Dataset: _check_dataset,
    Metric: _check_metric,
    Logger: check_logger,
}
