"""VGG-16, whose activations LPIPS and precision/recall compare (arXiv:1409.1556, configuration D).

Layers are named as in torchvision's state dict: features.0 to features.28, classifier.0 and classifier.3.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, DataError
from ganzoo.interfaces import Features, Progress
from ganzoo.types import Maps
from ganzoo_metrics.weights import Published, fingerprint, fit, rgb, three_channels

SIDE = 224
POOL = 0  # in place of a width: halve the size
PLAN = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)
TAPS = (3, 8, 15, 22, 29)  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
WIDTHS = (64, 128, 256, 512, 512)
# ImageNet's mean and standard deviation, for images in [-1, 1]; LPIPS calls them shift and scale
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

WEIGHTS = Published(
    extractor="vgg16",
    option="weights",
    file="vgg16-397923af.pth",
    own="vgg16.safetensors",
    sha256="397923af",  # as its published name says
    how="It is torchvision's: python -c \"import torchvision; torchvision.models.vgg16(weights='IMAGENET1K_V1')\" "
    "leaves it in ~/.cache/torch/hub/checkpoints; copy it to {path}.",
)
LINEAR_URL = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth"
LINEAR = Published(
    extractor="vgg16",
    option="lpips",
    file="lpips-v0.1-vgg.pth",
    own="lpips-v0.1-vgg.safetensors",
    sha256="",
    url=LINEAR_URL,
    how="It is lpips/weights/v0.1/vgg.pth of github.com/richzhang/PerceptualSimilarity: "
    f"curl -L --create-dirs -o '{{path}}' {LINEAR_URL}",
)


class VGGGraph(nn.Module):
    """The network behind the preprocessing: its convolutions and, where wanted, its first two dense layers.

    Args:
        dense: whether fc1 and fc2 are there; they take 7x7 maps
    """

    def __init__(self, dense: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in PLAN:
            if width == POOL:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
        self.features = nn.Sequential(*layers)
        if dense:
            fc1, fc2 = nn.Linear(512 * 49, 4096), nn.Linear(4096, 4096)
            self.classifier = nn.Sequential(fc1, nn.ReLU(), nn.Identity(), fc2, nn.ReLU())  # dropout was here

    def maps(self, x: Maps) -> list[Maps]:
        """relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 of [N, 3, H, W]; H and W at least 16."""
        found = []
        for i, layer in enumerate(list(self.features)[: TAPS[-1] + 1]):
            x = layer(x)
            if i in TAPS:
                found.append(x)
        return found

    def dense(self, x: Maps) -> Tensor:
        """fc2 after its ReLU, [N, 4096], of [N, 3, H, W]; the last maps are averaged to 7x7 where they are larger."""
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


def linear_weights(tensors: Mapping[str, Tensor], path: Path) -> list[Tensor]:
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
            f"{LINEAR.how_short()}"
        )
    if any(not (t >= 0).all() or not t.isfinite().all() for t in found.values()):
        raise CheckpointError(f"{path}: LPIPS's weights are not negative, and some of these are. {LINEAR.how_short()}")
    return [found[i] for i in range(len(WIDTHS))]


def lpips_vector(maps: list[Maps], weights: list[Tensor]) -> Tensor:
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


class VGG16(Features, name="vgg16", paper="arXiv:1409.1556"):
    """VGG-16: what LPIPS and PPL (output lpips) and precision/recall (output fc2) look through.

    Outputs, one of them: fc2 [N, 4096], after its ReLU; or lpips [N, D], whose squared distance is LPIPS v0.1, at the
    images' own size. Gray images are repeated to RGB.

    The published precision and recall come from another conversion of VGG-16, inside a program whose preprocessing
    cannot be read: with these weights, numbers are comparable with each other only. LPIPS is defined by these.

    Raises CheckpointError where weights are missing or wrong, RecipeError for neither 1 nor 3 channels.

    Args:
        output: which output is computed
        resize: how images come to 224x224 for fc2: "bilinear" without a low-pass filter, "antialias" with one, or
            "pool", which leaves their size and averages the last maps to 7x7
        weights: file of the weights; null for vgg16-397923af.pth of torchvision, or a safetensors copy of it named
            vgg16.safetensors, in the folder weights of the cache directory
        sha256: what that file's hash must begin with; empty for the published hash where the file has its published
            name, and for any where it has another
        lpips: file of LPIPS's linear weights; null for those in the file of the weights, if it has lin0 to lin4, else
            lpips-v0.1-vgg.pth, or a safetensors copy of it, in the same folder
    """

    taps: ClassVar[tuple[str, ...]] = ("fc2", "lpips")
    needs_weights: ClassVar[bool] = True

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """LPIPS's linear weights, into the cache directory; then VGG-16's, which only torchvision gives."""
        return [LINEAR.fetch(offline, progress), WEIGHTS.fetch(offline, progress)]

    def __init__(
        self,
        channels: int,
        /,
        *,
        output: Literal["fc2", "lpips"] = "fc2",
        resize: Literal["bilinear", "antialias", "pool"] = "bilinear",
        weights: Path | None = None,
        sha256: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8,64})?$")] = "",
        lpips: Path | None = None,
    ) -> None:
        super().__init__()
        three_channels(self.name, channels)
        self.output, self.resize = output, resize
        tensors, path = WEIGHTS.load(weights, sha256)
        skip = r"lin\d.*|classifier\.6\..*" + ("" if output == "fc2" else r"|classifier\..*")
        named = {n: t for n, t in tensors.items() if not re.fullmatch(skip, n)}
        self.net = cast(VGGGraph, fit(lambda: VGGGraph(output == "fc2"), named, path, WEIGHTS))
        if output == "lpips":
            inside = lpips is None and any(n.startswith("lin") for n in tensors)
            for i, weight in enumerate(linear_weights(*(tensors, path) if inside else LINEAR.load(lpips))):
                self.register_buffer(f"lin{i}", weight)
        self.fingerprint = fingerprint(self, output, resize if output == "fc2" else "")

    def train(self, mode: bool = True) -> "VGG16":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images [N, 1 or 3, H, W] with values 0 to 255. Raises DataError where they are too small."""
        x = rgb(images)
        if self.output == "fc2" and self.resize != "pool":
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=self.resize == "antialias")
        least = 16 if self.output == "lpips" else 32
        if min(x.shape[2:]) < least:
            raise DataError(
                f"vgg16 halves images until {least} pixels are one: {x.shape[3]}x{x.shape[2]} is too small."
            )
        shift, scale = (x.new_tensor(v)[:, None, None] for v in (SHIFT, SCALE))
        x = ((x / 127.5 - 1 - shift) / scale).contiguous(memory_format=torch.channels_last)  # faster on a CPU
        if self.output == "fc2":
            return {"fc2": self.net.dense(x)}
        return {"lpips": lpips_vector(self.net.maps(x), [self.get_buffer(f"lin{i}") for i in range(len(WIDTHS))])}
