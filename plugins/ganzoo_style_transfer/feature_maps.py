"""Networks through which a transfer looks, and what they are shown."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.foreign import vgg
from ganzoo.foreign.published import Published, fit
from ganzoo.io.hashes import fingerprint
from ganzoo.nn.random_convs import WIDTHS, RandomConvs
from ganzoo.registry.component import Make
from ganzoo.types import Image, Maps
from ganzoo_style_transfer.interfaces import FeatureMaps, StyleTask
from ganzoo_style_transfer.statistics import coral

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8,64})?$")]
CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red, of 255

NORMALISED = Published(
    file="vgg_normalised.pth",
    own="vgg_normalised.safetensors",
    sha256="",
    how="It is models/vgg_normalised.pth of github.com/naoto0804/pytorch-AdaIN (its README says where it is); "
    "copy it to {path}.",
    noun="network",
    name="vgg19-normalised",
)


def _plan(layers: Sequence[str]) -> tuple[int, ...]:
    """Widths of the convolutions among VGG's layers, 0 for a pool."""
    shown = [name for name in layers if not name.startswith("relu")]
    return tuple(0 if name.startswith("pool") else vgg.WIDTHS[int(name[4]) - 1] for name in shown)


def _through(layers: Sequence[str], last: str) -> tuple[str, ...]:
    return tuple(layers[: layers.index(last) + 1])


class VGG19(FeatureMaps, name="vgg19", paper="arXiv:1409.1556"):
    """VGG-19, through which Gatys et al. look (arXiv:1508.06576). Needs torchvision's file of weights.

    Args:
        pool: how blocks are halved: `max` as the weights were trained, `average` as Gatys et al. suggest
        preprocessing: what the weights expect: `torchvision` (RGB, ImageNet's mean and deviation), or `caffe` (BGR from
            0 to 255, mean subtracted) for weights of the original model under torchvision's names
        weights: the file, where it is not in the cache directory
        sha256: beginning of its hash, to be checked
    """

    layers: ClassVar[tuple[str, ...]] = _through(vgg.layers(19), "relu5_4")
    content: ClassVar[str] = "relu4_2"
    style: ClassVar[tuple[str, ...]] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    plan: ClassVar[tuple[int, ...]] = _plan(layers)
    needs_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        pool: vgg.Pool = "max",
        preprocessing: Literal["torchvision", "caffe"] = "torchvision",
        weights: Path | None = None,
        sha256: Sha256 = "",
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.net = vgg.load(19, weights, sha256, noun="network", name=self.name, last="relu5_4", pool=pool)
        self.fingerprint = fingerprint(self, pool, preprocessing)

    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """The maps of the named layers. Raises RecipeError or DataError."""
        return self.net(vgg.imagenet(x) if self.preprocessing == "torchvision" else caffe(x), layers)


def caffe(x: Image) -> Maps:
    """Images [N, 3, H, W] in [-1, 1] as BGR from 0 to 255, less the mean of ImageNet."""
    return ((x + 1) * 127.5).flip(1) - x.new_tensor(CAFFE_MEAN)[:, None, None]


class NormalisedVGG19(FeatureMaps, name="vgg19-normalised", paper="arXiv:1703.06868"):
    """VGG-19 up to relu4_1 with the weights called normalised, and reflected borders: AdaIN's encoder.

    A 1x1 convolution prepares the image, from 0 to 1, as the weights expect.

    Args:
        weights: the file, where it is not in the cache directory
        sha256: beginning of its hash, to be checked
    """

    layers: ClassVar[tuple[str, ...]] = _through(vgg.layers(19), "relu4_1")
    content: ClassVar[str] = "relu4_1"
    style: ClassVar[tuple[str, ...]] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    plan: ClassVar[tuple[int, ...]] = _plan(layers)
    needs_weights: ClassVar[bool] = True

    def __init__(self, *, weights: Path | None = None, sha256: Sha256 = "") -> None:
        super().__init__()
        published = replace(NORMALISED, name=self.name)
        tensors, path = published.load(weights, sha256)
        self.net = fit(NormalisedNet, in_order(NormalisedNet(), tensors, path, published), path, published)
        self.fingerprint = fingerprint(self)

    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """The maps of the named layers. Raises RecipeError or DataError."""
        return self.net(x, layers)


