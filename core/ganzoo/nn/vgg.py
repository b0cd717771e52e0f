"""VGG-16 and VGG-19, through which LPIPS, perceptual losses and style transfer look (arXiv:1409.1556, columns D and E).

Layers have the literature's names: conv1_1 before its ReLU, relu1_1 after it, pool1. The state dict has torchvision's:
features.0.weight.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, DataError, RecipeError
from ganzoo.types import Image, Maps
from ganzoo.weights import Published, fit

Depth = Literal[16, 19]
Padding = Literal["zeros", "reflect"]
Pool = Literal["max", "average"]

CONVS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # of each block
WIDTHS = (64, 128, 256, 512, 512)
# ImageNet's mean and standard deviation, for images in [-1, 1]; LPIPS calls them shift and scale
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LPIPS_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


def _torchvision(depth: Depth, sha256: str) -> Published:
    return Published(
        file=f"vgg{depth}-{sha256}.pth",
        own=f"vgg{depth}.safetensors",
        sha256=sha256,  # as its published name says
        how=f"It is torchvision's: python -c \"import torchvision; torchvision.models.vgg{depth}("
        "weights='IMAGENET1K_V1')\" leaves it in ~/.cache/torch/hub/checkpoints; copy it to {path}.",
        name=f"VGG-{depth}",
    )


FILES = {16: _torchvision(16, "397923af"), 19: _torchvision(19, "dcbb9e9d")}
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


def layers(depth: Depth) -> list[str]:
    """Names of all layers in their order: conv1_1, relu1_1, ... pool5. The i-th is features.i of the state dict."""
    names = []
    for block, convs in enumerate(CONVS[depth], 1):
        names += [f"{kind}{block}_{i}" for i in range(1, convs + 1) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return names


class VGG(nn.Module):
    """The convolutions of VGG: 3x3 in five blocks of 64, 128, 256, 512, 512 maps, the size halved after each block.

    Args:
        depth: 16 or 19
        last: the layer it is built up to
        padding: what stands beyond the border: zeros as published, or the reflected maps of style transfer
        pool: how blocks are halved: the maximum as published, or the average of Gatys's (arXiv:1508.06576, section 2)

    Raises:
        RecipeError: there is no such layer
    """

    def __init__(
        self, depth: Depth = 16, *, last: str = "pool5", padding: Padding = "zeros", pool: Pool = "max"
    ) -> None:
        super().__init__()
        self.depth, self.padding = depth, padding
        self.layers = layers(depth)
        self.layers = self.layers[: self._index(last) + 1]
        modules: list[nn.Module] = []
        inputs = 3
        for name in self.layers:
            if name.startswith("conv"):
                width = WIDTHS[int(name[4]) - 1]
                modules.append(nn.Conv2d(inputs, width, 3, padding=1, padding_mode=padding))
                inputs = width
            elif name.startswith("relu"):
                modules.append(nn.ReLU())
            else:
                modules.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
        self.features = nn.Sequential(*modules)

    def _index(self, name: str) -> int:
        if name not in self.layers:
            raise RecipeError(
                f"VGG-{self.depth} has no layer '{name}' here. Choose one of {', '.join(self.layers)}.",
            )
        return self.layers.index(name)

    def least(self, taps: Iterable[str]) -> int:
        """Pixels that a side must have for these layers to be of one pixel at least."""
        used = self.layers[: max(map(self._index, taps), default=-1) + 1]
        halved, convolved = 0, 0
        for name in used:
            halved += name.startswith("pool")
            convolved = halved if name.startswith("conv") else convolved
        reflected = 2 if self.padding == "reflect" else 1  # one pixel has no neighbour to reflect
        return max(2**halved, reflected * 2**convolved)

    def forward(self, x: Maps, taps: Sequence[str]) -> dict[str, Maps]:
        """What the named layers give, of normalised images [N, 3, H, W]; computed as far as the last of them.

        Raises:
            RecipeError: there is no such layer, or it was not built
            DataError: the images are too small
        """
        if min(x.shape[2:]) < (least := self.least(taps)):
            raise DataError(
                f"VGG-{self.depth} needs images of {least}x{least} pixels at least: "
                f"{x.shape[3]}x{x.shape[2]} is too small."
            )
        found: dict[str, Maps] = {}
        stop = max(map(self._index, taps), default=-1) + 1
        for name, module in zip(self.layers[:stop], self.features):
            if name.startswith("relu"):  # in place, unless somebody keeps what the convolution gave
                x = F.relu(x, inplace=name.replace("relu", "conv") not in taps)
            else:
                x = module(x)
            if name in taps:
                found[name] = x
        return {tap: found[tap] for tap in taps}


def imagenet(x: Image) -> Maps:
    """Images [N, 3, H, W] in [-1, 1] less ImageNet's mean, over its deviation, laid out as a CPU convolves fastest."""
    shift, scale = (x.new_tensor(v)[:, None, None] for v in (SHIFT, SCALE))
    return ((x - shift) / scale).contiguous(memory_format=torch.channels_last)


def _frozen(make: Callable[[], VGG], tensors: Mapping[str, Tensor], path: Path, published: Published) -> VGG:
    """The network with a file's tensors; dense layers, LPIPS's weights and layers beyond the last are left out."""
    with torch.device("meta"):
        net = make()
        beyond = VGG(net.depth).state_dict().keys() - net.state_dict().keys()
    kept = {n: t for n, t in tensors.items() if n not in beyond and not re.fullmatch(r"lin\d.*|classifier\..*", n)}
    return fit(make, kept, path, published)


def load(
    depth: Depth,
    weights: Path | None = None,
    sha256: str = "",
    *,
    noun: str,
    name: str,
    last: str = "pool5",
    padding: Padding = "zeros",
    pool: Pool = "max",
) -> VGG:
    """The frozen network with torchvision's weights from the user's file.

    Args:
        depth: 16 or 19
        weights: the file; None for the published one, or a safetensors copy of it, in the cache directory
        sha256: what its hash must begin with; "" for the published one, where the file has its published name
        noun: what needs it, for the sentences: "perceptual loss"
        name: the name of what needs it
        last: the layer it is built up to
        padding: see VGG
        pool: see VGG

    Raises:
        CheckpointError: the file is missing or wrong; it says what to put where
        RecipeError: there is no such layer
    """
    published = replace(FILES[depth], noun=noun, name=name)
    tensors, path = published.load(weights, sha256)
    return _frozen(lambda: VGG(depth, last=last, padding=padding, pool=pool), tensors, path, published)


# --- LPIPS -----------------------------------------------------------------------------------------------------------


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
        self.net = _frozen(lambda: VGG(16, last="relu5_3"), tensors, path, published)
        inside = lpips is None and any(n.startswith("lin") for n in tensors)
        for i, weight in enumerate(linear_weights(*((tensors, path) if inside else linear.load(lpips)), linear)):
            self.register_buffer(f"lin{i}", weight)

    def forward(self, x: Image) -> Tensor:
        """[N, D] of images [N, 3, H, W] in [-1, 1]. Raises DataError where a side is under 16."""
        maps = self.net(imagenet(x), LPIPS_TAPS)
        return lpips_vector([maps[tap] for tap in LPIPS_TAPS], [self.get_buffer(f"lin{i}") for i in range(len(maps))])
