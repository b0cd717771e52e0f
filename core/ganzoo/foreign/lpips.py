"""TODO docstring."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ganzoo.errors import CheckpointError
from ganzoo.foreign.published import Published
from ganzoo.foreign.vgg import FILES, VGG, WIDTHS, frozen, imagenet
from ganzoo.types import Image, Maps

LPIPS_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
LINEAR_URL = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth"
LINEAR = Published(
    file="lpips-v0.1-vgg.pth",
    own="lpips-v0.1-vgg.safetensors",
    sha256="",
    url=LINEAR_URL,
    how="It is lpips/weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity: "
    f"curl -L --create-dirs -o '{{path}}' {LINEAR_URL}",
    name="LPIPS",
    option="lpips",
)


def linear_weights(tensors: Mapping[str, Tensor], path: Path, published: Published = LINEAR) -> list[Tensor]:
    """LPIPS's weights of the channels of each tap: five float32 vectors, at least 0.

    They may be called lin0, lin0.weight or, as published, lin0.model.1.weight. Raises CheckpointError.
    """
    found = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"lin(\d)(\.model\.1)?(\.weight)?", name):
            found[int(match[1])] = tensor.detach().float().flatten()
    shapes = [tuple(found[i].shape) for i in sorted(found)]
    if shapes != [(width,) for width in WIDTHS] or sorted(found) != list(range(len(WIDTHS))):
        raise CheckpointError(
            f"{path} does not hold LPIPS's five weight vectors lin0 to lin4 of {', '.join(map(str, WIDTHS))} channels. "
            f"{published.how_short()}"
        )
    if any(not (t >= 0).all() or not t.isfinite().all() for t in found.values()):
        raise CheckpointError(
            f"{path}: LPIPS's weights are not negative, and some of these are. {published.how_short()}"
        )
    return [found[i] for i in range(len(WIDTHS))]


def lpips_vector(maps: Sequence[Maps], weights: Sequence[Tensor]) -> Tensor:
    """Vectors whose squared distance is that of LPIPS v0.1 (arXiv:1801.03924, eq. 1).

    Feature vectors get unit length, each channel the root of its weight, each pixel 1 / sqrt(H W).

    Args:
        maps: [N, C_l, H_l, W_l] of each tap
        weights: [C_l] of each tap, at least 0

    Returns:
        [N, sum of C_l H_l W_l]
    """
    parts = []
    for x, weight in zip(maps, weights):
        unit = x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)
        root = (weight.to(x.dtype) / (x.shape[2] * x.shape[3])).sqrt()
        parts.append((unit * root[:, None, None]).flatten(1))
    return torch.cat(parts, dim=1)


class LPIPS(nn.Module):
    """Images -> vectors whose squared distance is LPIPS v0.1 of VGG-16 (arXiv:1801.03924), frozen.

    Args:
        weights: file of VGG-16's weights; None for the published one in the cache directory
        lpips: file of the linear weights; None for those in the file of the weights, if it has lin0 to lin4, else for
            the published one in the cache directory
        sha256: what the first file's hash must begin with
        noun: what needs it, for the sentences: "extractor"
        name: the name of what needs it

    Raises:
        CheckpointError: a file is missing or wrong; it says what to put where
    """

    def __init__(self, weights: Path | None, lpips: Path | None, sha256: str = "", *, noun: str, name: str) -> None:
        super().__init__()
        published, linear = (replace(each, noun=noun, name=name) for each in (FILES[16], LINEAR))
        tensors, path = published.load(weights, sha256)
        self.net = frozen(lambda: VGG(16, last="relu5_3"), tensors, path, published)
        inside = lpips is None and any(n.startswith("lin") for n in tensors)
        for i, weight in enumerate(linear_weights(*((tensors, path) if inside else linear.load(lpips)), linear)):
            self.register_buffer(f"lin{i}", weight)

    def forward(self, x: Image) -> Tensor:
        """[N, D] of images [N, 3, H, W] in [-1, 1]. Raises DataError where a side is under 16."""
        maps = self.net(imagenet(x), LPIPS_TAPS)
        return lpips_vector([maps[tap] for tap in LPIPS_TAPS], [self.get_buffer(f"lin{i}") for i in range(len(maps))])
