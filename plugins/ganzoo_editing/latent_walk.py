"""Latent walks: from keyframe to keyframe through the latents, or through the style codes.

    keys = walk.gathered(model, [latents(range(6), model.G.z_dim)])
    film = Walk(model, keys[None], frames=60)
    film.frame(60)      # exactly the image of seed 1

Through z, latents turn along the great circle between two keyframes (slerp), with lengths between theirs: a straight
line would cut through the middle of the sphere on which normal latents lie, where no generator was trained. Through
w, which has no such shape, a Catmull-Rom spline passes each keyframe without a kink.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.interfaces import NoiseMode
from ganzoo.io.images import Pixels
from ganzoo.model.latent_files import Space
from ganzoo.model.model import LabelInput, Model


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """From a to b along the great circle, over the last axis; lengths change in a straight line."""
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    one, two = a / length_a.clamp(min=1e-20), b / length_b.clamp(min=1e-20)
    angle = (one * two).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    turned = ((1 - t) * angle).sin() / angle.sin() * one + (t * angle).sin() / angle.sin() * two
    flat = angle.sin() < 1e-4  # parallel, or opposite: no great circle is the shortest
    return torch.where(flat, a.lerp(b, t), turned * length_a.lerp(length_b, t))


def spline(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: float) -> Tensor:
    """From a to b on the Catmull-Rom spline through four points."""
    leave, arrive = (b - before) / 2, (after - a) / 2
    bend = 3 * (b - a) - 2 * leave - arrive
    return a + t * (leave + t * (bend + t * (leave + arrive - 2 * (b - a))))


@dataclass(frozen=True)
class Walk:
    """The frames of a walk; each is made when it is asked for.

    Args:
        model: what draws them
        keys: keyframes of each cell of the picture: latents [cells, K, Z], or style codes [cells, K, L, W]
        frames: steps from one keyframe to the next
        loop: return to the first keyframe; else end at the last
        psi: truncation
        cutoff: number of layers that are truncated; None for all
        label: class number or label vector, for latents of a conditional model
        noise: "const" or "none"; noise that is new in each frame flickers
    """

    model: Model
    keys: Tensor
    frames: int
    loop: bool = True
    psi: float = 1.0
    cutoff: int | None = None
    label: LabelInput = None
    noise: NoiseMode = "const"

    def __len__(self) -> int:
        stops = self.keys.shape[1]
        return stops * self.frames if self.loop else (stops - 1) * self.frames + 1

    def place(self, cell: int, index: int) -> Tensor:
        """The latent [1, Z], or the style codes [1, L, W], of a frame in a cell."""
        stops = self.keys.shape[1]
        stop, step = divmod(index, self.frames)

        def key(i: int) -> Tensor:
            i = i % stops if self.loop else min(max(i, 0), stops - 1)
            return self.keys[cell, i : i + 1]

        if step == 0:  # the keyframe itself, to the bit
            return key(stop)
        t = step / self.frames
        if self.keys.ndim == 3:
            return slerp(key(stop), key(stop + 1), t)
        return spline(key(stop - 1), key(stop), key(stop + 1), key(stop + 2), t)

    def frame(self, index: int) -> Pixels:
        """uint8 [cells, C, H, W]; a negative index counts from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        made = []
        for cell in range(len(self.keys)):
            at = self.place(cell, index % len(self))
            ws = self.model.truncate(at if at.ndim == 3 else self.model.map(at, self.label), self.psi, self.cutoff)
            made.append(self.model.pixels(self.model.render(ws, noise=self.noise)))
        return np.concatenate(made)


def gathered(model: Model, found: Sequence[Tensor], space: Space | None = None, label: LabelInput = None) -> Tensor:
    """Keyframes for a space: latents [K, Z], or style codes [K, L, W].

    Where no space is asked for, it is w if the layers of the generator have styles, else z.
    """
    coded = any(keys.ndim == 3 for keys in found)
    if space == "z" and coded:
        raise UsageError("--space z: --latents holds style codes, which have no latent: choose --space w.")
    if (space or ("w" if coded or len(model.styled) > 1 else "z")) == "z":
        return torch.cat(list(found))
    return torch.cat([keys.to(model.device) if keys.ndim == 3 else model.map(keys, label) for keys in found])
