"""What the tests share: small experiments that run in seconds."""

from pathlib import Path

import pytest
import torch

from ganzoo import recipe
from ganzoo.gan.trainer import Trainer
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.node import Node

GOLDEN = Path(__file__).parent / "golden"

SMALL = [
    "image.size=16",
    "generator.z_dim=8",
    "generator.w_dim=8",
    "generator.channel_base=128",
    "generator.channel_max=8",
    "discriminator.channel_base=128",
    "discriminator.channel_max=8",
    "dataset=shapes",
    "metrics=[]",
    "training.batch=4",
    "training.tick_kimg=0.02",
    "training.precision=fp32",
    "training.snapshot_ticks=1000",
]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def small(name: str, *overrides: str) -> Node:
    """A shipped recipe, shrunk to 16x16 and a few channels."""
    return recipe.load(name, [*SMALL, *overrides])


def trainer(name: str, *overrides: str) -> Trainer:
    """A trainer of a shrunk recipe, on the CPU."""
    torch.manual_seed(0)
    return Trainer(build_experiment(small(name, *overrides)), torch.device("cpu"))
