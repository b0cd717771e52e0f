"""Real images into a generator's latent space: one optimization loop for all projectors.

    model = ganzoo.load("snapshot.safetensors")
    make = factory("image2stylegan", {"perceptual": "pixel", "steps": 500})
    search = Projection(freeze(model), make(model.G.shape.channels), targets)
    while not search.done:
        search.advance()
    ws, images = search.codes(), search.images()

Each image of a batch has variables of its own, losses are summed, and Adam works elementwise: the result of an image
depends on the others of its batch only by rounding, as sums over another batch size are taken in another order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.interfaces import Noise
from ganzoo.model.model import LabelInput, Model, one_by_one
from ganzoo.recipe.node import Node, component_from
from ganzoo.registry.lookup import registry
from ganzoo.types import Image, PerSample, Styles
from ganzoo_projection.interfaces import FrozenGenerator, Projector

LATENTS, LATENTS_SEED = 10_000, 123  # whose mean style code is taken (arXiv:1912.04958, appendix D, and its code)


def node(name: str, options: Mapping[str, Any]) -> Node:
    """A projector by name, with its options checked. Raises RecipeError."""
    return component_from("projector", {"use": name, **options}, registry())


def factory(name: str, options: Mapping[str, Any] | None = None) -> "partial[Projector]":
    """A function that builds a projector for images of a number of channels. Raises RecipeError."""
    make: partial[Projector] = node(name, options or {}).bind()
    return make


@torch.no_grad()
def freeze(model: Model, label: LabelInput = None, seed: int = 0) -> FrozenGenerator:
    """A model's generator as projectors see it. Raises UsageError for a class that is missing or unknown."""
    G, one_hot = model.G, model.label(label)
    draws = torch.from_numpy(np.random.RandomState(LATENTS_SEED).randn(LATENTS, G.z_dim)).float()
    codes = torch.cat(
        [
            G.map(z.to(G.w_mean), None if one_hot is None else one_hot.expand(len(z), -1)).cpu().double()
            for z in draws.split(1000)
        ]
    )
    mean = codes.mean(dim=0)
    spread = float((codes - mean).square().sum(dim=1).mean().sqrt())
    mean_code = mean.to(G.w_mean.dtype).to(model.device)
    names = {id(module): name for name, module in G.named_modules()}
    used: dict[str, None] = {}

    def record(noise: Noise, x: Tensor) -> Tensor:
        used[names[id(noise)]] = None
        return noise.const

    with G.drawing(record):
        G.synthesize(mean_code.expand(1, G.num_ws, -1), model.stage)
    return FrozenGenerator(
        G=G,
        stage=model.stage,
        label=one_hot,
        mean=mean_code,
        spread=spread,
        mapped=model.has_mapping,
        noises=tuple(used),
        digest=model.header.digest,
        seed=seed,
    )


