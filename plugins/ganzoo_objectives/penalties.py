"""Gradient penalties on the discriminator, each under its honest name.

Norms run over all pixels, channels and scales of a sample.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt

from ganzoo.interfaces import GanBatch, Regularizer, SampleRng
from ganzoo.types import Label, PerSample, Pyramid

Weight = Annotated[float, Ge(0)]
Every = Annotated[int, Ge(1)]


def squared_gradient_norm(batch: GanBatch, images: Pyramid, label: Label) -> PerSample:
    """|∇D(x)|² of each sample, [N], with a graph for the second derivative.

    It is the gradient of the sum of the logits: each sample's own, as far as D judges samples apart.
    """
    points = tuple(x.detach().requires_grad_() for x in images)
    logits = batch.D(points, label, batch.stage)
    if images is batch.real:
        batch.observe(logits)
    grads = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return torch.stack([g.square().sum(dim=[1, 2, 3]) for g in grads]).sum(dim=0)


def gradient_norm(batch: GanBatch, images: Pyramid, label: Label) -> PerSample:
    """|∇D(x)| of each sample, [N]; its own gradient is 0, not NaN, where D is flat."""
    return squared_gradient_norm(batch, images, label).clamp_min(1e-30).sqrt()


def between(rng: SampleRng, real: Pyramid, fake: Pyramid) -> Pyramid:
    """Samples on the line from real to fake, one uniform position for all scales of a sample."""
    u = rng.uniform(real[0][:, :1, :1, :1])
    return tuple(torch.lerp(r, f, u) for r, f in zip(real, fake))


class R1(Regularizer, name="r1", paper="arXiv:1801.04406"):
    """gamma/2 E_real |∇D(x)|²: zero-centred, on real images.

    Args:
        gamma: strength; 10 in StyleGAN, about 0.0002 R² / batch in StyleGAN2-ADA
    """

    on = "d"

    def __init__(self, *, gamma: Weight = 10.0, every: Every = 16) -> None:
        super().__init__(every=every)
        self.gamma = gamma

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 |∇D(real)|², [N]."""
        return self.gamma / 2 * squared_gradient_norm(batch, batch.real, batch.real_label)


class R2(R1, name="r2", paper="arXiv:1801.04406"):
    """gamma/2 E_fake |∇D(x)|²: zero-centred, on generated images.

    Args:
        gamma: strength
    """

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 |∇D(fake)|², [N]."""
        return self.gamma / 2 * squared_gradient_norm(batch, batch.fake, batch.label)


class WGANGP(Regularizer, name="wgan_gp", paper="arXiv:1704.00028"):
    """weight / target² (|∇D(x)| - target)² between real and fake images.

    Args:
        weight: strength
        target: the norm to reach; 750 in ProGAN's CIFAR-10 runs
    """

    on = "d"
    needs_critic = True

    def __init__(self, *, weight: Weight = 10.0, target: Annotated[float, Gt(0)] = 1.0, every: Every = 1) -> None:
        super().__init__(every=every)
        self.weight, self.target = weight, target

    def penalty(self, batch: GanBatch) -> PerSample:
        """weight / target² (|∇D| - target)², [N]."""
        mixed = between(batch.rng, batch.real, batch.fake)
        norm = gradient_norm(batch, mixed, batch.label)
        return self.weight / self.target**2 * (norm - self.target).square()


class ZeroCentered(Regularizer, name="gp_zero_centered", paper="arXiv:1902.03984"):
    """gamma |∇D(x)|² between real and fake images.

    Args:
        gamma: strength
    """

    on = "d"

    def __init__(self, *, gamma: Weight = 10.0, every: Every = 1) -> None:
        super().__init__(every=every)
        self.gamma = gamma

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma |∇D|², [N]."""
        mixed = between(batch.rng, batch.real, batch.fake)
        return self.gamma * squared_gradient_norm(batch, mixed, batch.label)


class OneCenteredReal(R1, name="one_centered_real", paper="arXiv:1705.07215"):
    """gamma/2 E_real (|∇D(x)| - 1)²: one-centred on real images. Often taken for R1, which it is not.

    Args:
        gamma: strength
    """

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 (|∇D(real)| - 1)², [N]."""
        norm = gradient_norm(batch, batch.real, batch.real_label)
        return self.gamma / 2 * (norm - 1).square()
