"""Edits of style codes: morph, crossover, transfer (arXiv:1904.03189, section 5), and moves along directions.

    frames = morph(a, b, 60)
    ws = crossover(content, style, split(model.G.num_ws))
    offsets = directions(model, range(4), 5).offsets
    moved = apply(ws, offsets[0], 2.0)

All are functions of codes [N, L, W], or of the matrices through which codes enter the layers; no image is needed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganzoo.errors import UsageError
from ganzoo.interfaces.layers import Styleable
from ganzoo.model.model import Model
from ganzoo.registry.arguments import checked_arguments
from ganzoo.types import Styles
from ganzoo_editing.latent_walk import slerp


@checked_arguments
def morph(a: Styles, b: Styles, n: int, *, arc: bool = False) -> Styles:
    """n codes [n, L, W] from a to b, both [1, L, W]; the first and the last are a and b, bitwise.

    w = (1 - λ) a + λ b, with λ from 0 to 1; with `arc`, along the great circle, for codes that are latents on a sphere.
    Raises UsageError for fewer than two codes.
    """
    if n < 2:
        raise UsageError(f"a morph of {n} frames: its ends are two.")
    interpolate = slerp if arc else torch.lerp
    return torch.cat([a, *(interpolate(a, b, i / (n - 1)) for i in range(1, n - 1)), b])


@checked_arguments
def split(layers: int) -> int:
    """Number of a generator's layers that give the content: half of them, as the published 9 of 18."""
    return layers // 2


@checked_arguments
def crossover(content: Styles, style: Styles, k: int) -> Styles:
    """The first k layers of `content` and the rest of `style`, all [N, L, W].

    The first layers decide on shape, the last ones on colours and texture. k = 0 gives `style`, k = L gives `content`.
    Raises UsageError where k is out of range.
    """
    layers = content.shape[1]
    if not 0 <= k <= layers:
        raise UsageError(f"crossover after {k} layers: choose from 0 to {layers}.")
    return torch.cat([content[:, :k], style[:, k:]], dim=1)


@checked_arguments
def transfer(target: Styles, neutral: Styles, expressive: Styles, strength: float, threshold: float = 0.0) -> Styles:
    """target + strength * (expressive - neutral): the difference of two images of one subject, put on another one.

    Args:
        target: [N, L, W]; with strength 0 it is returned as it is, bitwise
        neutral: [1, L, W]
        expressive: [1, L, W], of the same subject
        strength: 1 for all of the difference
        threshold: smallest difference of a channel (one of W), as an L2 norm over the layers, for which it moves
    """
    difference = expressive - neutral
    moves = difference.norm(dim=1, keepdim=True) >= threshold
    return apply(target, difference * moves, strength)


@checked_arguments
def apply(ws: Styles, offset: Styles, strength: float) -> Styles:
    """ws + strength * offset, [N, L, W]; ws itself, bitwise, with strength 0."""
    return ws + strength * offset if strength else ws


@dataclass(frozen=True)
class Directions:
    """Directions in which to move codes, sorted by how much they change the modulation, largest first.

    Args:
        offsets: [D, L, W], a unit vector in the chosen layers, 0 in the others
        changes: [D], norm of the change of the chosen layers' modulation, per unit
    """

    offsets: Tensor
    changes: Tensor


@checked_arguments
def directions(model: Model, layers: Iterable[int], count: int) -> Directions:
    """Closed-form factorization (SeFa, arXiv:2007.06600): eigenvectors of AᵀA.

    A stacks the matrices [M, W] through which a code enters the chosen layers. Nothing is trained and no image is
    drawn. Raises UsageError where a layer has no such matrix, or where there are fewer directions than `count`.
    """
    chosen = sorted(set(layers))
    matrices = modulations(model)
    for layer in chosen:
        if layer not in matrices:
            raise UsageError(
                f"no matrix is known through which a style code enters it in {model.path}",
                place=f"layer {layer}:",
                cure=f"choose from {', '.join(map(str, matrices)) or 'none'}",
            )
    vectors, changes = factorized([weight for layer in chosen for weight in matrices[layer]])
    if not 1 <= count <= len(vectors):
        raise UsageError(f"{count} directions: choose from 1 to {len(vectors)}, the length of a style code.")
    offsets = torch.zeros(count, model.G.num_ws, vectors.shape[1])
    offsets[:, chosen] = vectors[:count, None].float()
    return Directions(offsets, changes[:count].float())


def factorized(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Right singular vectors [W, W] of stacked matrices [M, W], in rows, and singular values [W], largest first.

    The entry of largest magnitude of each vector is positive. float64.
    """
    stacked = torch.cat([weight.detach().cpu().double() for weight in weights])
    squares, vectors = torch.linalg.eigh(stacked.T @ stacked)
    vectors = vectors.T.flip(0)
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign(), squares.flip(0).clamp(min=0).sqrt()


@torch.no_grad()
def modulations(model: Model) -> dict[int, list[Tensor]]:
    """{layer: matrices [M, W]} through which the style code of each layer in use enters a generator of any kind.

    The generator runs once with another random code for each layer, and each module that takes a code is asked for its
    matrix: the code that it got says which layer it belongs to.
    """
    matrices: dict[int, list[Tensor]] = {}
    shape = (1, model.G.num_ws, model.G.w_mean.shape[0])
    ws = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device)

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weight = module.style_weight() if isinstance(module, Styleable) else None
        layers = [i for i in range(shape[1]) if torch.equal(inputs[-1], ws[:, i])]
        if weight is not None and layers:
            matrices.setdefault(layers[0], []).append(weight)

    modules = [module for module in model.G.modules() if isinstance(module, Styleable)]
    hooks = [module.register_forward_pre_hook(record) for module in modules]
    try:
        model.render(ws, noise="none")
    finally:
        for hook in hooks:
            hook.remove()
    return dict(sorted(matrices.items()))