class Projection:
    """The search for the latents of a batch of images: its variables, Adam's moments, and the losses so far.

    Args:
        generator: makes the images
        projector: says what is searched for, and how images are compared
        target: [N, C, H, W] in [-1, 1], of the size that the generator makes now
        frames: number of style codes on the way that are kept for a film; 0 for none
    """

    def __init__(self, generator: FrozenGenerator, projector: Projector, target: Image, frames: int = 0) -> None:
        device, count = generator.mean.device, len(target)
        self.generator, self.projector = generator, projector.to(device).eval().requires_grad_(False)
        self.target = target.to(generator.mean)
        with torch.no_grad():
            self.wanted = projector.perceptual(self.target)  # features of the targets
            start = projector.begin(generator, self.target)
        self.variables = {name: t.detach().clone().requires_grad_() for name, t in start.items()}
        self.adam = torch.optim.Adam(list(self.variables.values()), lr=0.0, betas=projector.betas, eps=projector.eps)
        self.step = 0
        self.every = max(1, projector.steps // frames) if frames else 0  # steps between two frames
        self._losses: list[PerSample] = []
        self._trail: list[Styles] = []
        self.best = torch.full((count,), torch.inf, device=device)  # smallest loss of each image
        self.best_at = torch.zeros(count, dtype=torch.int64, device=device)  # step of that loss
        self.ended = torch.full((count,), -1, dtype=torch.int64, device=device)  # number of steps; -1 while it goes on

    @property
    def done(self) -> bool:
        """Whether the search of every image has ended."""
        converged = self.projector.patience is not None and bool((self.ended >= 0).all())
        return self.step >= self.projector.steps or converged

    @property
    def lengths(self) -> list[int]:
        """Number of steps of each image's search so far."""
        return [self.step if ended < 0 else ended for ended in self.ended.tolist()]

    @property
    def losses(self) -> Tensor:
        """The losses before each step so far, [steps, N]; an image whose search has ended repeats its last."""
        return torch.stack(self._losses).cpu() if self._losses else torch.zeros(0, len(self.target))

    def advance(self) -> PerSample:
        """Take one step, and return the losses before it, [N]."""
        projector = self.projector
        if self.every and self.step % self.every == 0:
            self._trail.append(self.codes())
        for group in self.adam.param_groups:
            group["lr"] = projector.lr(self.step)
        loss = self._loss()
        self.adam.zero_grad(set_to_none=True)
        loss.sum().backward()
        may_end = projector.patience is not None
        before = [t.detach().clone() for t in self.variables.values()] if may_end else []
        self.adam.step()
        losses = loss.detach()
        with torch.no_grad():
            projector.after_step(self.variables)
            if may_end:
                losses = self._end_converged(losses, before)
        self._losses.append(losses)
        self.step += 1
        return losses

    def _loss(self) -> PerSample:
        """The loss that is minimised, [N]."""
        projector, generator = self.projector, self.generator
        latent = projector.perturbed(generator, self.variables["latent"], self.step)
        images = generator.images(generator.codes(latent), self.variables)
        loss = projector.lambda_mse * (images - self.target).square().flatten(1).mean(dim=1)
        if projector.lambda_percept:
            loss = loss + projector.lambda_percept * projector.perceptual.distance(images, self.wanted)
        penalty = projector.penalty(self.variables)
        return loss if penalty is None else loss + penalty

    def _end_converged(self, loss: PerSample, before: Sequence[Tensor]) -> PerSample:
        """Undo the step of images whose search has ended, and end that of images that no longer improve.

        Args:
            loss: [N], before the step
            before: the variables before the step

        Returns the losses, [N], with the last one of images whose search had ended.
        """
        over = self.ended >= 0
        for t, previous in zip(self.variables.values(), before):
            t[over] = previous[over]
        better = loss < self.best * (1 - self.projector.improvement)
        self.best_at = torch.where(better & ~over, self.step, self.best_at)
        self.best = torch.where(better & ~over, loss, self.best)
        assert self.projector.patience is not None
        ends = ~over & (self.step - self.best_at >= self.projector.patience)
        self.ended = torch.where(ends, self.step + 1, self.ended)
        return torch.where(over, self._losses[-1], loss) if self._losses else loss

    @torch.no_grad()
    def codes(self) -> Styles:
        """The style codes, [N, L, W]."""
        return self.generator.codes(self.variables["latent"].detach()).clone()

    @torch.no_grad()
    def images(self, *, stored: bool = False) -> Image:
        """The codes' images, [N, C, H, W] on the CPU, each computed by itself.

        Args:
            stored: with the generator's stored noise, where noise was searched for too
        """

        def image(code: Styles, i: int) -> Image:
            variables = {} if stored else {name: t[i : i + 1].detach() for name, t in self.variables.items()}
            return self.generator.images(code, variables).cpu()

        codes = self.codes()
        return torch.cat([one_by_one(partial(image, i=i), codes[i : i + 1]) for i in range(len(codes))])

    @property
    def trail(self) -> Tensor:
        """Style codes on the way and at the end, [N, frames, L, W]."""
        return torch.stack([*self._trail, self.codes()], dim=1).cpu()

    # --- state -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs, on the CPU."""
        state = {"step": torch.tensor(self.step), "losses": self.losses}
        state |= {"best": self.best, "best_at": self.best_at, "ended": self.ended}
        if self._trail:
            state["trail"] = torch.stack(self._trail)
        for name, t in self.variables.items():
            state[f"variable.{name}"] = t.detach()
            state |= {f"adam.{key}.{name}": value for key, value in self.adam.state.get(t, {}).items()}
        return {name: t.cpu().clone() for name, t in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the state of a search for the same images."""
        device = self.target.device
        self.step = int(state["step"])
        self._losses = list(state["losses"].to(device).unbind())
        self._trail = list(state["trail"].to(device).unbind()) if "trail" in state else []
        self.best, self.best_at, self.ended = (state[name].to(device) for name in ("best", "best_at", "ended"))
        with torch.no_grad():
            for name, t in self.variables.items():
                t.copy_(state[f"variable.{name}"])
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    if (value := state.get(f"adam.{key}.{name}")) is not None:
                        self.adam.state[t][key] = value.clone() if key == "step" else value.to(device, copy=True)
