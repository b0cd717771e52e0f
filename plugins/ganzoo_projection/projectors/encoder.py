"""A network that finds latents in one pass: ResNet-like, trained on images of the generator itself."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.interfaces import Extractor
from ganzoo.io.files import expand_user
from ganzoo.model import checkpoint
from ganzoo.recipe.node import component_from
from ganzoo.registry.component import Make
from ganzoo.registry.lookup import registry
from ganzoo.types import Image, Maps
from ganzoo_projection.interfaces import FrozenGenerator, Projector, Variables, Weight
from ganzoo_projection.perceptual import LPIPS, Outputs, shrunk, upgraded_comparison

PREFIX = "E"  # of its tensors in a snapshot
LARGEST = 512  # channels
SIDE = 256  # larger images are averaged to it


class Residual(nn.Module):
    """Two 3x3 convolutions with group norm and leaky ReLU, added to their input (arXiv:1512.03385, figure 2).

    Args:
        inputs: channels of the input
        channels: of the output
        stride: 2 halves the size
    """

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = (nn.GroupNorm(math.gcd(8, channels), channels) for _ in range(2))
        same = stride == 1 and inputs == channels
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, x: Maps) -> Maps:
        """Maps -> maps, of half the size where the stride is 2."""
        y = F.leaky_relu(self.norm1(self.conv1(x)), 0.2)
        return F.leaky_relu(self.norm2(self.conv2(y)) + self.skip(x), 0.2)


class Encoder(nn.Module):
    """Images [N, C, H, W] in [-1, 1] -> latents [N, L, W] or [N, Z], as offsets from the generator's mean.

    It knows whose latents they are: buffers hold the digest of the generator, its mean style code and its spread.

    Args:
        view: the generator
        layers: style codes an image; 1 serves all layers
        width: channels at the full size; they double where the size is halved, up to 512
        blocks: residual blocks of each size
    """

    def __init__(self, view: FrozenGenerator, layers: int, width: int, blocks: int) -> None:
        super().__init__()
        h, w = (min(side, SIDE) for side in view.shape.size)
        levels = max(0, math.ceil(math.log2(min(h, w) / 4)))
        self.stem = nn.Conv2d(view.shape.channels, width, 3, padding=1)
        made: list[nn.Module] = []
        channels = width
        for level in range(levels):
            wider = min(width * 2 ** (level + 1), max(width, LARGEST))
            made += [Residual(channels, wider, 2), *(Residual(wider, wider, 1) for _ in range(blocks - 1))]
            channels = wider
        self.blocks = nn.Sequential(*made)
        self.latent_shape = view.latent_shape(layers)
        self.head = nn.Linear(channels * 16, math.prod(self.latent_shape))
        start = view.mean if view.mapped else torch.zeros(1)
        step = view.spread / math.sqrt(len(view.mean)) if view.mapped else 1.0
        self.start: Tensor
        self.scale: Tensor
        self.digest: Tensor
        self.register_buffer("start", start.detach().float().cpu().clone())
        self.register_buffer("scale", torch.tensor(step))
        self.register_buffer("digest", digest_bytes(view))

    def forward(self, images: Image) -> Tensor:
        """One latent an image."""
        x = self.blocks(self.stem(shrunk(images, SIDE)))
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.start + self.scale * self.head(x).unflatten(1, self.latent_shape)


def digest_bytes(view: FrozenGenerator) -> Tensor:
    """The digest of a generator's weights as 32 numbers from 0 to 255."""
    return torch.tensor(list(bytes.fromhex(view.digest)), dtype=torch.uint8)


def snapshot(path: Path) -> Path:
    """The file, or the newest snapshot in a run directory. Raises CheckpointError where it is none of an encoder."""
    path = expand_user(path)
    if path.is_dir():
        path = max(path.glob("snapshot-*.safetensors"), default=path)
    head, shapes = checkpoint.outline(path)
    if f"{PREFIX}.digest" not in shapes or not all(name in head.recipe for name in ("space", "width", "blocks")):
        raise CheckpointError(f"{path} is no snapshot of an encoder: 'gz train' makes one, see docs/projection.md.")
    return path


