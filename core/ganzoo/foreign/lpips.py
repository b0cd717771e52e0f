"""LPIPS v0.1 on VGG-16 (arXiv:1801.03924): its layers, its linear weights, and its distance as one of vectors."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ganzoo.errors import CheckpointError
from ganzoo.foreign import vgg
from ganzoo.foreign.published import Published
from ganzoo.types import Maps

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
LINEAR_URL = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth"
LINEAR = Published(
    file="lpips-v0.1-vgg.pth",
    own="lpips-v0.1-vgg.safetensors",
    sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    url=LINEAR_URL,
    size=7_289,
    licence="BSD-2-Clause",
    how="It is lpips/weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity: "
    f"curl -L --create-dirs -o '{{path}}' {LINEAR_URL}",
    name="LPIPS",
    option="lpips",
)


def linear_weights(tensors: Mapping[str, Tensor], path: Path, published: Published = LINEAR) -> list[Tensor]:
    """Return LPIPS's weights of the channels of each layer: five float32 vectors, at least 0.

    They may be called lin0, lin0.weight or, as published, lin0.model.1.weight. Raises CheckpointError.
    """
    vectors = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"lin(\d)(\.model\.1)?(\.weight)?", name):
            vectors[int(match[1])] = tensor.detach().float().flatten()
    shapes = [tuple(vectors[i].shape) for i in sorted(vectors)]
    if shapes != [(width,) for width in vgg.WIDTHS] or sorted(vectors) != list(range(len(vgg.WIDTHS))):
        raise CheckpointError(
            f"{path} does not hold LPIPS's five weight vectors lin0 to lin4 of "
            f"{', '.join(map(str, vgg.WIDTHS))} channels. {published.how_short()}"
        )
    if any(not (t >= 0).all() or not t.isfinite().all() for t in vectors.values()):
        raise CheckpointError(
            f"{path}: LPIPS's weights are not negative, and some of these are. {published.how_short()}"
        )
    return [vectors[i] for i in range(len(vgg.WIDTHS))]


def lpips_vector(maps: Sequence[Maps], weights: Sequence[Tensor]) -> Tensor:
    """Return vectors whose squared distance is that of LPIPS v0.1 (arXiv:1801.03924, eq. 1).

    Feature vectors get unit length, each channel the root of its weight, each pixel 1 / sqrt(H W).

    Args:
        maps: [N, C_l, H_l, W_l] of each layer
        weights: [C_l] of each layer, at least 0

    Returns:
        [N, sum of C_l H_l W_l]
    """
    parts = []
    for x, weight in zip(maps, weights):
        unit = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)
        root = (weight.to(x.dtype) / (x.shape[2] * x.shape[3])).sqrt()
        parts.append((unit * root[:, None, None]).flatten(1))
    return torch.cat(parts, dim=1)
