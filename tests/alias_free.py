"""StyleGAN3's recorded networks, built by the importer's recipe and renaming."""

from functools import cache

import torch

from ganzoo.interfaces import Generator
from ganzoo_import.formats import stylegan3
from reference import Recorded, experiment, load

SMALL_D = {"channel_base": 32, "trunk": {"use": "plain", "down": "filtered"}, "head": "dense"}
NETWORKS = ("T", "R")


@cache
def recorded_generator(config: str, dtype: torch.dtype) -> tuple[Generator, Recorded]:
    """The generator of a configuration with its recorded weights, in evaluation mode."""
    recorded = load(f"11_sg3_{config}", dtype)
    meta = recorded.meta["constructor_kwargs"]
    tree = stylegan3.generator_recipe(meta, recorded.state())
    G = experiment(meta["img_resolution"], tree, SMALL_D, dtype, image={"channels": meta["img_channels"]}).G
    G.load_state_dict(stylegan3.generator(recorded.state()))
    return G, recorded
