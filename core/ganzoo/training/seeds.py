"""TODO docstring."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ganzoo.errors import UsageError
from ganzoo.types import Latent


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def latents(seeds: Sequence[int], z_dim: int) -> Latent:
    """Standard normal latents [N, Z], one seed each, drawn as the StyleGAN tools draw them."""
    if not len(seeds):
        raise UsageError("no seeds: name one, from 0 on.")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed}: choose from 0 to {2**32 - 1}.")
    rng, drawn = np.random.RandomState(seeds[0]), np.empty((len(seeds), z_dim))
    for row, seed in zip(drawn, seeds):
        rng.seed(seed)  # a new one would ask the system for randomness first, which takes thirty times as long
        row[:] = rng.randn(z_dim)
    return torch.from_numpy(drawn).float()


def image_seeds(seed: int, numbers: Iterable[int]) -> list[int]:
    """Seeds of the images that a measurement with a seed draws, by their numbers: apart for all seeds in practice."""
    return [(seed * 1_000_003 + i) % 2**32 for i in numbers]
