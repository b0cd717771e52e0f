"""Steps of small trainers in float64, in one process or as one of several: `several.py CASE... OUT` under torchrun.

Noise inputs, style mixing and minibatch statistics are off: what they do is defined for the batch of a process.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from conftest import trainer
from ganzoo.training import distributed

BATCH = 8
PLAIN = [
    "generator.synthesis.block.layer.noise=null",
    "generator.mixing=0",
    "discriminator.head.statistic=null",
    f"training.batch={BATCH}",
    "training.eps=1e-3",
    "training.ema_kimg=0.01",
]
LOSSES = ["hinge", "logistic", "lsgan", "relativistic_average", "relativistic_paired", "saturating", "wasserstein"]
PENALTIES = {
    "r1": "{use: r1, every: 2}",
    "r2": "{use: r2, every: 1}",
    "wgan_gp": "{use: wgan_gp, every: 1}",
    "gp_zero_centered": "{use: gp_zero_centered, every: 1}",
    "one_centered_real": "{use: one_centered_real, every: 2}",
    "path_length": "{use: path_length, every: 1, shrink: 1, decay: 0.5}",
}


def overrides(case: str) -> list[str]:
    if case in PENALTIES:
        loss = "wasserstein" if case in ("wgan_gp", "one_centered_real") else "logistic"
        return [f"loss={loss}", f"regularizers=[{PENALTIES[case]}]"]
    return [f"loss={case}", "regularizers=[]"]


def steps(case: str, count: int = 3) -> dict[str, torch.Tensor]:
    """Everything a state holds after some steps on random images, of which this process takes its share."""
    made = trainer("stylegan2-tiny", *PLAIN, *overrides(case))
    for module in made.modules().values():
        module.double()
    for net in (made.G, made.D, made.G_ema):
        net.set_dtype(torch.float64)
    made.broadcast_weights()
    rank, world = distributed.rank_and_world()
    share = BATCH // world
    for i in range(count):
        stream = torch.Generator().manual_seed(i)
        real = torch.randint(0, 256, (BATCH, 3, 16, 16), generator=stream, dtype=torch.uint8)
        made.step(real[rank * share :][:share], torch.zeros(share, 0), torch.zeros(share, 0))
    found = {f"{key}.{n}": t for key, m in made.modules().items() for n, t in m.state_dict().items()}
    return {name: t.detach().clone().contiguous() for name, t in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    *cases, out = sys.argv[1:]
    distributed.join_group(torch.device("cpu"))
    for case in cases:
        found = steps(case)
        save_file(found, Path(out) / f"{case}-{distributed.rank_and_world()[0]}.safetensors")
    distributed.leave_group()
