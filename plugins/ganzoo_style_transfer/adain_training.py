"""Training of AdaIN's decoder: contents from one set of images, styles from another (arXiv:1703.06868, section 6).

t = AdaIN(f(content), f(style)),   x = g(t)
content_weight MSE(f(x), t) + style_weight sum over layers (MSE of means + MSE of deviations) of f_i(x) and f_i(style)
"""

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from ganzoo.errors import RecipeError, UsageError
from ganzoo.extractors.vgg_normalised import NormalisedVGG19
from ganzoo.interfaces import Dataset, Experiment, Extractor, Images, SampleRng, Schedule, Stage
from ganzoo.nn.pixels import to_uint8, to_unit
from ganzoo.registry.component import Make
from ganzoo.training import distributed
from ganzoo.training.device import dtype
from ganzoo.training.learner import GradientLearner, Rates, adam
from ganzoo.training.loader import Loader
from ganzoo.training.seeds import seed_of
from ganzoo.types import Image
from ganzoo_style_transfer.adain import PREFIX, Decoder, encode
from ganzoo_style_transfer.feature_maps import build, encoder_layer, plan_of, style_layers
from ganzoo_style_transfer.statistics import adain, content_loss, style_loss

Weight = Annotated[float, Ge(0)]

STYLES = 1  # of what seeds are made: the order of styles is not that of contents
PUBLISHED = Schedule(kimg=1280.0, batch=8, lr=1e-4, betas=(0.9, 0.999))  # 160,000 iterations


class AdaINTraining(Experiment, name="adain", paper="arXiv:1703.06868"):
    """A decoder that turns AdaIN's features back into pictures, for any style (`gz stylize --method adain`).

    Args:
        title: one line about it
        paper: where it is described
        image: size of the crops that are trained on; sides are multiples of what the encoder halves to
        resize: images are brought to this side, or [height, width], before the crop; null for no crop
        features: the encoder, which stays as it is
        content_weight: of the distance of features from AdaIN's
        style_weight: of the distance of means and deviations
        lr_decay: the learning rate of iteration t is lr / (1 + lr_decay t)
        dataset: the contents; `--data` chooses it on the command line
        styles: the style images, such as paintings
        training: how to train; precision is of the networks, sums run in fp32
    """

    next_step: ClassVar[str] = "gz stylize PHOTO PAINTING --method adain --weights {folder}"

    def __init__(
        self,
        *,
        title: str = "AdaIN style transfer",
        paper: str = "arXiv:1703.06868",
        image: Images = Images(size=256),  # noqa: B008 (frozen)
        resize: int | tuple[int, int] | None = 512,
        features: Make[Extractor] = NormalisedVGG19,
        content_weight: Weight = 1.0,
        style_weight: Weight = 10.0,
        lr_decay: Weight = 5e-5,
        dataset: Make[Dataset] | None = None,
        styles: Make[Dataset] | None = None,
        training: Schedule = PUBLISHED,
    ) -> None:
        self.title, self.training, self.shape = title, training, image.shape()
        side = (resize, resize) if isinstance(resize, int) else resize
        self.size = tuple(side or self.shape.size)
        self.features, self.lr_decay = features, lr_decay
        self.content_weight, self.style_weight = content_weight, style_weight
        self._dataset, self._styles = dataset, styles
        self.decoder = Decoder(plan_of(features))
        self._require_fitting(plan_of(features).count(0))

    def _require_fitting(self, halvings: int) -> None:
        factor, (height, width) = 2**halvings, self.shape.size
        if self.shape.channels != 3 or height % factor or width % factor:
            raise RecipeError(
                f"image: the encoder takes RGB images whose sides are multiples of {factor}, not {width}x{height} with "
                f"{self.shape.channels} channels."
            )
        if self.size[0] < height or self.size[1] < width:
            raise RecipeError(
                f"resize: {self.size[1]}x{self.size[0]} is smaller than the crops of {width}x{height}: choose a larger "
                f"resize, or null."
            )

    def networks(self) -> dict[str, nn.Module]:
        """The decoder; the encoder is fixed."""
        return {PREFIX: self.decoder}

    def learner(self, device: torch.device) -> "DecoderLearner":
        """A training of the decoder. Raises CheckpointError where the encoder's weights are missing."""
        return DecoderLearner(self, device)

    def dataset(self) -> Dataset | None:
        """The contents."""
        return self._dataset(self.size, 3, 0) if self._dataset else None

    def styles(self) -> Dataset | None:
        """The style images."""
        return self._styles(self.size, 3, 0) if self._styles else None


