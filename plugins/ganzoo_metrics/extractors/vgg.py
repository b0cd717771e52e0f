"""VGG-16 as an extractor: what LPIPS and precision/recall compare."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo.foreign.lpips import LINEAR, LPIPS
from ganzoo.foreign.published import fit
from ganzoo.foreign.rgb import rgb, three_channels
from ganzoo.foreign.vgg import FILES, VGG, imagenet
from ganzoo.interfaces import Features
from ganzoo.io.hashes import fingerprint
from ganzoo.types import Maps, Progress

SIDE = 224


class DenseVGG(VGG):
    """VGG-16 with its first two dense layers, which take 7x7 maps; names as in torchvision's state dict."""

    def __init__(self) -> None:
        super().__init__(16)
        fc1, fc2 = nn.Linear(512 * 49, 4096), nn.Linear(4096, 4096)
        self.classifier = nn.Sequential(fc1, nn.ReLU(), nn.Identity(), fc2, nn.ReLU())  # dropout was here

    def dense(self, x: Maps) -> Tensor:
        """fc2 after its ReLU, [N, 4096], of [N, 3, H, W]; the last maps are averaged to 7x7 where they are larger."""
        return self.classifier(F.adaptive_avg_pool2d(self(x, ["pool5"])["pool5"], 7).flatten(1))


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
        return [LINEAR.fetch(offline, progress), FILES[16].fetch(offline, progress)]

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
        three_channels("extractor", self.name, channels, "Choose 'conv-random', which takes any number.")
        self.output, self.resize = output, resize
        self.net: LPIPS | DenseVGG
        if output == "lpips":
            self.net = LPIPS(weights, lpips, sha256, noun="extractor", name=self.name)
            self.fingerprint = fingerprint(self.net, output, "")
        else:
            published = replace(FILES[16], noun="extractor", name=self.name)
            tensors, path = published.load(weights, sha256)
            named = {n: t for n, t in tensors.items() if not re.fullmatch(r"lin\d.*|classifier\.6\..*", n)}
            self.net = fit(DenseVGG, named, path, published)
            self.fingerprint = fingerprint(self, output, resize)

    def train(self, mode: bool = True) -> "VGG16":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of images [N, 1 or 3, H, W] with values 0 to 255. Raises DataError where they are too small."""
        x = rgb(images)
        if isinstance(self.net, LPIPS):
            return {"lpips": self.net(x / 127.5 - 1)}
        if self.resize != "pool":
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=self.resize == "antialias")
        return {"fc2": self.net.dense(imagenet(x / 127.5 - 1))}
