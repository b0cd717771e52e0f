"""A recorded checkpoint of rosinality's StyleGAN2 and what it computes."""

from typing import Any

import torch

from reference import Recorded, load


def recorded_checkpoint(dtype: torch.dtype) -> tuple[Recorded, dict[str, Any]]:
    recorded = load("04_rosinality", dtype)
    single = load("04_rosinality", torch.float32)
    found = {net: single.state(f"{net}/") for net in ("g_ema", "d")}
    return recorded, {**found, "latent_avg": single["latent_avg"]}
