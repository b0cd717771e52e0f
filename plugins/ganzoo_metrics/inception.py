"""Inception-v3 as it was ported from TensorFlow's graph of 2015-12-05: the network of FID, KID and IS.

It differs from the Inception-v3 of later libraries, so numbers are comparable only with numbers of this one:

- average pools inside the blocks leave the padding out of the mean,
- the last block pools by the maximum,
- there are 1008 classes, no auxiliary classifier,
- images are resized as TensorFlow 1 did: no half-pixel shift, no low-pass filter.

Architecture: arXiv:1512.00567, figures 5 to 7 and table 1. Names of the layers are those of the published state dict.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganzoo.foreign.published import Published, fit
from ganzoo.foreign.rgb import as_rgb, require_rgb
from ganzoo.interfaces import Extractor
from ganzoo.types import Image, Maps, Progress, Size

SIDE = 299
CLASSES = 1008
URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
WEIGHTS = Published(
    noun="extractor",
    name="inception",
    file="pt_inception-2015-12-05-6726825d.pth",
    own="inception.safetensors",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url=URL,
    size=95_628_359,
    licence="Apache-2.0",
    how=f"Say 'gz metrics fetch inception', or curl -L --create-dirs -o '{{path}}' {URL}",
)


# --- TensorFlow 1's resize -------------------------------------------------------------------------------------------


def _neighbours(old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each new sample the old ones before and after it, and its distance from the first, [new] each."""
    scaled = torch.arange(new, device=like.device) * old  # in units of 1 / new: exact
    before = scaled // new
    return before, (before + 1).clamp(max=old - 1), (scaled % new).to(like.dtype) / new


def tf1_bilinear(images: Tensor, size: Size) -> Tensor:
    """Resize as TensorFlow 1's `resize_bilinear` with its default arguments does.

    Sample i of n lies at i * old / n, counted from the first sample: corners are not aligned, pixels are not centred,
    and nothing is filtered where images shrink.

    Args:
        images: floating-point [N, C, H, W]
        size: (height, width) of the result

    Returns:
        [N, C, *size], of the same type; the images themselves where they have that size
    """
    x = images
    for dim, new in ((3, size[1]), (2, size[0])):
        if x.shape[dim] != new:
            before, after, share = _neighbours(x.shape[dim], new, x)
            share = share.reshape(-1, *[1] * (3 - dim))
            x = torch.lerp(x.index_select(dim, before), x.index_select(dim, after), share)
    return x


# --- the graph -------------------------------------------------------------------------------------------------------


class Norm(nn.Module):
    """Batch normalisation [N, C, H, W] by stored statistics, eps 1e-3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Maps) -> Maps:
        """Normalise."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-3)


class Conv(nn.Module):
    """Convolution without bias, normalisation, ReLU: [N, I, H, W] -> [N, O, H', W'].

    With stride 1 the size is kept unless `valid`; with stride 2 there is no padding.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Size = (1, 1), *, stride: int = 1, valid: bool = False
    ) -> None:
        super().__init__()
        padding = (0, 0) if valid or stride > 1 else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = Norm(outputs)

    def forward(self, x: Maps) -> Maps:
        """Convolve."""
        return F.relu(self.bn(self.conv(x)))


def mean_pool(x: Maps) -> Maps:
    """3x3 average that keeps the size; samples outside the map are left out of the mean."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def max_pool(x: Maps) -> Maps:
    """3x3 maximum that halves the size, without padding."""
    return F.max_pool2d(x, 3, stride=2)


class BlockA(nn.Module):
    """35x35: 1x1, 5x5, twice 3x3, and an average. [N, I, H, W] -> [N, 224 + pooled, H, W]."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64)
        self.branch5x5_1 = Conv(inputs, 48)
        self.branch5x5_2 = Conv(48, 64, (5, 5))
        self.branch3x3dbl_1 = Conv(inputs, 64)
        self.branch3x3dbl_2 = Conv(64, 96, (3, 3))
        self.branch3x3dbl_3 = Conv(96, 96, (3, 3))
        self.branch_pool = Conv(inputs, pooled)

    def forward(self, x: Maps) -> Maps:
        """All branches, side by side."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(mean_pool(x))], dim=1)


class BlockB(nn.Module):
    """35x35 to 17x17: [N, I, H, W] -> [N, I + 480, (H - 1) // 2, (W - 1) // 2]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, (3, 3), stride=2)
        self.branch3x3dbl_1 = Conv(inputs, 64)
        self.branch3x3dbl_2 = Conv(64, 96, (3, 3))
        self.branch3x3dbl_3 = Conv(96, 96, (3, 3), stride=2)

    def forward(self, x: Maps) -> Maps:
        """All branches, side by side."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, max_pool(x)], dim=1)