def load(path: Path, view: FrozenGenerator) -> Encoder:
    """A trained encoder for this generator, from its snapshot. Raises CheckpointError for one of another generator."""
    head, tensors = checkpoint.read(path)
    given, digest = head.recipe, tensors[f"{PREFIX}.digest"]
    if bytes(digest.tolist()).hex() != view.digest:
        raise CheckpointError(
            f"{path} was trained for another generator ({bytes(digest.tolist()).hex()[:12]}) than this one "
            f"({view.digest[:12]}): its latents mean nothing here. Train an encoder for this one."
        )
    stem = tensors.get(f"{PREFIX}.stem.weight")
    limits = {"width": len(stem) if stem is not None and stem.ndim else 0, "blocks": len(tensors)}
    for name, limit in limits.items():  # before anything of that size is built
        if type(given[name]) is not int or not 1 <= given[name] <= limit:
            raise CheckpointError(
                f"does not fit its recipe: {name} is {given[name]!r}, and its tensors are those of {limit} at most",
                place=str(path),
                cure="name a snapshot of a run that trained an encoder",
            )
    net = Encoder(view, view.G.num_ws if given["space"] == "w+" else 1, given["width"], given["blocks"])
    checkpoint.load_weights(net, tensors, PREFIX, path)
    return net.eval().requires_grad_(False)


def training_comparison(recipe: Mapping[str, Any]) -> "tuple[Make[Extractor], dict[str, Any]]":
    """Return the extractor by which an encoder was trained to compare images, and what of it at which size."""
    options = upgraded_comparison(recipe)
    node = component_from(Extractor.kind, options.get("perceptual"), registry())
    names = ("outputs", "lambdas", "side", "enlarge")
    return node.bind(), {name: options[name] for name in names if name in options}


class EncoderProjector(Projector, name="encoder", paper="arXiv:2008.00951"):
    """A trained encoder finds the latent in one pass; steps of optimization may refine it.

    `gz train` trains an encoder: see the experiment `encoder`. The paper showed that one pass can find W+; network and
    training are simpler here. Raises UsageError without an encoder, CheckpointError where the file is none.

    Args:
        weights: snapshot of an encoder for this generator, or its run directory
        perceptual: the extractor by which images are compared; null for that of the encoder's training, with its
            outputs, lambdas, side and enlarge
        lr: Adam's learning rate while refining
    """

    needs_weights: ClassVar[bool] = True
    default_outputs: ClassVar[Outputs] = LPIPS

    def __init__(
        self,
        channels: int,
        /,
        *,
        weights: Path | None = None,
        perceptual: Make[Extractor] | None = None,
        steps: Annotated[int, Ge(0)] = 0,
        lr: Annotated[float, Gt(0)] = 0.01,
        lambda_percept: Weight = 0.8,
        lambda_mse: Weight = 1.0,
        **options: Any,
    ) -> None:
        if weights is None:
            raise UsageError("the projector encoder needs a trained one: --set weights=runs/00000-encoder-mine.")
        self.weights = snapshot(weights)
        head = checkpoint.header(self.weights)
        if perceptual is None:
            perceptual, trained = training_comparison(head.recipe)
            options |= {name: value for name, value in trained.items() if options.get(name) is None}
        super().__init__(
            channels,
            perceptual=perceptual,
            steps=steps,
            lambda_percept=lambda_percept,
            lambda_mse=lambda_mse,
            **options,
        )
        self.rate, self.digest = lr, head.digest

    def begin(self, view: FrozenGenerator, target: Image) -> Variables:
        """The latents that the encoder finds. Raises CheckpointError for an encoder of another generator."""
        net = load(self.weights, view).to(view.mean)
        latents = torch.cat([net(image[None]) for image in target])  # one by one: independent of the batch, to the bit
        if not view.mapped:
            return {"latent": latents}
        if self.space == "w":
            if latents.shape[1] == 1:
                return {"latent": latents}
            raise UsageError(f"--space w: {self.weights} finds a style code for each layer: choose --space w+.")
        return {"latent": latents.expand(-1, view.G.num_ws, -1)}

    def lr(self, step: int) -> float:
        """The same at every step."""
        return self.rate
