"""Adversarial training. Read `Trainer.step` first: it is the algorithm; what follows are its words."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from ganzoo.gan.freeze import first_layers
from ganzoo.interfaces import (
    Augment,
    Dataset,
    Discriminator,
    Experiment,
    GanBatch,
    Generator,
    Growth,
    Loss,
    Regularizer,
    SampleRng,
    Schedule,
    Stage,
)
from ganzoo.interfaces.experiment import Count, Positive
from ganzoo.nn.pixels import to_uint8, to_unit
from ganzoo.nn.resample import downsample, upsample
from ganzoo.training import distributed, ema
from ganzoo.training.device import dtype
from ganzoo.training.labels import drawn_labels
from ganzoo.training.learner import GradientLearner, adam
from ganzoo.training.seeds import latents
from ganzoo.types import Label, Logits, PerSample, Pyramid

NetworkName = Literal["g", "d"]
BatchFactory = Callable[[range, SampleRng], GanBatch]


class Training(Schedule):
    """How to train a GAN.

    Args:
        d_lr: the discriminator's learning rate, where it differs
        order: which network moves first in an iteration: "gd" as in StyleGAN2, "dg" as in ProGAN
        g_every: the generator learns at every k-th iteration only: k discriminator steps to one (WGAN-GP)
        freeze_d: layers of the discriminator, counted from the image, that keep what they were given (Freeze-D)
        ema_kimg: half-life of the moving average of the generator's weights
        ema_beta: the moving average's decay at every iteration, in place of the half-life; null for the half-life
        ema_rampup: the half-life is at most this fraction of the images seen; null for none
    """

    d_lr: Positive | None = None
    order: Literal["gd", "dg"] = "gd"
    g_every: Count = 1
    freeze_d: Annotated[int, Ge(0)] = 0
    ema_kimg: Annotated[float, Ge(0)] = 10.0
    ema_beta: Annotated[float, Interval(ge=0, lt=1)] | None = None
    ema_rampup: Positive | None = None


class AdversarialExperiment(Experiment):
    """What a trainer needs of an experiment."""

    G: Generator
    D: Discriminator
    loss: Loss
    regularizers: Sequence[Regularizer]
    growth: Growth | None
    augment: Augment | None
    training: Training

    def stage_at(self, images: int) -> Stage:
        """Where growth stands after so many images."""
        return self.growth.stage(images) if self.growth else super().stage_at(images)


class Trainer(GradientLearner):
    """A GAN with its optimizers, moving average and counters; `step` trains on one batch."""

    experiment: AdversarialExperiment

    def __init__(self, experiment: AdversarialExperiment, device: torch.device) -> None:
        super().__init__(experiment, device)
        self.options, self.grows = experiment.training, experiment.growth is not None
        self.G, self.D = experiment.G.to(device).train(), experiment.D.to(device).train()
        for net in (self.G, self.D):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            net.set_dtype(dtype(self.options.precision, device))
        self.G_ema = cast(Generator, ema.follower(self.G))
        self.G_ema.set_dtype(torch.float32)  # samples and metrics are those of a loaded snapshot
        self.loss = experiment.loss.to(device)
        self.regularizers = nn.ModuleList(experiment.regularizers).to(device)
        self.augment = experiment.augment.to(device) if experiment.augment else None
        self.nets = {"g": self.G, "d": self.D}
        self.stage = self.stage_at(0)
        self.optimizers = {"g": self._adam("g"), "d": self._adam("d")}
        self.frozen = set(first_layers(self.D, self.options.freeze_d).values())

    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """One iteration on this process's share of a batch."""
        self.begin()
        self.enter(self.stage_at(self.images))
        gan_batches = self.gan_batches(real, label, fake_label)

        for network in self.learners():
            # the loss, with the penalties that are due at every iteration
            self.optimize(network, "main", len(real), partial(self.objective, network, gan_batches))
            for reg in self.due(network, lazy=True):  # each a step of its own, `every` times as strong
                self.optimize(network, reg.name, len(real), partial(self.lazily, reg, gan_batches))

        batch = len(real) * distributed.rank_and_world()[1]
        self.sync_buffers()
        self.follow(batch)
        if self.augment:
            self.augment.adapt(batch)  # alike in all processes
            self.mark_synced()
        self.images += batch
        self.iteration += 1

    # --- the words of the step ---------------------------------------------------------------------------------------

    def objective(self, network: NetworkName, gan_batches: BatchFactory, rows: range, rng: SampleRng) -> Tensor:
        """The adversarial loss of one network, with the penalties that are due at every iteration; a mean."""
        batch = gan_batches(rows, rng)
        loss = self.adversarial(network, batch).mean()
        for reg in self.due(network, lazy=False):
            loss = loss + self.penalty(reg, batch).mean()
        return loss

    def lazily(self, reg: Regularizer, gan_batches: BatchFactory, rows: range, rng: SampleRng) -> Tensor:
        """A penalty that makes up for the iterations without it; a mean."""
        return self.penalty(reg, gan_batches(rows, rng)).mean() * reg.every

    def adversarial(self, network: NetworkName, batch: GanBatch) -> PerSample:
        """The adversarial loss of one network, [N]."""
        if network == "g":
            fake = batch.D(batch.fake_with_graph, batch.label, batch.stage)
            real = torch.zeros_like(fake)
            if self.loss.relativistic:
                with torch.no_grad():
                    real = batch.D(batch.real, batch.real_label, batch.stage)
            loss = self.loss.g(fake, real)
        else:
            pair = [(self.augmented(batch.fake), batch.label), (self.augmented(batch.real), batch.real_label)]
            fake, real = self.D.judge_each(pair, batch.stage)
            loss = self.loss.d(real, fake)
            batch.observe(real)
            self.log("scores/fake", fake)
            self.log("scores/real", real)
            self.log("signs/real", real.sign())
        self.log(f"loss/{network}", loss)
        return loss

    def penalty(self, reg: Regularizer, batch: GanBatch) -> PerSample:
        """A regularizer's penalty, [N]."""
        value = reg.penalty(batch)
        self.log(f"penalty/{reg.name}", value)
        return value

    def due(self, network: NetworkName, *, lazy: bool) -> list[Regularizer]:
        """The regularizers of a network that are due now: the lazy ones, or those of every iteration."""
        regs = cast(list[Regularizer], [reg for reg in self.regularizers if cast(Regularizer, reg).on == network])
        steps = self.iteration // (self.options.g_every if network == "g" else 1)
        return [reg for reg in regs if (reg.every > 1) == lazy and steps % reg.every == 0]

    def learners(self) -> list[NetworkName]:
        """The networks that learn in this iteration, in order."""
        order = cast(tuple[NetworkName, NetworkName], tuple(self.options.order))
        return [network for network in order if network == "d" or (self.iteration + 1) % self.options.g_every == 0]

    def judge(self, images: Pyramid, label: Label, stage: Stage) -> Logits:
        """The discriminator, with the augmentation in front."""
        return self.D(self.augmented(images), label, stage)

    def classify(self, images: Pyramid, stage: Stage) -> Tensor:
        """The discriminator's class scores, with the augmentation in front."""
        return self.D.classify(self.augmented(images), stage)

    def augmented(self, images: Pyramid) -> Pyramid:
        """What the discriminator sees of images."""
        return self.augment(images) if self.augment else images

    def observe(self, real: Logits) -> None:
        """What D says of reals, for an augmentation that adapts to it."""
        if self.augment:
            self.augment.observe(real.detach())

    def gan_batches(self, real: Tensor, label: Tensor, fake_label: Tensor) -> BatchFactory:
        """A part of the batch with latents of its own, by its rows and what they draw."""
        labels = bool(self.experiment.labels)

        def batch(rows: range, rng: SampleRng) -> GanBatch:
            some = slice(rows.start, rows.stop)
            part = self.pyramid(real[some].to(self.device, non_blocking=True))
            own, other = (t[some].to(self.device) if labels else None for t in (label, fake_label))
            z = rng.normal(self.G.w_mean.new_empty(len(rows), self.G.z_dim))
            return GanBatch(
                G=self.G,
                D=self.judge,
                stage=self.stage,
                z=z,
                label=other,
                real=part,
                real_label=own,
                classify=self.classify,
                observe=self.observe,
                rng=rng,
            )

        return batch

    def follow(self, batch: int) -> None:
        """The moving average of G takes a step."""
        decay = self.options.ema_beta
        if decay is None:
            decay = ema.beta(batch, self.options.ema_kimg, self.images, self.options.ema_rampup)
        ema.update(self.G_ema, self.G, decay)

    def pyramid(self, real: Tensor) -> Pyramid:
        """Reals as the discriminator wants them at this stage: box-downsampled, and faded like the generated ones."""
        x = to_unit(real).to(self.G.w_mean.dtype)  # float32, unless a test wants more
        for _ in range(len(self.experiment.shape.sizes) - 1 - self.stage.level):
            x = downsample(x, (1, 1))
        if self.stage.alpha < 1:  # the detail fades in (arXiv:1710.10196, appendix A)
            x = torch.lerp(upsample(downsample(x, (1, 1)), (1, 1)), x, self.stage.alpha)
        images = [x]
        if self.D.accepts == "pyramid":
            for _ in range(self.stage.level):
                images.insert(0, downsample(images[0], (1, 1)))
        return tuple(images)

    # --- optimizers and growth ---------------------------------------------------------------------------------------

    def _adam(self, network: NetworkName) -> torch.optim.Adam:
        """Adam; lazy steps make it move more often, so step length and memory shrink (arXiv:1912.04958, appendix B)."""
        c = self.lazy_factor(network)
        betas = (self.options.betas[0] ** c, self.options.betas[1] ** c)
        return adam(self.nets[network].parameters(), self.options, self.device, lr=self.lr(network), betas=betas)

    def lazy_factor(self, network: NetworkName) -> float:
        """Main steps as a share of all optimizer steps: k / (k + 1) for one penalty at each k-th iteration."""
        regs = [cast(Regularizer, r) for r in self.regularizers]
        return 1 / (1 + sum(1 / r.every for r in regs if r.on == network and r.every > 1))

    def lr(self, network: NetworkName) -> float:
        """Learning rate of a network at the present stage, corrected for lazy steps."""
        o, growth = self.options, self.experiment.growth
        rate = growth.lr(self.stage, o.lr) if growth else o.lr
        own = o.d_lr / o.lr if network == "d" and o.d_lr else 1.0  # D's rate follows the schedule too
        return rate * own * self.lazy_factor(network)

    def stage_at(self, images: int) -> Stage:
        """Where growth stands after so many images."""
        return self.experiment.stage_at(images)

    def batch(self) -> int:
        """Images of the next iteration."""
        growth = self.experiment.growth
        return growth.batch(self.stage_at(self.images), self.options.batch) if growth else self.options.batch

    def batches(self) -> set[int]:
        """Batch sizes of all stages that the training passes through."""
        growth, total = self.experiment.growth, round(self.options.kimg * 1000)
        if not growth:
            return {self.options.batch}
        seen = range(0, total, max(1, total // 10_000))
        return {growth.batch(growth.stage(images), self.options.batch) for images in seen}

    def enter(self, stage: Stage) -> None:
        """Take up a stage: learning rates, and forgotten moments where the schedule says so."""
        growth = self.experiment.growth
        reset = growth is not None and growth.resets_optimizer(self.stage, stage)
        self.stage = stage
        for network, optimizer in self.optimizers.items():
            if reset:
                optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = self.lr(cast(NetworkName, network))

    # --- what is kept and shown --------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """Both networks, the moving average, and what penalties, loss and augmentation keep."""
        found = {"G": self.G, "D": self.D, "G_ema": self.G_ema, "loss": self.loss, "regularizers": self.regularizers}
        return found | ({"augment": self.augment} if self.augment else {})

    def weights(self) -> dict[str, nn.Module]:
        """Both networks and the moving average."""
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    @torch.inference_mode()
    def samples(self, dataset: Dataset, count: int) -> Tensor:
        """Images of fixed latents, at the present stage of growth."""
        G, z = self.G_ema, latents(range(count), self.G_ema.z_dim).to(self.device)
        labels = drawn_labels(dataset, count, 0).to(self.device) if G.labels else None
        with G.noise("const"):
            size = min(32, self.micro_batch or self.batch())  # no more memory than training takes
            parts = [
                to_uint8(G(z[i : i + size], None if labels is None else labels[i : i + size], self.stage)[-1].cpu())
                for i in range(0, count, size)
            ]
        return torch.cat(parts)

    @property
    def generator(self) -> Generator:
        """The moving average, which metrics measure."""
        return self.G_ema

    def report(self) -> dict[str, float]:
        """Means since the last report, and what the augmentation says of itself."""
        own = self.augment.values() if self.augment else {}
        return super().report() | {f"augment/{name}": value for name, value in own.items()}