class NormalisedNet(nn.Module):
    """AdaIN's encoder: a 1x1 convolution, and VGG-19 to relu4_1 with reflected borders; 3,505,740 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.prepare = nn.Conv2d(3, 3, 1)
        self.vgg = vgg.VGG(19, last="relu4_1", padding="reflect")

    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """The maps of the named layers, of images [N, 3, H, W] in [-1, 1]."""
        return self.vgg(self.prepare((x + 1) / 2), layers)


def in_order(net: nn.Module, tensors: dict[str, Tensor], path: Path, published: Published) -> dict[str, Tensor]:
    """Tensors of a file that numbers its convolutions, "2.weight" or "features.2.weight", under a network's names.

    The n-th convolution of the file is the network's n-th; those that the network does not have are left out.
    Raises CheckpointError where the file has fewer, or names of another kind.
    """
    wanted = list(net.state_dict())
    if set(wanted) <= tensors.keys():  # a copy under our own names
        return {name: tensors[name] for name in wanted}
    numbered: dict[tuple[int, str], Tensor] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(?:\w+\.)*(\d+)\.(weight|bias)", name)
        if not match:
            raise CheckpointError(f"{path}: '{name}' is no numbered convolution. {published.how_short()}")
        numbered[int(match[1]), match[2]] = tensor
    places = sorted({place for place, _ in numbered})
    if 2 * len(places) < len(wanted):
        raise CheckpointError(
            f"{path} has {len(places)} convolutions, not {len(wanted) // 2} or more. {published.how_short()}"
        )
    found = {}
    for i, name in enumerate(wanted):
        key = (places[i // 2], name.rpartition(".")[2])
        if key not in numbered:
            raise CheckpointError(f"{path} lacks the {key[1]} of its convolution {key[0]}. {published.how_short()}")
        found[name] = numbered[key]
    return found


class ConvRandom(FeatureMaps, name="conv-random"):
    """Three convolutions with fixed random weights: needs no file, so that everything can be tried.

    It knows colours, edges and small textures, and nothing of what a picture shows.
    """

    layers: ClassVar[tuple[str, ...]] = ("relu1", "relu2", "relu3")
    content: ClassVar[str] = "relu3"
    style: ClassVar[tuple[str, ...]] = ("relu1", "relu2", "relu3")
    plan: ClassVar[tuple[int, ...]] = (WIDTHS[0], 0, WIDTHS[1], 0, WIDTHS[2])

    def __init__(self) -> None:
        super().__init__()
        self.net = RandomConvs(3)
        self.fingerprint = fingerprint(self)

    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """The maps of the named layers. Raises RecipeError or DataError."""
        if unknown := [name for name in layers if name not in self.layers]:
            raise RecipeError(f"{self.name} has no layer '{unknown[0]}'. Choose one of {', '.join(self.layers)}.")
        maps = dict(zip(self.layers, self.net.maps(x)))
        return {name: maps[name] for name in layers}


def plan_of(make: Make[FeatureMaps]) -> tuple[int, ...]:
    """The plan of the network in a slot, which need not be built for it: that may want a file."""
    cls: Any = make
    plan: tuple[int, ...] = getattr(cls, "func", cls).plan
    return plan


def frozen(features: FeatureMaps, device: torch.device) -> FeatureMaps:
    """A network on a device, in evaluation mode, without gradients to its weights."""
    features.to(device).eval().requires_grad_(False)
    return features


def prepared(commission: StyleTask, device: torch.device, preserve_color: bool) -> StyleTask:
    """A commission on a device; with `preserve_color`, its styles with the colours of the content's visible pixels."""
    styles = commission.styles
    if preserve_color:
        seen = commission.content[0]
        if commission.opaque is not None and int(commission.opaque.sum()) > 1:
            seen = seen[:, commission.opaque][:, None]
        styles = tuple((coral(image[0], seen).clamp(-1, 1)[None], share) for image, share in styles)
    moved = tuple((image.to(device), share) for image, share in styles)
    return replace(commission, content=commission.content.to(device), styles=moved)