class DecoderLearner(GradientLearner):
    """Steps of Adam on the decoder."""

    experiment: AdaINTraining

    def __init__(self, experiment: AdaINTraining, device: torch.device) -> None:
        super().__init__(experiment, device)
        styles = experiment.styles()
        if styles is None:
            raise UsageError(
                "the recipe names no style images: add --set styles.path=PATH with --set styles.use=folder, or a "
                "'styles:' section."
            )
        self.features = build(experiment.features, device)
        self.decoder = experiment.decoder.to(device).train()
        self.nets = {PREFIX: self.decoder}
        self.optimizers = {PREFIX: adam(self.decoder.parameters(), self.schedule, device)}
        self.stage = Stage(len(experiment.shape.sizes) - 1)
        self.dataset = styles
        seed = seed_of(self.schedule.seed, STYLES)
        self.styles = Loader(styles, seed=seed, mirror=self.schedule.mirror, workers=1)
        precision = dtype(self.schedule.precision, device)
        self.autocast = {"device_type": device.type, "dtype": precision, "enabled": precision != torch.float32}

    def rates(self, network: str) -> Rates:
        """Learning rate and betas; the rate falls as in the released code, lr / (1 + decay * iteration)."""
        lr, betas = super().rates(network)
        return lr / (1 + self.experiment.lr_decay * self.iteration), betas

    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """One iteration on this process's share of a batch of contents."""
        self.begin()
        rank, count = distributed.rank_and_world()
        share = len(real)
        first = self.images + rank * share
        styles, _ = self.styles.batch(first, share, following=first + count * share)
        pairs = self.cropped(real), self.cropped(styles)
        self.optimize(PREFIX, "main", share, lambda rows, rng: self.objective(*pairs, rows, rng))
        self.images += count * share
        self.iteration += 1

    def cropped(self, images: Tensor) -> Image:
        """uint8 images [N, 3, H, W], each cut to the size of training at a place of its own, in [-1, 1]."""
        height, width = self.experiment.shape.size
        room = torch.tensor([images.shape[2] - height + 1, images.shape[3] - width + 1])
        places = (torch.rand(len(images), 2) * room).long().tolist()
        cut = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, places)]
        return to_unit(torch.stack(cut)).to(self.device)

    def objective(self, content: Image, style: Image, rows: range, rng: SampleRng) -> Tensor:
        """Content and style loss of a part of the batch."""
        some = slice(rows.start, rows.stop)
        layers, deepest = style_layers(self.features), encoder_layer(type(self.features))
        named = tuple(dict.fromkeys([*layers, deepest]))
        with torch.autocast(**self.autocast):  # type: ignore[arg-type]
            with torch.no_grad():
                styled = self.features(style[some], named)
                target = adain(encode(self.features, content[some]), styled[deepest])
            decoded = self.features(self.decoder(target), named)
            near = content_loss(decoded[deepest], target)
            alike = torch.stack([style_loss(decoded[name], styled[name]) for name in layers]).sum()
        self.log("loss/content", near)
        self.log("loss/style", alike)
        return self.experiment.content_weight * near + self.experiment.style_weight * alike

    def modules(self) -> dict[str, nn.Module]:
        """The decoder."""
        return {PREFIX: self.decoder}

    def weights(self) -> dict[str, nn.Module]:
        """The decoder."""
        return {PREFIX: self.decoder}

    @torch.inference_mode()
    def samples(self, dataset: Dataset, count: int) -> Tensor:
        """The first contents in the first styles, from the middle of the images."""
        made = []
        for i in range(count):
            content, style = (self._middle(each, i % len(each)) for each in (dataset, self.dataset))
            target = adain(encode(self.features, content), encode(self.features, style))
            made.append(to_uint8(self.decoder(target).cpu()))
        return torch.cat(made)

    def _middle(self, dataset: Dataset, index: int) -> Image:
        image, (height, width) = torch.from_numpy(dataset.image(index).copy()), self.experiment.shape.size
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        return to_unit(image[None, :, top : top + height, left : left + width]).to(self.device)
