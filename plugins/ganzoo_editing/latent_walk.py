"""Latent walks: from keyframe to keyframe through the latents, or through the style codes.

    keys = keyframes(model, [latents(range(6), model.G.z_dim)])
    walk = Walk(model, keys[None], frames=60)
    walk.frame(60)      # exactly the image of seed 1

Through z, latents move along the great circle between two keyframes (slerp), with lengths between theirs: a straight
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
    """Spherical interpolation over the last axis, t from 0 at a to 1 at b; lengths are interpolated linearly."""
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp(min=1e-20), b / length_b.clamp(min=1e-20)
    angle = (unit_a * unit_b).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    unit = ((1 - t) * angle).sin() / angle.sin() * unit_a + (t * angle).sin() / angle.sin() * unit_b
    no_arc = angle.sin() < 1e-4  # parallel, or opposite: no great circle is the shortest
    return torch.where(no_arc, a.lerp(b, t), unit * length_a.lerp(length_b, t))


def spline(before: Tensor, a: Tensor, b: Tensor, after: Tensor, t: float) -> Tensor:
    """Catmull-Rom spline through four points, t from 0 at a to 1 at b."""
    tangent_a, tangent_b = (b - before) / 2, (after - a) / 2
    bend = 3 * (b - a) - 2 * tangent_a - tangent_b
    return a + t * (tangent_a + t * (bend + t * (tangent_a + tangent_b - 2 * (b - a))))


@dataclass(frozen=True)
class Walk:
    """The frames of a walk; each is computed when it is asked for.

    Args:
        model: makes the images
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
        count = self.keys.shape[1]
        return count * self.frames if self.loop else (count - 1) * self.frames + 1

    def place(self, cell: int, index: int) -> Tensor:
        """The latent [1, Z], or the style codes [1, L, W], of a frame in a cell."""
        count = self.keys.shape[1]
        start, step = divmod(index, self.frames)

        def key(i: int) -> Tensor:
            i = i % count if self.loop else min(max(i, 0), count - 1)
            return self.keys[cell, i : i + 1]

        if step == 0:  # the keyframe itself, to the bit
            return key(start)
        t = step / self.frames
        if self.keys.ndim == 3:
            return slerp(key(start), key(start + 1), t)
        return spline(key(start - 1), key(start), key(start + 1), key(start + 2), t)

    def frame(self, index: int) -> Pixels:
        """uint8 [cells, C, H, W]; a negative index counts from the end. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        images = []
        for cell in range(len(self.keys)):
            codes = self.place(cell, index % len(self))
            codes = codes if codes.ndim == 3 else self.model.map(codes, self.label)
            ws = self.model.truncate(codes, self.psi, self.cutoff)
            images.append(self.model.pixels(self.model.render(ws, noise=self.noise)))
        return np.concatenate(images)


def keyframes(model: Model, sources: Sequence[Tensor], space: Space | None = None, label: LabelInput = None) -> Tensor:
    """Keyframes of a walk: latents [K, Z], or style codes [K, L, W].

    Args:
        model: makes the images
        sources: latents [N, Z] or style codes [N, L, W], one after the other
        space: where the walk goes; None for w where the layers of the generator have styles, or a source holds style
            codes, else z
        label: class number or label vector, for latents of a conditional model

    Raises UsageError where style codes shall be latents.
    """
    has_codes = any(keys.ndim == 3 for keys in sources)
    if space == "z" and has_codes:
        raise UsageError("--space z: --latents holds style codes, which have no latent: choose --space w.")
    if (space or ("w" if has_codes or len(model.styled) > 1 else "z")) == "z":
        return torch.cat(list(sources))
    return torch.cat([keys.to(model.device) if keys.ndim == 3 else model.map(keys, label) for keys in sources])
