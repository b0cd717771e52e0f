"""Gradient penalties on the discriminator.

Norms are taken over all pixels, channels and scales of a sample.
"""

from typing import Any, ClassVar

import torch

from ganzoo.interfaces import GanBatch, Judged, Regularizer, SampleRng, Which, per_sample
from ganzoo.registry.ramp import Scheduled
from ganzoo.types import Count, PerSample, Positive, Pyramid, Weight


def squared_gradient_norm(judged: Judged) -> PerSample:
    """|∇D(x)|² of each sample, [N], with a graph for the second derivative.

    D(x) is the mean of a sample's logits. The gradient is that of their sum over the batch, which equals each sample's
    own as far as D treats samples independently.
    """
    grads = torch.autograd.grad(per_sample(judged.logits).sum(), judged.images, create_graph=True)
    return torch.stack([g.square().sum(dim=[1, 2, 3]) for g in grads]).sum(dim=0)


def gradient_norm(judged: Judged) -> PerSample:
    """|∇D(x)| of each sample, [N]; where it is 0, its own gradient is 0, not NaN."""
    return squared_gradient_norm(judged).clamp_min(1e-30).sqrt()


def between(rng: SampleRng, real: Pyramid, fake: Pyramid) -> Pyramid:
    """Points on the lines from reals to fakes, at one uniform position for all scales of a sample."""
    u = rng.uniform(real[0][:, :1, :1, :1])
    return tuple(torch.lerp(r, f, u) for r, f in zip(real, fake))


class R1(Regularizer, name="r1", paper="arXiv:1801.04406"):
    """gamma/2 E_real |∇D(x)|²: zero-centred, on real images.

    Args:
        gamma: strength; 10 in StyleGAN, about 0.0002 R² / batch in StyleGAN2-ADA
    """

    on = "d"
    judged_at: ClassVar[Which | None] = "real"

    def __init__(self, *, gamma: Scheduled[Weight] = 10.0, every: Count = 16) -> None:
        super().__init__(every=every)
        self.gamma = gamma

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 |∇D(real)|², [N]."""
        return batch.now(self.gamma) / 2 * squared_gradient_norm(batch.judged_real)


class R2(R1, name="r2", paper="arXiv:1801.04406"):
    """gamma/2 E_fake |∇D(x)|²: zero-centred, on generated images.

    Args:
        gamma: strength
    """

    judged_at = "fake"

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 |∇D(fake)|², [N]."""
        return batch.now(self.gamma) / 2 * squared_gradient_norm(batch.judged_fake)


class WGANGP(Regularizer, name="wgan_gp", paper="arXiv:1704.00028"):
    """weight / target² (|∇D(x)| - target)²: between real and generated images.

    Args:
        weight: strength
        target: norm of the gradient to reach; 750 in ProGAN's CIFAR-10 runs
    """

    on = "d"
    needs_critic = True

    def __init__(self, *, weight: Scheduled[Weight] = 10.0, target: Positive = 1.0, every: Count = 1) -> None:
        super().__init__(every=every)
        self.weight, self.target = weight, target

    def penalty(self, batch: GanBatch) -> PerSample:
        """weight / target² (|∇D| - target)², [N]."""
        mixed = between(batch.rng, batch.real, batch.fake)
        norm = gradient_norm(batch.judge(mixed, batch.label))
        return batch.now(self.weight) / self.target**2 * (norm - self.target).square()


class ZeroCentered(R1, name="gp_zero_centered", paper="arXiv:1902.03984"):
    """gamma |∇D(x)|²: zero-centred, between real and generated images.

    Args:
        gamma: strength
    """

    judged_at = None

    def __init__(self, *, every: Count = 1, **options: Any) -> None:
        super().__init__(every=every, **options)

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma |∇D|², [N]."""
        mixed = between(batch.rng, batch.real, batch.fake)
        return batch.now(self.gamma) * squared_gradient_norm(batch.judge(mixed, batch.label))


class OneCenteredReal(R1, name="one_centered_real"):
    """gamma/2 E_real (|∇D(x)| - 1)²: one-centred, on real images.

    It is often mistaken for R1. DRAGAN's penalty (arXiv:1705.07215) is another: it is taken around real images, at
    randomly perturbed ones.

    Args:
        gamma: strength
    """

    def penalty(self, batch: GanBatch) -> PerSample:
        """gamma/2 (|∇D(real)| - 1)², [N]."""
        norm = gradient_norm(batch.judged_real)
        return batch.now(self.gamma) / 2 * (norm - 1).square()
