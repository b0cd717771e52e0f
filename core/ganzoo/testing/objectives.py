"""The checks of losses and regularizers, on small networks that have all that these may call."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.gan.adversarial import AdversarialExperiment, Training
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import Dataset, Discriminator, GanBatch, Generator, Learner, Loss, Regularizer, Shape, Stage
from ganzoo.testing.cases import K, N, W, labels
from ganzoo.testing.state import attributes, check_state
from ganzoo.types import Label, Latent, Logits, Maps, PerSample, Pyramid, Size, Style, Styles

PATCHES = 3
CUT = (None, 2, 1)  # images computed at once; None for all
TOLERANCE = 1e-3  # of what is kept, in float32, where sums are taken in another order


def check_loss(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """One finite value a sample, for one logit and for several; gradients; no state outside of buffers."""
    loss = make()
    for patches in (1, PATCHES):
        real, fake = (torch.randn(N, patches, requires_grad=True) for _ in range(2))
        values = {"d": loss.d(real, fake), "g": loss.g(fake, real)}
        for name, value in values.items():
            if tuple(value.shape) != (N,) or not torch.isfinite(value).all():
                yield (
                    f"{name}() gives {tuple(value.shape)} for logits [{N}, {patches}], not finite values of shape "
                    f"({N},): per_sample() takes the mean over a sample's patches"
                )
                return
        for name, value, leaves in (("d", values["d"], (real, fake)), ("g", values["g"], (fake,))):
            grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
            if any(g is None or not torch.isfinite(g).all() for g in grads):
                yield f"{name}() gives no finite gradient to the logits"
        if not cls.relativistic and not torch.equal(loss.g(fake, torch.zeros_like(real)), values["g"]):
            yield "g() depends on the logits of reals: say relativistic = True, or training gives it zeros"
    fixed = torch.linspace(-2, 2, N)[:, None], torch.linspace(1, -3, N)[:, None]
    yield from check_state(
        make,
        loss,
        lambda m: torch.cat([m.d(*fixed), m.g(*fixed)]),
        lambda m: (m.d(torch.randn(N, 1), torch.randn(N, 1)), m.g(torch.randn(N, 1), torch.randn(N, 1))),
    )


class SmallGenerator(Generator):
    """A dense mapping, three style codes, one dense layer; images of one size."""

    def __init__(self, shape: Shape, labels: int, /) -> None:
        super().__init__()
        self.z_dim, self.num_ws = W, 3
        self.dense = nn.Linear(W + labels, W)
        self.image = nn.Linear(W, shape.channels * shape.size[0] * shape.size[1])
        self.register_buffer("w_mean", torch.zeros(W))

    def map(self, z: Latent, label: Label = None) -> Style:
        """Apply a dense layer."""
        return self.dense(z if label is None else torch.cat([z, label], dim=1))

    def synthesize(self, ws: Styles, stage: Stage | None = None) -> Pyramid:
        """Turn the mean style code into an image."""
        return (self.image(ws.mean(dim=1).tanh()).unflatten(1, (self.shape.channels, *self.shape.size)),)


class SmallDiscriminator(Discriminator):
    """Two dense layers, and one more for the classes."""

    classifies = True

    def __init__(self, shape: Shape, labels: int, /) -> None:
        super().__init__()
        pixels = shape.channels * shape.size[0] * shape.size[1]
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 5), nn.Softplus())
        self.logit, self.classes = nn.Linear(5, 1), nn.Linear(5, max(labels, 1))

    def forward(self, images: Pyramid, label: Label = None, stage: Stage | None = None) -> Logits:
        """Score the finest image."""
        return self.logit(self.features(images[-1]))

    def classify(self, images: Pyramid, stage: Stage | None = None) -> Tensor:
        """Return scores of the classes, [N, K]."""
        return self.classes(self.features(images[-1]))


class LinearLoss(Loss):
    """The plainest adversarial loss: D f - r, G -f."""

    critic = True

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """f - r."""
        return (fake - real)[:, 0]

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-f."""
        return -fake[:, 0]


