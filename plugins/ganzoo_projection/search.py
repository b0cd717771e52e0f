"""Real images into a generator's latent space: one optimization loop for all projectors.

    model = ganzoo.load("snapshot.safetensors")
    make = project.factory("image2stylegan", {"perceptual": "pixel", "steps": 500})
    search = Projection(project.view(model), make(model.G.shape.channels), targets)
    while not search.done:
        search.advance()
    ws, images = search.codes(), search.images()

Each image of a batch has variables of its own, losses are summed and Adam works number by number: what an image becomes
does not depend on its company, but for the rounding of sums of another batch size.
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

LATENTS, LATENTS_SEED = 10_000, 123  # of which the mean is taken (arXiv:1912.04958, appendix D, and its code)


def node(name: str, options: Mapping[str, Any]) -> Node:
    """A projector by name, its options checked. Raises RecipeError."""
    return component_from("projector", {"use": name, **options}, registry())


def factory(name: str, options: Mapping[str, Any] | None = None) -> "partial[Projector]":
    """What builds a projector for images of so many channels."""
    bound: partial[Projector] = node(name, options or {}).bind()
    return bound


@torch.no_grad()
def freeze(model: Model, label: LabelInput = None, seed: int = 0) -> FrozenGenerator:
    """A model as projectors see it. Raises UsageError where a conditional model gets no label, or another one does."""
    G, given = model.G, model.label(label)
    draws = np.random.RandomState(LATENTS_SEED).randn(LATENTS, G.z_dim)
    codes = [
        G.map(z.to(G.w_mean), None if given is None else given.expand(len(z), -1)).cpu().double()
        for z in torch.from_numpy(draws).float().split(1000)
    ]
    many = torch.cat(codes)
    mean = many.mean(dim=0)
    spread = float((many - mean).square().sum(dim=1).mean().sqrt())
    at = mean.to(G.w_mean.dtype).to(model.device)
    known = {id(module): name for name, module in G.named_modules()}
    used: dict[str, None] = {}

    def draw(noise: Noise, x: Tensor) -> Tensor:
        used[known[id(noise)]] = None
        return noise.const

    with G.drawing(draw):
        G.synthesize(at.expand(1, G.num_ws, -1), model.stage)
    return FrozenGenerator(G, model.stage, given, at, spread, model.has_mapping, tuple(used), model.header.digest, seed)


class Projection:
    """Images being projected side by side: variables, Adam's moments, losses, and how far it is.

    Args:
        view: the generator
        projector: what is searched for, and how images are compared
        target: [N, C, H, W] in [-1, 1], of the size that the generator makes now
        frames: how many style codes on the way are kept, for a film
    """

    def __init__(self, view: FrozenGenerator, projector: Projector, target: Image, frames: int = 0) -> None:
        device, count = view.mean.device, len(target)
        self.view, self.projector = view, projector.to(device).eval().requires_grad_(False)
        self.target = target.to(view.mean)
        with torch.no_grad():
            self.wanted = projector.perceptual(self.target)
            begun = projector.begin(view, self.target)
        self.variables = {name: t.detach().clone().requires_grad_() for name, t in begun.items()}
        self.adam = torch.optim.Adam(list(self.variables.values()), lr=0.0, betas=projector.betas, eps=projector.eps)
        self.step = 0
        self.every = max(1, projector.steps // frames) if frames else 0  # steps between two frames
        self._losses: list[PerSample] = []
        self._trail: list[Styles] = []
        self.best = torch.full((count,), torch.inf, device=device)
        self.best_at = torch.zeros(count, dtype=torch.int64, device=device)
        self.ended = torch.full((count,), -1, dtype=torch.int64, device=device)  # after how many steps; -1: it goes on

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        stops = self.projector.patience is not None and bool((self.ended >= 0).all())
        return self.step >= self.projector.steps or stops

    @property
    def lengths(self) -> list[int]:
        """Steps that each image's search took, so far."""
        return [self.step if ended < 0 else ended for ended in self.ended.tolist()]

    @property
    def losses(self) -> Tensor:
        """[steps, N], so far; an image whose search has ended repeats its last."""
        return torch.stack(self._losses).cpu() if self._losses else torch.zeros(0, len(self.target))

    def advance(self) -> PerSample:
        """One step; returns the losses before it, [N]."""
        projector = self.projector
        if self.every and self.step % self.every == 0:
            self._trail.append(self.codes())
        for group in self.adam.param_groups:
            group["lr"] = projector.lr(self.step)
        loss = self._loss()
        self.adam.zero_grad(set_to_none=True)
        loss.sum().backward()
        stops = projector.patience is not None
        before = [t.detach().clone() for t in self.variables.values()] if stops else []
        self.adam.step()
        found = loss.detach()
        with torch.no_grad():
            projector.after_step(self.variables)
            if stops:
                found = self._stay(found, before)
        self._losses.append(found)
        self.step += 1
        return found

    def _loss(self) -> PerSample:
        """What is minimised, [N]."""
        projector, view = self.projector, self.view
        latent = projector.perturbed(view, self.variables["latent"], self.step)
        images = view.images(view.codes(latent), self.variables)
        loss = projector.lambda_mse * (images - self.target).square().flatten(1).mean(dim=1)
        if projector.lambda_percept:
            loss = loss + projector.lambda_percept * projector.perceptual.distance(images, self.wanted)
        penalty = projector.penalty(self.variables)
        return loss if penalty is None else loss + penalty

    def _stay(self, loss: PerSample, before: Sequence[Tensor]) -> PerSample:
        """Set back those whose search has ended, and see whose ends now."""
        over = self.ended >= 0
        for t, was in zip(self.variables.values(), before):
            t[over] = was[over]
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
        return self.view.codes(self.variables["latent"].detach()).clone()

    @torch.no_grad()
    def images(self, *, stored: bool = False) -> Image:
        """The codes' images, [N, C, H, W] on the CPU, each computed alone; with `stored`, by the generator's noise."""
        codes, made = self.codes(), []
        for i in range(len(codes)):
            own = {} if stored else {name: t[i : i + 1].detach() for name, t in self.variables.items()}
            made.append(one_by_one(lambda one, own=own: self.view.images(one, own).cpu(), codes[i : i + 1]))  # type: ignore[misc]
        return torch.cat(made)

    @property
    def trail(self) -> Tensor:
        """Style codes on the way, [N, frames, L, W], and those at the end."""
        return torch.stack([*self._trail, self.codes()], dim=1).cpu()

    # --- what it continues from --------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """All that `restore` needs."""
        found = {"step": torch.tensor(self.step), "losses": self.losses}
        found |= {"best": self.best, "best_at": self.best_at, "ended": self.ended}
        if self._trail:
            found["trail"] = torch.stack(self._trail)
        for name, t in self.variables.items():
            found[f"variable.{name}"] = t.detach()
            found |= {f"adam.{key}.{name}": value for key, value in self.adam.state.get(t, {}).items()}
        return {name: t.cpu().clone() for name, t in found.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue where a search for the same images stood."""
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
