"""AdaIN's encoder: VGG-19 with weights that were normalised, and reflected borders (arXiv:1703.06868)."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from ganzoo.extractors.vgg import Sha256
from ganzoo.foreign import vgg
from ganzoo.foreign.published import Published, fit, in_order
from ganzoo.foreign.rgb import as_rgb, require_rgb
from ganzoo.interfaces import Extractor
from ganzoo.types import Image, Maps, Progress

LAST = "relu4_1"
PUBLISHED = Published(
    file="vgg_normalised.pth",
    own="vgg_normalised.safetensors",
    sha256="",
    how="It is models/vgg_normalised.pth of github.com/naoto0804/pytorch-AdaIN (its README says where it is); "
    "copy it to {path}.",
    noun="extractor",
    name="vgg19-normalised",
)


class NormalisedNet(nn.Module):
    """AdaIN's encoder: a 1x1 convolution, and VGG-19 to relu4_1 with reflected borders; 3,505,740 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.prepare = nn.Conv2d(3, 3, 1)
        self.vgg = vgg.VGG(19, last=LAST, padding="reflect")

    def forward(self, x: Image, layers: Sequence[str]) -> dict[str, Maps]:
        """Return the maps of the named layers, of images [N, 3, H, W] in [-1, 1]."""
        return self.vgg(self.prepare((x + 1) / 2), layers)


class NormalisedVGG19(Extractor, name="vgg19-normalised", paper="arXiv:1703.06868"):
    """VGG-19 up to relu4_1 with the weights called normalised, and reflected borders: AdaIN's encoder.

    A 1x1 convolution prepares the image, from 0 to 1, as the weights expect. Outputs: conv1_1, relu1_1, ... relu4_1, at
    the images' own size. Gray images are repeated to RGB.

    Raises CheckpointError where the weights are missing or wrong, RecipeError for neither 1 nor 3 channels.

    Args:
        weights: the file; null for vgg_normalised.pth of pytorch-AdaIN, or a safetensors copy of it, in the folder
            weights of the cache directory
        sha256: what that file's hash must begin with; empty for any
    """

    layers: ClassVar[tuple[str, ...]] = tuple(vgg.layers(19)[: vgg.layers(19).index(LAST) + 1])
    outputs: ClassVar[tuple[str, ...]] = layers
    rgb: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = True

    def __init__(self, channels: int, /, *, weights: Path | None = None, sha256: Sha256 = "") -> None:
        super().__init__()
        require_rgb(self.name, channels)
        tensors, path = PUBLISHED.load(weights, sha256)
        self.net = fit(NormalisedNet, in_order(NormalisedNet(), tensors, path, PUBLISHED), path, PUBLISHED)

    @classmethod
    def fetch(cls, offline: bool, progress: Progress) -> list[Path]:
        """Return the path of the weights. Raises CheckpointError that says what to put where."""
        return [PUBLISHED.fetch(offline, progress)]

    @classmethod
    def plan(cls, layer: str) -> tuple[int, ...]:
        """The convolutions and halvings up to the layer."""
        return vgg.plan(cls.layers[: cls.layers.index(layer) + 1])

    def least(self, outputs: Sequence[str]) -> int:
        """As many pixels as the halvings up to the deepest layer need."""
        return self.net.vgg.least(outputs)

    def forward(self, images: Image, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Return the named layers. Raises RecipeError, and DataError where the images are too small."""
        self.prepare(outputs)
        return self.net(as_rgb(images), outputs)