class SmallExperiment(AdversarialExperiment):
    """Small networks that are trained with one regularizer, on images that the caller gives."""

    def __init__(self, regularizer: Regularizer, size: Size, micro_batch: int | None) -> None:
        torch.manual_seed(0)
        self.shape, self.labels = Shape((size,), 3), K if regularizer.needs_classes else 0
        self.G, self.D = SmallGenerator(self.shape, self.labels), SmallDiscriminator(self.shape, self.labels)
        self.loss, self.regularizers, self.growth, self.augment = LinearLoss(), [regularizer], None, None
        self.training = Training(batch=N, batch_gpu=micro_batch, precision="fp32", kimg=1.0, lr=1e-4)

    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        return {"G": self.G, "D": self.D}

    def learner(self, device: torch.device) -> Learner:
        """Adversarial training."""
        return Trainer(self, device)

    def dataset(self) -> Dataset | None:
        """None: images are drawn."""
        return None

    def step(self) -> None:
        """Train for one iteration on fixed random images."""
        draw = torch.Generator().manual_seed(1)
        real = torch.randint(0, 256, (N, 3, *self.shape.size), generator=draw, dtype=torch.uint8)
        one_hot = labels(self.labels)
        label = torch.zeros(N, 0) if one_hot is None else one_hot
        self.learner(torch.device("cpu")).step(real, label, label)


def check_regularizer(make: "partial[Any]", cls: Any, size: Size) -> Iterator[str]:
    """One finite value a sample, gradients of the network it is on, and state that no cut of the batch changes."""
    regularizer = make()
    if regularizer.every < 1:
        yield "every must be at least 1"
    small = SmallExperiment(regularizer, size, None)
    batch = _batch(small, seed=0)
    value = regularizer.penalty(batch)
    count = batch.among_first(regularizer.samples(batch.total))
    if tuple(value.shape) != (count,) or not torch.isfinite(value).all():
        yield f"penalty() gives {tuple(value.shape)}, not one finite value for each of {count} samples"
        return
    value.mean().backward()
    network = small.D if cls.on == "d" else small.G
    if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters()):
        yield f"its gradient does not reach the network it is on ('{cls.on}')"
    yield from check_state(
        make, regularizer, lambda m: m.penalty(_batch(small, seed=1)).detach(), lambda m: m.penalty(_batch(small))
    )
    yield from _check_micro_batches(make, size)


def _batch(small: SmallExperiment, seed: int | None = None) -> GanBatch:
    """A whole batch of random images and latents; new ones where there is no seed."""
    draw = torch.Generator()
    draw.manual_seed(seed) if seed is not None else draw.seed()
    label, shape = labels(small.labels), (N, 3, *small.shape.size)
    return GanBatch(
        G=small.G,
        D=lambda images, label, stage: small.D(images, label, stage),
        stage=small.G.finest,
        z=torch.randn(N, W, generator=draw),
        label=label,
        real=(_uniform(shape, draw),),
        real_label=label,
        classify=lambda images, stage: small.D.classify(images, stage),
    )


def _uniform(shape: tuple[int, ...], draw: torch.Generator) -> Maps:
    return torch.rand(shape, generator=draw) * 2 - 1


def _check_micro_batches(make: "partial[Any]", size: Size) -> Iterator[str]:
    """Compare what is kept after one training step on the same images, all computed at once and in parts."""
    kept: list[dict[str, Tensor]] = []
    for micro_batch in CUT:
        regularizer: Regularizer = make()
        before = attributes(regularizer)
        SmallExperiment(regularizer, size, micro_batch).step()
        kept.append(regularizer.state_dict())
        if changed := [name for name, value in attributes(regularizer).items() if before.get(name, value) != value]:
            yield f"keeps {', '.join(changed)} outside of its saved state"
            return
    for name, whole in kept[0].items():
        for micro_batch, parts in zip(CUT[1:], kept[1:]):
            if not torch.allclose(parts[name].double(), whole.double(), rtol=TOLERANCE, atol=1e-6):
                yield (
                    f"keeps another '{name}' where training computes {micro_batch} images at once: let moving_mean() "
                    "move it, or change it once a step"
                )
                break
