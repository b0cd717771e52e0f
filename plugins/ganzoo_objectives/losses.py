"""Adversarial losses. r = D(real), f = D(fake), each [N, 1]; every loss is per sample, [N]."""

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from ganzoo.interfaces import Loss
from ganzoo.training import distributed
from ganzoo.types import Logits, PerSample


class Logistic(Loss, name="logistic", paper="arXiv:1406.2661"):
    """Non-saturating logistic loss: D softplus(f) + softplus(-r), G softplus(-f)."""

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """-log sigmoid(r) - log(1 - sigmoid(f))."""
        return (F.softplus(fake) + F.softplus(-real)).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-log sigmoid(f)."""
        return F.softplus(-fake).flatten()


class Saturating(Logistic, name="saturating", paper="arXiv:1406.2661"):
    """Minimax loss: D as logistic, G -softplus(f), whose gradient vanishes where D is sure."""

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """log(1 - sigmoid(f))."""
        return -F.softplus(fake).flatten()


class Hinge(Loss, name="hinge", paper="arXiv:1705.02894"):
    """D relu(1 - r) + relu(1 + f), G -f."""

    critic = True

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """Only samples inside the margin count."""
        return (F.relu(1 - real) + F.relu(1 + fake)).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-f."""
        return -fake.flatten()


class Wasserstein(Loss, name="wasserstein", paper="arXiv:1701.07875"):
    """D f - r + drift r², G -f.

    Args:
        drift: keeps D's outputs near zero (arXiv:1710.10196, appendix A.1)
    """

    critic = True

    def __init__(self, *, drift: Annotated[float, Ge(0)] = 1e-3) -> None:
        super().__init__()
        self.drift = drift

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """f - r + drift r²."""
        return (fake - real + self.drift * real.square()).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-f."""
        return -fake.flatten()


class LSGAN(Loss, name="lsgan", paper="arXiv:1611.04076"):
    """Least squares: D (r - 1)² + f², G (f - 1)².

    Args:
        targets: "standard" as above; "progan" is that of arXiv:1710.10196, appendix B: D r² + 0.1 (f - 1)², G f²
    """

    critic = True

    def __init__(self, *, targets: Literal["standard", "progan"] = "standard") -> None:
        super().__init__()
        self.targets = targets

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """Squared distance to the targets."""
        if self.targets == "progan":
            return (real.square() + 0.1 * (fake - 1).square()).flatten()
        return ((real - 1).square() + fake.square()).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """Squared distance to the target of reals."""
        return (fake if self.targets == "progan" else fake - 1).square().flatten()


def average(logits: Logits) -> Tensor:
    """Mean over the whole batch, of all processes."""
    return distributed.mean(logits.mean())


class RelativisticAverage(Loss, name="relativistic_average", paper="arXiv:1807.00734"):
    """Hinge on how much more real a sample looks than the average of the other kind."""

    critic = True
    relativistic = True

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """relu(1 - (r - E f)) + relu(1 + (f - E r))."""
        return (F.relu(1 - (real - average(fake))) + F.relu(1 + (fake - average(real)))).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """relu(1 + (r - E f)) + relu(1 - (f - E r))."""
        return (F.relu(1 + (real - average(fake))) + F.relu(1 - (fake - average(real)))).flatten()


class RelativisticPaired(Loss, name="relativistic_paired", paper="arXiv:1807.00734"):
    """Logistic on the difference of a real and a fake: D softplus(f - r), G softplus(r - f)."""

    critic = True
    relativistic = True

    def d(self, real: Logits, fake: Logits) -> PerSample:
        """-log sigmoid(r - f)."""
        return F.softplus(fake - real).flatten()

    def g(self, fake: Logits, real: Logits) -> PerSample:
        """-log sigmoid(f - r)."""
        return F.softplus(real - fake).flatten()
