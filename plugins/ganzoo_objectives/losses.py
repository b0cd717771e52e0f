"""Adversarial losses. r = D(real), f = D(fake), each [N, P]; every loss is per sample, [N], the mean over P."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ganzoo.interfaces import Loss, per_sample
from ganzoo.training import distributed
from ganzoo.types import Logits, PerSample, Weight


class Logistic(Loss, name="logistic", paper="arXiv:1406.2661"):
    """Non-saturating logistic loss: D softplus(f) + softplus(-r), G softplus(-f)."""

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """-log sigmoid(r) - log(1 - sigmoid(f))."""
        return per_sample(F.softplus(fake) + F.softplus(-real))

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-log sigmoid(f)."""
        return per_sample(F.softplus(-fake))


class Saturating(Logistic, name="saturating", paper="arXiv:1406.2661"):
    """Minimax loss: D as logistic, G -softplus(f), whose gradient vanishes where D is confident."""

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """log(1 - sigmoid(f))."""
        return -per_sample(F.softplus(fake))


class Hinge(Loss, name="hinge", paper="arXiv:1705.02894"):
    """Hinge loss: D relu(1 - r) + relu(1 + f), G -f."""

    critic = True

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """relu(1 - r) + relu(1 + f): only samples inside the margin count."""
        return per_sample(F.relu(1 - real) + F.relu(1 + fake))

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-f."""
        return -per_sample(fake)


class Wasserstein(Loss, name="wasserstein", paper="arXiv:1701.07875"):
    """Wasserstein loss: D f - r + drift r², G -f.

    Args:
        drift: weight of the term that keeps D's outputs near zero (arXiv:1710.10196, appendix A.1)
    """

    critic = True
    signed = False

    def __init__(self, *, drift: Weight = 1e-3) -> None:
        super().__init__()
        self.drift = drift

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """f - r + drift r²."""
        return per_sample(fake - real + self.drift * real.square())

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-f."""
        return -per_sample(fake)


class LSGAN(Loss, name="lsgan", paper="arXiv:1611.04076"):
    """Least squares: D (r - 1)² + f², G (f - 1)².

    Args:
        targets: "standard" as above, or "progan", D r² + 0.1 (f - 1)², G f²: ProGAN's LSGAN (arXiv:1710.10196, appendix
            B), with the numbers of its released code
    """

    critic = True

    def __init__(self, *, targets: Literal["standard", "progan"] = "standard") -> None:
        super().__init__()
        self.targets = targets

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """Squared distance to the targets."""
        if self.targets == "progan":
            return per_sample(real.square() + 0.1 * (fake - 1).square())
        return per_sample((real - 1).square() + fake.square())

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """Squared distance to the target of reals."""
        return per_sample((fake if self.targets == "progan" else fake - 1).square())


def average(logits: Logits) -> Tensor:
    """Mean over the whole batch of all processes, []."""
    return distributed.mean(logits.mean())


class RelativisticAverage(Loss, name="relativistic_average", paper="arXiv:1807.00734"):
    """Relativistic average hinge loss: each logit relative to the mean logit of the other kind."""

    critic = True
    relativistic = True
    signed = False

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """relu(1 - (r - E f)) + relu(1 + (f - E r))."""
        return per_sample(F.relu(1 - (real - average(fake))) + F.relu(1 + (fake - average(real))))

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """relu(1 + (r - E f)) + relu(1 - (f - E r))."""
        return per_sample(F.relu(1 + (real - average(fake))) + F.relu(1 - (fake - average(real))))


class RelativisticPaired(Loss, name="relativistic_paired", paper="arXiv:1807.00734"):
    """Relativistic logistic loss of pairs of a real and a fake: D softplus(f - r), G softplus(r - f).

    A fake has the label of the real that it is compared with.
    """

    critic = True
    relativistic = True
    paired = True
    signed = False

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """-log sigmoid(r - f)."""
        return per_sample(F.softplus(fake - real))

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-log sigmoid(f - r)."""
        return per_sample(F.softplus(real - fake))
