"""A trained model from a checkpoint: the way in for Python users.

The same seed gives the same picture:

    model = ganzoo.load("snapshot.safetensors")
    pictures = model.sample(seeds=[1, 2], psi=0.7)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PIL

from ganzoo import checkpoint
from ganzoo.build import Experiment
from ganzoo.checkpoint import Header
from ganzoo.data import to_uint8
from ganzoo.device import choose
from ganzoo.errors import RecipeError, UsageError
from ganzoo.images import picture
from ganzoo.interfaces import Generator, NoiseMode, Stage
from ganzoo.recipe import Node, parse
from ganzoo.registry import registry
from ganzoo.source import Source
from ganzoo.types import Image, Label, Latent


def latents(seeds: Sequence[int], z_dim: int) -> Latent:
    """Standard normal latents [N, Z], one seed each, drawn as the StyleGAN tools draw them."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise UsageError(f"seed {seed}: choose from 0 to {2**32 - 1}.")
    return torch.from_numpy(np.stack([np.random.RandomState(seed).randn(z_dim) for seed in seeds])).float()


class Model:
    """A generator (the moving average) and what its checkpoint says of it."""

    def __init__(self, G: Generator, header: Header, path: Path, device: torch.device, stage: Stage) -> None:
        self.G, self.header, self.path, self.device, self.stage = G, header, path, device, stage

    def images(
        self,
        seeds: Sequence[int],
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: Sequence[float] | int | None = None,
        noise: NoiseMode = "const",
    ) -> Image:
        """Images in about [-1, 1], [N, C, H, W].

        A seed gives the same image in whatever company: each is computed alone.

        A generator that was still growing gives images of the size it had reached.

        Args:
            seeds: one for each image
            psi: truncation; below 1 images are closer to the mean, more alike and better
            cutoff: number of layers that are truncated; None for all
            label: class number or label vector, for a conditional model
            noise: "const" uses the stored noise, "random" noise of the image's seed, "none" none
        """
        given = self.label(label)
        return torch.cat([self._one(seed, psi, cutoff, given, noise) for seed in seeds])

    @torch.inference_mode()
    def _one(self, seed: int, psi: float, cutoff: int | None, label: Label, noise: NoiseMode) -> Image:
        z = latents([seed], self.G.z_dim).to(self.device)
        with self.G.noise(noise, seeds=[seed]):
            ws = self.G.truncate(self.G.styles(z, label, self.stage), psi, cutoff)
            return self.G.synthesize(ws, self.stage)[-1].cpu()

    def sample(
        self,
        seeds: Sequence[int],
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: Sequence[float] | int | None = None,
        noise: NoiseMode = "const",
    ) -> list[PIL.Image]:
        """Like `images`, as PIL pictures."""
        pixels = to_uint8(self.images(seeds, psi=psi, cutoff=cutoff, label=label, noise=noise)).numpy()
        return [picture(p) for p in pixels]

    def label(self, label: Sequence[float] | int | None) -> Label:
        """A label as the generator takes it, [1, K]."""
        k = self.G.labels
        if label is None or not k:
            if (label is None) == (k == 0):
                return None
            raise UsageError(
                f"{self.path} was trained on {k} classes: name one, from 0 to {k - 1}."
                if k
                else f"{self.path} was trained without classes."
            )
        if isinstance(label, int):
            if not 0 <= label < k:
                raise UsageError(f"class {label}: choose from 0 to {k - 1}.")
            return torch.eye(k, device=self.device)[[label]]
        return torch.tensor([list(label)], dtype=torch.float32, device=self.device)


def tree(path: Path, head: Header) -> Node:
    """A checkpoint's recipe as a checked tree. Raises PluginError where a plugin is missing."""
    checkpoint.require_plugins(head, path)
    try:
        return parse(Source(head.recipe, name=str(path)), registry())
    except RecipeError as err:
        raise RecipeError(
            f"{err} The checkpoint was written with {', '.join(f'{k} {v}' for k, v in head.versions.items())}."
        ) from None


def experiment(node: Node) -> Experiment:
    """Build what a tree describes."""
    made: Experiment = node.bind()()
    return made


def load(path: str | Path, device: str = "auto") -> Model:
    """Load a snapshot for sampling. Raises CheckpointError, or PluginError where a plugin it needs is missing."""
    path = Path(path)
    head, tensors = checkpoint.read(path)
    where = choose(device)
    with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
        made = experiment(tree(path, head))
    G = made.G
    checkpoint.fill(G, tensors, "G_ema", path)
    stage = made.growth.stage(head.images) if made.growth else Stage(len(made.shape.sizes) - 1)
    return Model(G.to(where).eval().requires_grad_(False), head, path, where, stage)
