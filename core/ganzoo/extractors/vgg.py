"""VGG-16 and VGG-19 as extractors: every layer by name; of VGG-16 also fc2, and LPIPS as vectors."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganzoo.foreign import lpips as lpips_
from ganzoo.foreign import vgg
from ganzoo.foreign.published import Published, fit
from ganzoo.foreign.rgb import as_rgb, require_rgb
from ganzoo.interfaces import Extractor
from ganzoo.io import hashes
from ganzoo.types import Image, Maps, Progress

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8,64})?$")]
SIDE = 224  # pixels, for fc2
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of ImageNet: blue, green, red, from 0 to 255


def caffe(x: Image) -> Maps:
    """Return images [N, 3, H, W] in [-1, 1] as BGR from 0 to 255, less the mean of ImageNet."""
    return ((x + 1) * 127.5).flip(1) - x.new_tensor(CAFFE_MEAN)[:, None, None]


class VGGLayers(Extractor):
    """The layers of a VGG network at the images' own size, before ("conv1_1") and after ("relu1_1") each ReLU.

    Gray images are repeated to RGB.

    Raises CheckpointError where the weights are missing or wrong, RecipeError for neither 1 nor 3 channels.

    Args:
        preprocessing: what the weights expect: "torchvision" (RGB, ImageNet's mean and deviation), "caffe" (BGR from 0
            to 255, mean subtracted) for weights of the original model under torchvision's names, or "unit" (RGB from 0
            to 1), as public ports of Image2StyleGAN feed torchvision's weights
        weights: the file; null for torchvision's, or a safetensors copy of it, in the folder weights of the cache
            directory
        sha256: what that file's hash must begin with; empty for the published hash where the file has its published
            name, and for any where it has another
    """

    depth: ClassVar[vgg.Depth]
    rgb: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = True
    pool: vgg.Pool = "max"

    def __init__(
        self,
        channels: int,
        /,
        *,
        preprocessing: Literal["torchvision", "caffe", "unit"] = "torchvision",
        weights: Path | None = None,
        sha256: Sha256 = "",
    ) -> None:
        super().__init__()
        require_rgb(self.name, channels)
        self.preprocessing, self.weights, self.sha256 = preprocessing, weights, sha256
        tensors, path = self.published().load(weights, sha256)
        self.net = self.built(tensors, path)

    def built(self, tensors: dict[str, Tensor], path: Path) -> vgg.VGG:
        """Return the network with the tensors of the file of weights."""
        last = self.layers[-1]
        return vgg.frozen(lambda: vgg.VGG(self.depth, last=last, pool=self.pool), tensors, path, self.published())

    @classmethod
    def published(cls) -> Published:
        """Return torchvision's file of weights, as needed by this extractor."""
        return replace(vgg.FILES[cls.depth], noun="extractor", name=cls.name)

    @classmethod
    def weight_files(cls) -> list[str]:
        """Name, size, sha256, licence and address of the published weights."""
        return [vgg.FILES[cls.depth].describe()]

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring the published weights into the cache directory. Raises CheckpointError that says what to put where."""
        return [vgg.FILES[cls.depth].fetch(offline, progress)]

    @classmethod
    def plan(cls, layer: str) -> tuple[int, ...]:
        """The convolutions and halvings up to the layer."""
        return vgg.plan(cls.layers[: cls.layers.index(layer) + 1])

    def least(self, outputs: Sequence[str]) -> int:
        """As many pixels as the halvings up to the deepest layer need."""
        return self.net.least(set(outputs) & set(self.layers))

    def fingerprint(self, output: str) -> str:
        """sha256 over the convolutions' weights, how blocks are halved and what images are brought to."""
        return hashes.fingerprint(self.net.features, self.pool, self.preprocessing)

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named layers. Raises RecipeError, and DataError where the images are too small."""
        self.prepare(outputs)
        return self.net(self.preprocessed(as_rgb(images)), outputs)

    def preprocessed(self, x: Image) -> Maps:
        """Images [N, 3, H, W] in [-1, 1] as the weights expect them."""
        if self.preprocessing == "caffe":
            return caffe(x)
        return vgg.imagenet(x) if self.preprocessing == "torchvision" else (x + 1) / 2


class VGG19(VGGLayers, name="vgg19", paper="arXiv:1409.1556"):
    """VGG-19, through which Gatys et al. see (arXiv:1508.06576). Needs torchvision's file of weights.

    Outputs: conv1_1, relu1_1, ... relu5_4, at the images' own size. Gray images are repeated to RGB.

    Args:
        pool: how blocks are halved: "max" as the weights were trained, "average" as Gatys et al. suggest
    """

    depth: ClassVar[vgg.Depth] = 19
    layers: ClassVar[tuple[str, ...]] = tuple(vgg.layers(19)[:-1])  # the last pool is for the dense layers
    outputs: ClassVar[tuple[str, ...]] = layers

    def __init__(self, channels: int, /, *, pool: vgg.Pool = "max", **options: Any) -> None:
        self.pool = pool
        super().__init__(channels, **options)


class VGG16(VGGLayers, name="vgg16", paper="arXiv:1409.1556"):
    """VGG-16: the network of LPIPS and PPL (output lpips), precision/recall (fc2) and Image2StyleGAN (layers).

    Outputs: conv1_1, relu1_1, ... relu5_3, and lpips [N, D], whose squared distance is LPIPS v0.1, at the images' own
    size; fc2 [N, 4096], after its ReLU. Gray images are repeated to RGB. lpips and fc2 are always preprocessed as
    torchvision's.

    The published precision and recall come from another conversion of VGG-16, inside a program whose preprocessing
    cannot be read: with these weights, numbers are comparable with each other only. LPIPS is defined by these.

    Args:
        resize: how images come to 224x224 for fc2: "bilinear" without a low-pass filter, "antialias" with one, or
            "pool", which leaves their size and averages the last maps to 7x7
        lpips: file of LPIPS's linear weights; null for those in the file of the weights, if it has lin0 to lin4, else
            lpips-v0.1-vgg.pth, or a safetensors copy of it, in the same folder
    """

    depth: ClassVar[vgg.Depth] = 16
    layers: ClassVar[tuple[str, ...]] = tuple(vgg.layers(16)[:-1])
    outputs: ClassVar[tuple[str, ...]] = (*layers, "fc2", "lpips")
    retired = frozenset({"output"})  # now whoever compares names the output
    former_names = frozenset({"lpips-vgg"})  # of a projection's distance, now this one's output lpips

    def __init__(
        self,
        channels: int,
        /,
        *,
        resize: Literal["bilinear", "antialias", "pool"] = "bilinear",
        lpips: Path | None = None,
        **options: Any,
    ) -> None:
        self.resize, self.lpips = resize, lpips
        super().__init__(channels, **options)

    @classmethod
    def weight_files(cls) -> list[str]:
        """Descriptions of LPIPS's linear weights and of VGG-16's."""
        return [lpips_.LINEAR.describe(), *super().weight_files()]

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring LPIPS's linear weights into the cache directory, then VGG-16's."""
        return [lpips_.LINEAR.fetch(offline, progress), *super().fetch(offline, progress)]

    def built(self, tensors: dict[str, Tensor], path: Path) -> vgg.VGG:
        """Return the convolutions; keep LPIPS's linear weights if they are in the same file."""
        net = super().built(tensors, path)
        if self.lpips is None and any(name.startswith("lin") for name in tensors):
            self._keep_linear(tensors, path, net)
        return net

    def _keep_linear(self, tensors: dict[str, Tensor], path: Path, like: vgg.VGG) -> None:
        published = replace(lpips_.LINEAR, noun="extractor", name=self.name)
        for i, weight in enumerate(lpips_.linear_weights(tensors, path, published)):
            self.register_buffer(f"lin{i}", weight.to(next(like.parameters())))

    def prepare(self, outputs: Sequence[str]) -> None:
        """Load LPIPS's linear weights for lpips, and the dense layers, which are most of the file, for fc2."""
        super().prepare(outputs)
        with torch.inference_mode(False):  # what is loaded serves later calls too, which may want gradients
            if "lpips" in outputs and not hasattr(self, "lin0"):
                published = replace(lpips_.LINEAR, noun="extractor", name=self.name)
                self._keep_linear(*published.load(self.lpips), self.net)
            if "fc2" in outputs and not isinstance(self.net, vgg.DenseVGG):
                tensors, path = self.published().load(self.weights, self.sha256)
                used = {n: t for n, t in tensors.items() if not re.fullmatch(r"lin\d.*|classifier\.6\..*", n)}
                self.net = fit(vgg.DenseVGG, used, path, self.published()).to(next(self.net.parameters()))

    def least(self, outputs: Sequence[str]) -> int:
        """As many pixels as the deepest layer needs; 16 for lpips; 32 for fc2 where its images keep their size."""
        sides = [super().least(outputs)]
        sides += [self.net.least(lpips_.LAYERS)] if "lpips" in outputs else []
        sides += [32] if "fc2" in outputs and self.resize == "pool" else []
        return max(sides)

    def fingerprint(self, output: str) -> str:
        """sha256 over the weights that decide the output, how blocks are halved and what images are brought to."""
        self.prepare([output])
        if output == "lpips":
            linear = hashes.digest({name: t for name, t in self.named_buffers() if name.startswith("lin")})
            return hashes.fingerprint(self.net.features, "lpips", linear)
        if output == "fc2":
            return hashes.fingerprint(self.net, "fc2", self.resize)
        return super().fingerprint(output)

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named outputs. Raises RecipeError, CheckpointError, and DataError where images are too small."""
        self.prepare(outputs)
        x = as_rgb(images)
        layers = [name for name in outputs if name in self.layers]
        features: dict[str, Tensor] = self.net(self.preprocessed(x), layers) if layers else {}
        if "lpips" in outputs:
            maps = self.net(vgg.imagenet(x), lpips_.LAYERS)
            features["lpips"] = lpips_.lpips_vector(list(maps.values()), [self.get_buffer(f"lin{i}") for i in range(5)])
        if "fc2" in outputs:
            assert isinstance(self.net, vgg.DenseVGG)
            resized = x
            if self.resize != "pool":
                resized = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=self.resize == "antialias")
            features["fc2"] = self.net.dense(vgg.imagenet(resized))
        return {name: features[name] for name in outputs}
