"""From seeds to numbers: of a step, of a sample, of latents, of the images that a measurement draws."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ganzoo.errors import UsageError
from ganzoo.types import Latent

RELOAD = 2**40  # plus the number of reloads, in a seed: far above any rank or phase, whose place it takes there


def seed_of(*numbers: int) -> int:
    """Mix several numbers into one seed, in [0, 2^63)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def iteration_seed(seed: int, images: int, reloads: int = 0, rank: int = 0) -> int:
    """Seed of what one process draws in an iteration.

    Args:
        seed: the recipe's
        images: real images shown before the iteration
        reloads: how often training went back to a state; what is drawn after that is new
        rank: the process
    """
    return seed_of(seed, images, *_salt(reloads), *([rank] if rank else []))


def sample_seed(seed: int, image: int, phase: int, reloads: int = 0) -> int:
    """Seed of what one sample draws in one optimizer step.

    Args:
        seed: the recipe's
        image: number of the sample's real image, counted over the whole training
        phase: index of the optimizer step within the iteration
        reloads: how often training went back to a state
    """
    return seed_of(seed, image, phase, *_salt(reloads), 1)


def _salt(reloads: int) -> list[int]:
    return [RELOAD + reloads] if reloads else []


def latents(seeds: Sequence[int], z_dim: int) -> Latent:
    """Draw standard normal latents [N, Z], float32, one seed in [0, 2^32) each, as the StyleGAN tools draw them.

    Raises UsageError for no seeds, or one out of range.
    """
    if not len(seeds):
        raise UsageError("no seeds: name one, from 0 on.")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed}: choose from 0 to {2**32 - 1}.")
    rng = np.random.RandomState(seeds[0])
    z = np.empty((len(seeds), z_dim))
    for row, seed in zip(z, seeds):
        rng.seed(seed)  # a new RandomState would ask the system for entropy first, which takes thirty times as long
        row[:] = rng.randn(z_dim)
    return torch.from_numpy(z).float()


def image_seeds(seed: int, numbers: Iterable[int]) -> list[int]:
    """Seeds of the images that a measurement draws, by their numbers; measurements of two seeds share none in practice.

    Args:
        seed: of the measurement
        numbers: of the images, from 0 on
    """
    return [(seed * 1_000_003 + i) % 2**32 for i in numbers]