class BlockC(nn.Module):
    """17x17 with 7x7 convolutions taken apart: [N, I, H, W] -> [N, 768, H, W]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 192)
        self.branch7x7_1 = Conv(inputs, width)
        self.branch7x7_2 = Conv(width, width, (1, 7))
        self.branch7x7_3 = Conv(width, 192, (7, 1))
        self.branch7x7dbl_1 = Conv(inputs, width)
        self.branch7x7dbl_2 = Conv(width, width, (7, 1))
        self.branch7x7dbl_3 = Conv(width, width, (1, 7))
        self.branch7x7dbl_4 = Conv(width, width, (7, 1))
        self.branch7x7dbl_5 = Conv(width, 192, (1, 7))
        self.branch_pool = Conv(inputs, 192)

    def forward(self, x: Maps) -> Maps:
        """All branches, side by side."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(mean_pool(x))], dim=1)


class BlockD(nn.Module):
    """17x17 to 8x8: [N, I, H, W] -> [N, I + 512, (H - 1) // 2, (W - 1) // 2]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(inputs, 192)
        self.branch3x3_2 = Conv(192, 320, (3, 3), stride=2)
        self.branch7x7x3_1 = Conv(inputs, 192)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, (3, 3), stride=2)

    def forward(self, x: Maps) -> Maps:
        """All branches, side by side."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, max_pool(x)], dim=1)


class BlockE(nn.Module):
    """8x8 with branches that part: [N, I, H, W] -> [N, 2048, H, W].

    The two blocks of this kind differ: the first pools by the mean, the last by the maximum, with stride 1.
    """

    def __init__(self, inputs: int, pool_by: str) -> None:
        super().__init__()
        self.pool_by = pool_by
        self.branch1x1 = Conv(inputs, 320)
        self.branch3x3_1 = Conv(inputs, 384)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(inputs, 448)
        self.branch3x3dbl_2 = Conv(448, 384, (3, 3))
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(inputs, 192)

    def forward(self, x: Maps) -> Maps:
        """All branches, side by side."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = mean_pool(x) if self.pool_by == "mean" else F.max_pool2d(x, 3, stride=1, padding=1)
        parts = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *parts, self.branch_pool(pooled)], dim=1)


class InceptionGraph(nn.Module):
    """The network behind the resize: images [N, 3, 299, 299] in about [-1, 1] -> features [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, (3, 3), valid=True)
        self.Conv2d_2b_3x3 = Conv(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Conv(64, 80)
        self.Conv2d_4a_3x3 = Conv(80, 192, (3, 3), valid=True)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, "mean")
        self.Mixed_7c = BlockE(2048, "max")
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, x: Maps) -> Tensor:
        """The mean of the last maps; `fc` makes logits of it."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean(dim=(2, 3))


class Inception(Extractor, name="inception", paper="arXiv:1512.00567"):
    """Inception-v3 of 2015-12-05, the network of published FID, KID and IS.

    Outputs: pool [N, 2048]; logits [N, 1008]; logits_unbiased [N, 1008], without the output bias, as IS takes them.
    Images are resized to 299x299 as TensorFlow 1 did, then (x - 128) / 128. Gray images are repeated to RGB.

    Raises CheckpointError where the weights are missing or wrong, RecipeError for neither 1 nor 3 channels.

    Args:
        weights: file of the weights; null for pt_inception-2015-12-05-6726825d.pth, or a safetensors copy of it named
            inception.safetensors, in the folder weights of the cache directory
        sha256: what that file's hash must begin with; empty for the published hash where the file has its published
            name, and for any where it has another
    """

    outputs: ClassVar[tuple[str, ...]] = ("pool", "logits", "logits_unbiased")
    rgb: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = True

    @classmethod
    def weight_files(cls) -> list[str]:
        """Name, size, sha256, licence and address of the published weights."""
        return [WEIGHTS.describe()]

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Bring the published weights into the cache directory."""
        return [WEIGHTS.fetch(offline, progress)]

    def __init__(
        self,
        channels: int,
        /,
        *,
        weights: Path | None = None,
        sha256: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8,64})?$")] = "",
    ) -> None:
        super().__init__()
        require_rgb(self.name, channels)
        tensors, path = WEIGHTS.load(weights, sha256)
        named = {n: t for n, t in tensors.items() if not n.endswith(".num_batches_tracked")}  # counters of training
        self.net = fit(InceptionGraph, named, path, WEIGHTS)

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named outputs. Raises RecipeError."""
        self.prepare(outputs)
        x = tf1_bilinear((as_rgb(images) + 1) * 127.5, (SIDE, SIDE))
        pool = self.net((x - 128) / 128)
        unbiased = F.linear(pool, self.net.fc.weight)
        features = {"pool": pool, "logits_unbiased": unbiased, "logits": unbiased + self.net.fc.bias}
        return {name: features[name] for name in outputs}
