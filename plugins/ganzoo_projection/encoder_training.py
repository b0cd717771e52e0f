"""Training of an encoder on pairs that the generator makes: z -> w -> image, and back."""

from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor, nn

from ganzoo.errors import UsageError
from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces import Dataset, Experiment, Extractor, SampleRng, Schedule, Shape, Stage
from ganzoo.io.files import expand_user
from ganzoo.model.model import load
from ganzoo.nn.pixels import to_uint8, to_unit
from ganzoo.registry.component import Make
from ganzoo.training import distributed
from ganzoo.training.labels import labels_at
from ganzoo.training.learner import GradientLearner, adam
from ganzoo.types import Image, Label, PerSample
from ganzoo_projection import search
from ganzoo_projection.interfaces import FrozenGenerator, Weight
from ganzoo_projection.perceptual import (
    LPIPS,
    Lambdas,
    Outputs,
    PerceptualDistance,
    Side,
    perceptual_distance,
    upgraded_comparison,
)
from ganzoo_projection.projectors.encoder import PREFIX, Encoder

Positive = Annotated[int, Gt(0)]
DEFAULT = Schedule(kimg=1000.0, batch=8, lr=1e-4, betas=(0.9, 0.999), snapshot_ticks=50)


class Encoding(Experiment, name="encoder", paper="arXiv:2008.00951"):
    """An encoder from images to the latents of one generator (`gz project --method encoder`).

    It learns from pairs of latent and image that the generator makes; real images are shown in samples, and learned
    from where `lambda_real` says so.

    Args:
        title: one line about it
        paper: where it is described
        generator: a snapshot-*.safetensors
        space: "w+" finds a style code for each layer, "w" one for all
        width: channels at the full size; they double where the size is halved, up to 512
        blocks: residual blocks of each size
        perceptual: the extractor by which images are compared
        outputs: which of its outputs are compared, by mean squares of maps and squared distances of vectors; null for
            lpips through vgg16, for all layers through another
        lambdas: the weight of each output; null for 1
        side: images are brought to this longer side before they are compared; null for 256 through vgg16, for their own
            size through another
        enlarge: bring smaller images to that side too; else only larger ones are averaged to it. null for layers of
            vgg16, as in Image2StyleGAN, but not for lpips
        lambda_mse: weight of the mean squared difference of pixels, which run from -1 to 1
        lambda_percept: weight of the perceptual distance
        lambda_latent: weight of the mean squared difference of style codes, in their variances
        lambda_real: weight of the first two losses on real images; 0 leaves them out
        dataset: real images; `--data` chooses them on the command line
        training: how to train
    """

    needs_weights: ClassVar[bool] = True  # those of a generator
    next_step: ClassVar[str] = "gz project CKPT IMAGE --method encoder --set weights={folder}"

    def __init__(
        self,
        *,
        title: str = "an encoder",
        paper: str = "",
        generator: Path | None = None,
        space: Literal["w", "w+"] = "w+",
        width: Positive = 64,
        blocks: Positive = 2,
        perceptual: Make[Extractor] = VGG16,
        outputs: Outputs | None = None,
        lambdas: Lambdas | None = None,
        side: Side | None = None,
        enlarge: bool | None = None,
        lambda_mse: Weight = 1.0,
        lambda_percept: Weight = 0.8,
        lambda_latent: Weight = 1.0,
        lambda_real: Weight = 0.0,
        dataset: Make[Dataset] | None = None,
        training: Schedule = DEFAULT,
    ) -> None:
        self.title, self.training = title, training
        self._perceptual = perceptual
        self._comparison: dict[str, Any] = {"outputs": outputs, "lambdas": lambdas, "side": side, "enlarge": enlarge}
        self.generator, self.space, self.width, self.blocks = generator, space, width, blocks
        self.lambda_mse, self.lambda_percept = lambda_mse, lambda_percept
        self.lambda_latent, self.lambda_real = lambda_latent, lambda_real
        self._dataset = dataset

    @classmethod
    def upgraded(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Read recipes of the time when `perceptual` held layers, weights and size itself."""
        return upgraded_comparison(options)

    def perceptual(self, channels: int) -> PerceptualDistance:
        """Build the distance of images. Raises CheckpointError where weights are missing."""
        return perceptual_distance(self._perceptual, channels, LPIPS, **self._comparison)

    @cached_property
    def view(self) -> FrozenGenerator:
        """The generator, read when it is needed. Raises CheckpointError, or UsageError where the recipe names none."""
        if self.generator is None:
            raise UsageError("the recipe names no generator: add --set generator=snapshot.safetensors.")
        model = load(expand_user(self.generator), "cpu")
        return search.freeze(model, 0 if model.G.labels else None)

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        """Sizes and channels of the images that the generator makes."""
        return self.view.shape

    @property
    def labels(self) -> int:  # type: ignore[override]
        """Number of the generator's classes."""
        return self.view.G.labels

    @cached_property
    def E(self) -> Encoder:
        """The encoder, untrained."""
        layers = self.view.G.num_ws if self.space == "w+" else 1
        return Encoder(self.view, layers, self.width, self.blocks)

    def networks(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {PREFIX: self.E}

    def learner(self, device: torch.device) -> "EncoderLearner":
        """A training of the encoder. Raises CheckpointError where weights are missing."""
        return EncoderLearner(self, device)

    def dataset(self) -> Dataset | None:
        """Real images."""
        return self._dataset(self.shape.size, self.shape.channels, self.labels) if self._dataset else None


class EncoderLearner(GradientLearner):
    """Steps of Adam on the encoder; the generator is fixed, with its stored noise."""

    experiment: Encoding

    def __init__(self, experiment: Encoding, device: torch.device) -> None:
        super().__init__(experiment, device)
        self.view = experiment.view
        self.G = self.view.G.to(device)
        self.E = experiment.E.to(device).train()
        self.perceptual = experiment.perceptual(experiment.shape.channels).to(device).eval().requires_grad_(False)
        self.nets = {PREFIX: self.E}
        self.optimizers = {PREFIX: adam(self.E.parameters(), self.schedule, device)}
        self.stage = Stage(len(experiment.shape.sizes) - 1)

    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """One iteration on this process's share of a batch."""
        self.begin()
        self.optimize(PREFIX, "main", len(real), partial(self.objective, real, label, fake_label))
        self.images += len(real) * distributed.rank_and_world()[1]
        self.iteration += 1

    def objective(self, real: Tensor, label: Tensor, fake_label: Tensor, rows: range, rng: SampleRng) -> Tensor:
        """The loss on as many generated images as a part of the batch has, and on its real ones; a mean."""
        some, e = slice(rows.start, rows.stop), self.experiment
        own = fake_label[some].to(self.device) if e.labels else None
        z = rng.normal(self.G.w_mean.new_empty(len(rows), self.G.z_dim))
        with torch.no_grad(), self.G.noise("const"):
            ws = self.G.styles(z, own, self.view.stage)
            images = self.G.synthesize(ws, self.view.stage)[-1]
        latent = self.E(images)
        codes = self.codes(latent, own)
        variance = self.view.spread**2 / ws.shape[-1]
        far = (codes - ws).square().flatten(1).mean(dim=1) / max(variance, 1e-12)
        loss = e.lambda_latent * far + self.reconstruction(images, codes, "synthetic")
        self.log("loss/latent", far)
        if e.lambda_real:
            x = to_unit(real[some].to(self.device))
            of = label[some].to(self.device) if e.labels else None
            loss = loss + e.lambda_real * self.reconstruction(x, self.codes(self.E(x), of), "real")
        return loss.mean()

    def codes(self, latent: Tensor, label: Label) -> Tensor:
        """Style codes of the encoder's latents, [N, L, W]."""
        if latent.ndim == 3:
            return latent.expand(-1, self.G.num_ws, -1)
        return self.G.styles(latent, label, self.view.stage)

    def reconstruction(self, target: Image, codes: Tensor, which: str) -> PerSample:
        """Pixels and perceptual distance of the codes' images, [N]."""
        with self.G.noise("const"):
            made = self.G.synthesize(codes, self.view.stage)[-1]
        mse = (made - target).square().flatten(1).mean(dim=1)
        self.log(f"loss/{which}-mse", mse)
        if not self.experiment.lambda_percept:
            return self.experiment.lambda_mse * mse
        with torch.no_grad():
            wanted = self.perceptual(target)
        distance = self.perceptual.distance(made, wanted)
        self.log(f"loss/{which}-perceptual", distance)
        return self.experiment.lambda_mse * mse + self.experiment.lambda_percept * distance

    def modules(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {PREFIX: self.E}

    def weights(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {PREFIX: self.E}

    @torch.inference_mode()
    def samples(self, dataset: Dataset, count: int) -> Tensor:
        """The first real images, each followed by what the generator makes of the encoder's latent."""
        some = [i % len(dataset) for i in range((count + 1) // 2)]
        shown = []
        for part in (some[i : i + 32] for i in range(0, len(some), 32)):
            images = torch.from_numpy(np.stack([dataset.image(i) for i in part]))
            labels = labels_at(dataset, part).to(self.device) if self.experiment.labels else None
            codes = self.codes(self.E(to_unit(images).to(self.device)), labels)
            with self.G.noise("const"):
                made = to_uint8(self.G.synthesize(codes, self.view.stage)[-1].cpu())
            shown.append(torch.stack([images, made], dim=1).flatten(0, 1))
        return torch.cat(shown)[:count]
