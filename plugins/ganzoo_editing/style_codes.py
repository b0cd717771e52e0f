"""What can be done with style codes: morph, crossover, transfer (arXiv:1904.03189, section 5), and directions.

    frames = morph(a, b, 60)
    ws = crossover(content, style, split(model.G.num_ws))
    found = directions(model, range(4), 5)
    moved = apply(ws, found.offsets[0], 2.0)

All are functions of codes [N, L, W], or of the matrices through which codes enter; no image is looked at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganzoo.errors import UsageError
from ganzoo.interfaces.layers import Styleable
from ganzoo.model.model import Model
from ganzoo.types import Styles
from ganzoo_editing.latent_walk import slerp


def morph(a: Styles, b: Styles, n: int, *, arc: bool = False) -> Styles:
    """n codes [n, L, W] from a to b, both [1, L, W]; the first and the last are a and b, bitwise.

    w = (1 - λ) a + λ b, with λ from 0 to 1; or along the great circle, for codes that are latents on a sphere.
    """
    if n < 2:
        raise UsageError(f"a morph of {n} frames: its ends are two.")
    way = slerp if arc else torch.lerp
    return torch.cat([a, *(way(a, b, i / (n - 1)) for i in range(1, n - 1)), b])


def split(layers: int) -> int:
    """How many of a generator's layers give the content: 9 of 18, as published, scaled to what there are."""
    return layers // 2


def crossover(content: Styles, style: Styles, k: int) -> Styles:
    """The first k layers of `content`, the rest of `style`: all from `style` with k = 0, all from `content` with k = L.

    The first layers decide on shape, the last ones on colours and texture. Raises UsageError where k is out of range.
    """
    layers = content.shape[1]
    if not 0 <= k <= layers:
        raise UsageError(f"crossover after {k} layers: choose from 0 to {layers}.")
    return torch.cat([content[:, :k], style[:, k:]], dim=1)


def transfer(target: Styles, neutral: Styles, expressive: Styles, strength: float, threshold: float = 0.0) -> Styles:
    """target + strength * (expressive - neutral): what changes between two images of one subject, on another one.

    Args:
        target: [N, L, W]; with strength 0 it stays what it is, bitwise
        neutral: [1, L, W]
        expressive: [1, L, W], of the same subject
        strength: 1 for all of the difference
        threshold: a channel of the code (one of W) moves only where its difference, as an L2 norm over the layers, is
            at least this
    """
    difference = expressive - neutral
    far = difference.norm(dim=1, keepdim=True) >= threshold
    return apply(target, difference * far, strength)


def apply(ws: Styles, offset: Styles, strength: float) -> Styles:
    """ws + strength * offset, [N, L, W]; ws itself, bitwise, with strength 0."""
    return ws + strength * offset if strength else ws


@dataclass(frozen=True)
class Directions:
    """Directions in which to move codes, the one that changes the modulation most first."""

    offsets: Tensor  # [D, L, W]: a unit vector in the chosen layers, 0 in the others
    changes: Tensor  # [D]: by how much the modulation of the chosen layers changes, per unit


def directions(model: Model, layers: Iterable[int], count: int) -> Directions:
    """Closed-form factorization (SeFa, arXiv:2007.06600): eigenvectors of AᵀA.

    A stacks the matrices [M, W] through which a code enters the chosen layers. Nothing is trained and no image is
    drawn. Raises UsageError where a layer has no such matrix, or there are not so many directions.
    """
    chosen = sorted(set(layers))
    entering = modulations(model)
    for layer in chosen:
        if layer not in entering:
            raise UsageError(
                f"layer {layer}: no matrix is known through which a style code enters it in {model.path}: choose from "
                f"{', '.join(map(str, entering)) or 'none'}."
            )
    vectors, changes = factorized([weight for layer in chosen for weight in entering[layer]])
    if not 1 <= count <= len(vectors):
        raise UsageError(f"{count} directions: choose from 1 to {len(vectors)}, the length of a style code.")
    offsets = torch.zeros(count, model.G.num_ws, vectors.shape[1])
    offsets[:, chosen] = vectors[:count, None].float()
    return Directions(offsets, changes[:count].float())


def factorized(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Right singular vectors [W, W] of stacked matrices [M, W], in rows, and singular values [W], largest first.

    Signs are such that each vector's largest entry is positive. In float64.
    """
    stacked = torch.cat([weight.detach().cpu().double() for weight in weights])
    squares, vectors = torch.linalg.eigh(stacked.T @ stacked)
    vectors = vectors.T.flip(0)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign(), squares.flip(0).clamp(min=0).sqrt()


@torch.no_grad()
def modulations(model: Model) -> dict[int, list[Tensor]]:
    """{layer: matrices [M, W]}: through what each style code in use enters the generator, whatever it is made of.

    The generator runs once with another code for each layer, and each part that takes a code tells which one it got.
    """
    found: dict[int, list[Tensor]] = {}
    shape = (1, model.G.num_ws, model.G.w_mean.shape[0])
    ws = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device)

    def look(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weight = part.style_weight() if isinstance(part, Styleable) else None
        same = [i for i in range(shape[1]) if torch.equal(inputs[-1], ws[:, i])]
        if weight is not None and same:
            found.setdefault(same[0], []).append(weight)

    parts = [part for part in model.G.modules() if isinstance(part, Styleable)]
    hooks = [part.register_forward_pre_hook(look) for part in parts]
    try:
        model.render(ws, noise="none")
    finally:
        for hook in hooks:
            hook.remove()
    return dict(sorted(found.items()))
