"""VGG-16 and VGG-19, the networks of LPIPS, perceptual losses and style transfer (arXiv:1409.1556, columns D and E).

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

from ganzoo.errors import DataError, RecipeError
from ganzoo.foreign.published import Published, fit
from ganzoo.types import Image, Maps

Depth = Literal[16, 19]
Padding = Literal["zeros", "reflect"]
Pool = Literal["max", "average"]
CONVS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions in each block
WIDTHS = (64, 128, 256, 512, 512)  # channels of each block
DENSE = 4096  # width of the first two dense layers

# ImageNet's mean and standard deviation, for images in [-1, 1]; LPIPS calls them shift and scale
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


def _published(depth: Depth, sha256: str, size: int) -> Published:
    file = f"vgg{depth}-{sha256[:8]}.pth"  # the published name contains the beginning of the hash
    url = f"https://download.pytorch.org/models/{file}"
    return Published(
        file=file,
        own=f"vgg{depth}.safetensors",
        sha256=sha256,
        url=url,
        size=size,
        licence="BSD-3-Clause, trained on ImageNet, whose images are for research that is not commercial",
        how=f"Say 'gz metrics fetch vgg{depth}', or curl -L --create-dirs -o '{{path}}' {url}",
        name=f"VGG-{depth}",
    )


FILES = {
    16: _published(16, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", 553_433_881),
    19: _published(19, "dcbb9e9d", 574_673_361),
}


def layers(depth: Depth) -> list[str]:
    """Return the names of all layers, conv1_1, relu1_1, ... pool5; the i-th is features.i of the state dict."""
    names = []
    for block, convs in enumerate(CONVS[depth], 1):
        names += [f"{kind}{block}_{i}" for i in range(1, convs + 1) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return names


def plan(names: Sequence[str]) -> tuple[int, ...]:
    """Return the widths of the convolutions among layers, in order, with 0 where the size is halved."""
    shown = [name for name in names if not name.startswith("relu")]
    return tuple(0 if name.startswith("pool") else WIDTHS[int(name[4]) - 1] for name in shown)


class VGG(nn.Module):
    """The convolutions of VGG: 3x3 in five blocks of 64, 128, 256, 512, 512 channels, the size halved after each block.

    Args:
        depth: 16 or 19
        last: the layer it is built up to
        padding: values beyond the border: zeros as published, or the reflected maps of style transfer
        pool: how blocks are halved: the maximum as published, or the average of Gatys (arXiv:1508.06576, section 2)

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

    def least(self, layers: Iterable[str]) -> int:
        """Pixels that a side must have for these layers to be of one pixel at least."""
        used = self.layers[: max(map(self._index, layers), default=-1) + 1]
        halved, convolved = 0, 0
        for name in used:
            halved += name.startswith("pool")
            convolved = halved if name.startswith("conv") else convolved
        reflected = 2 if self.padding == "reflect" else 1  # one pixel has no neighbour to reflect
        return max(2**halved, reflected * 2**convolved)

    def forward(self, x: Maps, layers: Sequence[str]) -> dict[str, Maps]:
        """Return the maps of the named layers, of normalised images [N, 3, H, W]; computed as far as the last of them.

        Raises:
            RecipeError: there is no such layer, or it was not built
            DataError: the images are too small
        """
        if min(x.shape[2:]) < (least := self.least(layers)):
            raise DataError(
                f"VGG-{self.depth} needs images of {least}x{least} pixels at least: "
                f"{x.shape[3]}x{x.shape[2]} is too small."
            )
        maps: dict[str, Maps] = {}
        stop = max(map(self._index, layers), default=-1) + 1
        for name, module in zip(self.layers[:stop], self.features):
            if name.startswith("relu"):  # in place, unless the convolution's own output is kept
                x = F.relu(x, inplace=name.replace("relu", "conv") not in layers)
            else:
                x = module(x)
            if name in layers:
                maps[name] = x
        return {name: maps[name] for name in layers}


class DenseVGG(VGG):
    """VGG-16 with its first two dense layers, which take 7x7 maps; names as in torchvision's state dict."""

    def __init__(self) -> None:
        super().__init__(16)
        fc1, fc2 = nn.Linear(WIDTHS[-1] * 49, DENSE), nn.Linear(DENSE, DENSE)
        self.classifier = nn.Sequential(fc1, nn.ReLU(), nn.Identity(), fc2, nn.ReLU())  # dropout was the third

    def dense(self, x: Maps) -> Tensor:
        """Return fc2 after its ReLU, [N, 4096], of images [N, 3, H, W]; the last maps are averaged to 7x7."""
        return self.classifier(F.adaptive_avg_pool2d(self(x, ["pool5"])["pool5"], 7).flatten(1))


def imagenet(x: Image) -> Maps:
    """Subtract ImageNet's mean from images [N, 3, H, W] in [-1, 1] and divide by its deviation; channels last.

    A CPU convolves fastest in that memory format.
    """
    shift, scale = (x.new_tensor(v)[:, None, None] for v in (SHIFT, SCALE))
    return ((x - shift) / scale).contiguous(memory_format=torch.channels_last)


def frozen(make: Callable[[], VGG], tensors: Mapping[str, Tensor], path: Path, published: Published) -> VGG:
    """Build the network with a file's tensors, without dense layers, LPIPS's weights and layers beyond its last."""
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
    """Build the frozen network with torchvision's weights from the user's file.

    Args:
        depth: 16 or 19
        weights: the file; None for the published one, or a safetensors copy of it, in the cache directory
        sha256: what its hash must begin with; "" for the published one, where the file has its published name
        noun: kind of what needs it, for error messages: "extractor"
        name: name of what needs it
        last: the layer it is built up to
        padding: see VGG
        pool: see VGG

    Raises:
        CheckpointError: the file is missing or wrong; it says what to put where
        RecipeError: there is no such layer
    """
    published = replace(FILES[depth], noun=noun, name=name)
    tensors, path = published.load(weights, sha256)
    return frozen(lambda: VGG(depth, last=last, padding=padding, pool=pool), tensors, path, published)
