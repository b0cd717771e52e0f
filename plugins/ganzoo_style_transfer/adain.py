"""Style transfer in one pass: AdaIN between an encoder and a decoder that was trained for it (arXiv:1703.06868)."""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, RecipeError, UsageError
from ganzoo.extractors.vgg_normalised import NormalisedVGG19
from ganzoo.foreign.published import Published, fit, in_order
from ganzoo.interfaces import Extractor
from ganzoo.io.files import expand_user
from ganzoo.model import checkpoint
from ganzoo.recipe.node import component_from
from ganzoo.registry.component import Make
from ganzoo.registry.lookup import registry
from ganzoo.types import Image, Maps, Size
from ganzoo_style_transfer.feature_maps import build, encoder_layer, plan_of, prepared
from ganzoo_style_transfer.interfaces import StyleTask, StyleTransferRun, Transfer
from ganzoo_style_transfer.statistics import adain

Fraction = Annotated[float, Interval(ge=0, le=1)]

PREFIX = "decoder"  # of its tensors in a snapshot
PUBLISHED = Published(
    file="decoder.pth",
    own="decoder.safetensors",
    sha256="",
    how="It is models/decoder.pth of github.com/naoto0804/pytorch-AdaIN (its README says where it is), or a snapshot "
    "that 'gz train' wrote.",
    noun="transfer",
    name="adain",
)


class Decoder(nn.Module):
    """An encoder's mirror: its convolutions backwards, halvings become nearest up-sampling; reflected borders, no norm.

    For VGG-19 up to relu4_1: 3,505,219 parameters. The last convolution has no ReLU: pixels, about 0 to 1.

    Args:
        plan: widths of the encoder's convolutions, 0 where it halves the size (`Extractor.plan`)

    Raises:
        RecipeError: the plan is empty
    """

    def __init__(self, plan: tuple[int, ...]) -> None:
        super().__init__()
        if not plan:
            raise RecipeError(
                "this extractor is no chain of convolutions, which a decoder could mirror: choose another."
            )
        widths = [width for width in plan if width]
        inputs = [3, *widths[:-1]]
        modules: list[nn.Module] = []
        for width in reversed(plan):
            if not width:
                modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
                continue
            modules.append(nn.Conv2d(widths.pop(), inputs.pop(), 3, padding=1, padding_mode="reflect"))
            modules.append(nn.ReLU())
        self.layers = nn.Sequential(*modules[:-1])

    def forward(self, x: Maps) -> Image:
        """Features of the encoder's last layer to an image [N, 3, H, W] in about [-1, 1]."""
        image: Tensor = self.layers(x)
        return image * 2 - 1


def padded(x: Image, factor: int) -> Image:
    """Repeat the last rows and columns until both sides are multiples of a factor."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % factor, 0, -height % factor), mode="replicate")


def encode(features: Extractor, x: Image) -> Maps:
    """Return the maps on which AdaIN works, those of the extractor's deepest layer."""
    layer = encoder_layer(type(features))
    return features(x, [layer])[layer]


def mixed(content: Maps, styles: list[tuple[Maps, float]], alpha: float) -> Maps:
    """AdaIN with several styles: the weighted mean of what each of them makes (arXiv:1703.06868, section 7.3, Eq. 15).

    Then blended with the content: alpha t + (1 - alpha) f(c).
    """
    target = torch.stack([share * adain(content, style) for style, share in styles]).sum(dim=0)
    return alpha * target + (1 - alpha) * content


class OnePass(StyleTransferRun):
    """A picture that is made in a single step."""

    total = 1

    def __init__(self, features: Extractor, decoder: Decoder, task: StyleTask, alpha: float) -> None:
        self.features, self.decoder, self.task, self.alpha = features, decoder, task, alpha
        self.made = task.content

    @property
    def picture(self) -> Image:
        """The picture; the content before the step."""
        return self.made.clamp(-1, 1)

    @torch.no_grad()
    def advance(self) -> None:
        """Encode, exchange statistics, decode."""
        content = self.task.content
        height, width = content.shape[2:]
        factor = 2 ** self.features.plan(encoder_layer(type(self.features))).count(0)
        styles = [(encode(self.features, padded(image, factor)), share) for image, share in self.task.styles]
        target = mixed(encode(self.features, padded(content, factor)), styles, self.alpha)
        self.made = self.decoder(target)[:, :, :height, :width]
        self.done = 1


class AdaINTransfer(Transfer, name="adain", paper="arXiv:1703.06868"):
    """Give the content's features the style's means and deviations, and decode them: one pass, any style.

    Args:
        weights: the decoder: a snapshot of `gz train` with an `adain` recipe, or the published decoder.pth
        features: the encoder; null for the one that the decoder was trained with
        alpha: strength: 0 gives the content as the decoder draws it, 1 the style's statistics
        preserve_color: give styles the content's colours before (CORAL)
    """

    def __init__(
        self,
        *,
        weights: Path | None = None,
        features: Make[Extractor] | None = None,
        alpha: Fraction = 1.0,
        preserve_color: bool = False,
    ) -> None:
        self.weights, self.features, self.alpha, self.preserve_color = weights, features, alpha, preserve_color

    def begin(self, task: StyleTask, device: torch.device) -> StyleTransferRun:
        """Read encoder and decoder."""
        features, decoder = self._networks(device)
        return OnePass(features, decoder.to(device), prepared(task, device, self.preserve_color), self.alpha)

    def _networks(self, device: torch.device) -> tuple[Extractor, Decoder]:
        if self.weights is None:
            raise UsageError(
                "adain needs a decoder that was trained for it: name a snapshot with --weights ('gz train adain' makes "
                "one)."
            )
        path = expand_user(self.weights)
        if path.is_dir():
            snapshots = sorted(path.glob("snapshot-*.safetensors"))
            path = snapshots[-1] if snapshots else path
        if path.suffix != ".safetensors":
            make = self.features or NormalisedVGG19
            features = build(make, device)
            tensors, path = PUBLISHED.load(path)
            named = in_order(Decoder(plan_of(make)), tensors, path, PUBLISHED)
            return features, fit(lambda: Decoder(plan_of(make)), named, path, PUBLISHED)
        return self._from_snapshot(path, device)

    def _from_snapshot(self, path: Path, device: torch.device) -> tuple[Extractor, Decoder]:
        head, tensors = checkpoint.read(path)
        trained_with = head.recipe.get("features")
        if (
            head.kind != "snapshot"
            or not isinstance(trained_with, dict)
            or not any(n.startswith(PREFIX) for n in tensors)
        ):
            raise CheckpointError(f"{path} is no snapshot of a decoder: train one with 'gz train adain'.")
        make = self.features or component_from(Extractor.kind, trained_with, registry()).bind()
        features, decoder = build(make, device), Decoder(plan_of(make))
        checkpoint.load_weights(decoder, tensors, PREFIX, path)
        return features, decoder.eval().requires_grad_(False)

    def memory(self, size: Size) -> int:
        """Twice the largest maps, which are those of the full size, of encoder and decoder."""
        return 4 * 4 * 64 * size[0] * size[1]
