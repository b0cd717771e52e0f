"""Adversarial training. Read `Trainer.step` first: it is the algorithm; the methods below it are its terms."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganzoo.gan.adversarial import AdversarialExperiment, Training
from ganzoo.gan.freeze import first_layers
from ganzoo.interfaces import (
    Dataset,
    GanBatch,
    Generator,
    Learning,
    Regularizer,
    SampleRng,
    Stage,
)
from ganzoo.nn.pixels import to_uint8, to_unit
from ganzoo.nn.resample import downsample, upsample
from ganzoo.training import distributed, ema
from ganzoo.training.device import dtype
from ganzoo.training.labels import drawn_labels
from ganzoo.training.learner import GradientLearner, Rates, adam
from ganzoo.training.seeds import latents
from ganzoo.types import Label, Logits, PerSample, Pyramid

BatchFactory = Callable[[range, SampleRng], GanBatch]  # (rows of this process's share, what they draw) -> a batch
SAMPLES_AT_ONCE = 32  # images; fewer where training computes fewer, so that samples need no more memory than it


class Trainer(GradientLearner):
    """A GAN with its optimizers, moving average and counters; `step` trains on one batch."""

    experiment: AdversarialExperiment
    schedule: Training

    def __init__(self, experiment: AdversarialExperiment, device: torch.device) -> None:
        super().__init__(experiment, device)
        self.grows = experiment.growth is not None
        self.G, self.D = experiment.G.to(device).train(), experiment.D.to(device).train()
        for net in (self.G, self.D):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            net.set_dtype(dtype(self.schedule.precision, device))
        self.G_ema = cast(Generator, ema.copy_of(self.G))
        self.G_ema.set_dtype(torch.float32)  # samples and metrics are those of a loaded snapshot
        self.loss = experiment.loss.to(device)
        self.regularizers = list(experiment.regularizers)
        self._penalties = nn.ModuleList(self.regularizers).to(device)  # the same, as a module with their buffers
        self.augment = experiment.augment.to(device) if experiment.augment else None
        self.averages = {"G_ema": "G"}
        self.real_batches = 2 if self.schedule.fresh_reals else 1
        self.nets = {"g": self.G, "d": self.D}
        self.stage = self.stage_at(0)
        self.optimizers = {name: adam(net.parameters(), self.schedule, device) for name, net in self.nets.items()}
        self.frozen = set(first_layers(self.D, self.schedule.freeze_d).values())

    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """Run one iteration on this process's share of a batch.

        Args:
            real: uint8 images [N, C, H, W]; those beyond the first N are the generator's own
            label: their labels, [N, K]
            fake_label: labels of generated images, [N, K]
        """
        self.enter(self.stage_at(self.images))
        self.begin()
        size = len(fake_label)
        batches = {
            "d": self.batch_factory(real[:size], label[:size], fake_label),
            "g": self.batch_factory(real[-size:], label[-size:], fake_label),
        }

        for network in self.learning_networks():
            make_batch = batches[network]
            self.optimize(network, "main", size, partial(self.main_loss, network, make_batch))
            for reg in self.due(network, lazy=True):  # each in a step of its own
                self.optimize(network, reg.name, reg.samples(size), partial(self.lazy_loss, reg, make_batch))

        batch = size * distributed.rank_and_world()[1]
        self.buffer_sync.average()
        self.update_average(batch)
        if self.augment:
            self.augment.adapt(batch)
            self.buffer_sync.mark()  # all processes adapt alike
        self.images += batch
        self.iteration += 1

    # --- the terms of the step ----------------------------------------------------------------------------------------

    def learning_networks(self) -> list[Learning]:
        """The networks that learn in this iteration, in order."""
        order = cast(tuple[Learning, Learning], tuple(self.schedule.order))
        return [network for network in order if network == "d" or (self.iteration + 1) % self.schedule.g_every == 0]

    def due(self, network: Learning, *, lazy: bool) -> list[Regularizer]:
        """The regularizers of a network that are due now: the lazy ones, or those of every iteration."""
        steps = self.iteration // (self.schedule.g_every if network == "g" else 1)
        regs = [reg for reg in self.regularizers if reg.on == network and (reg.every > 1) == lazy]
        return [reg for reg in regs if steps % reg.every == 0]

    def main_loss(self, network: Learning, make_batch: BatchFactory, rows: range, rng: SampleRng) -> Tensor:
        """The adversarial loss of one network and the penalties that are due at every iteration; a mean over rows."""
        batch = make_batch(rows, rng)
        self.G.set_phase(network)
        loss = self.adversarial_loss(network, batch).mean()
        for reg in self.due(network, lazy=False):
            count = reg.samples(batch.total)
            part = batch.among_first(count)
            if part:  # a mean over `count` samples of the batch, where the loss is one over all
                loss = loss + self.penalty(reg, batch).mean() * (part * batch.total / (count * len(rows)))
        return loss

    def lazy_loss(self, reg: Regularizer, make_batch: BatchFactory, rows: range, rng: SampleRng) -> Tensor:
        """A penalty, `every` times as strong to make up for the iterations without it; a mean over rows."""
        self.G.set_phase(reg.on)
        return self.penalty(reg, make_batch(rows, rng)).mean() * reg.every

    def adversarial_loss(self, network: Learning, batch: GanBatch) -> PerSample:
        """The adversarial loss of one network, [N]."""
        loss = self.generator_loss(batch) if network == "g" else self.discriminator_loss(batch)
        self.log(f"loss/{network}", loss)
        return loss

    def generator_loss(self, batch: GanBatch) -> PerSample:
        """The generator's loss on its images, [N]; a relativistic one compares them with reals."""
        fake = batch.D(batch.fake_with_graph, batch.label, batch.stage)
        real = torch.zeros_like(fake)
        if self.loss.relativistic:
            with torch.no_grad():
                real = batch.D(batch.real, batch.real_label, batch.stage)
        return self.loss.g(fake, real)

    def discriminator_loss(self, batch: GanBatch) -> PerSample:
        """The discriminator's loss on generated images and reals, [N]."""
        fake, real = self.logits(batch)
        loss = self.loss.d(real, fake)
        self.log("scores/fake", fake)
        self.log("scores/real", real)
        self.log("signs/real", real.sign())
        return loss

    def logits(self, batch: GanBatch) -> tuple[Logits, Logits]:
        """D's logits on generated images and on reals, in one pass, or in those that the penalties of the step share.

        A penalty at reals alone needs a pass of their own: in one of both, its second derivative would pass the
        generated images too.
        """
        shared = {reg.judged_at for reg in self.due("d", lazy=False)} - {None}
        if shared:
            plain_fake, plain_real = "fake" not in shared, "real" not in shared
            fake = batch.D(batch.fake, batch.label, batch.stage) if plain_fake else batch.judged_fake.logits
            real = batch.D(batch.real, batch.real_label, batch.stage) if plain_real else batch.judged_real.logits
        else:
            fakes = self.augmented(batch.fake), batch.label
            reals = self.augmented(batch.real), batch.real_label
            fake, real = self.D.judge_each([fakes, reals], batch.stage)
        if "real" not in shared:  # the others are observed as they are judged
            batch.observe(real)
        return fake, real

    def penalty(self, reg: Regularizer, batch: GanBatch) -> PerSample:
        """A regularizer's penalty, [N]."""
        penalty = reg.penalty(batch)
        self.log(f"penalty/{reg.name}", penalty)
        return penalty

    def update_average(self, batch: int) -> None:
        """Move G_ema towards G, after an iteration on `batch` images."""
        decay = self.schedule.ema_beta
        if decay is None:
            decay = ema.beta(batch, self.now(self.schedule.ema_kimg), self.images, self.schedule.ema_rampup)
        ema.update(self.G_ema, self.G, decay)

    # --- the batch ----------------------------------------------------------------------------------------------------

    def batch_factory(self, real: Tensor, label: Tensor, fake_label: Tensor) -> BatchFactory:
        """Return a function that makes a batch of some rows of these images and labels, with latents of its own."""
        notes: dict[Any, Any] = {}

        def gan_batch(rows: range, rng: SampleRng) -> GanBatch:
            part = slice(rows.start, rows.stop)
            images = self.pyramid(real[part].to(self.device, non_blocking=True))
            labelled = bool(self.experiment.labels)
            fake_labels = label if self.loss.paired else fake_label
            return GanBatch(
                G=self.G,
                D=self.judge,
                stage=self.stage,
                z=rng.normal(self.G.w_mean.new_empty(len(rows), self.G.z_dim)),
                label=fake_labels[part].to(self.device) if labelled else None,
                real=images,
                real_label=label[part].to(self.device) if labelled else None,
                images=self.images,
                classify=self.classify,
                observe=self.observe,
                rng=rng,
                start=rows.start,
                size=len(real),
                all_mean=distributed.mean,
                notes=notes,
            )

        return gan_batch

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

    def judge(self, images: Pyramid, label: Label, stage: Stage) -> Logits:
        """The discriminator, with the augmentation in front."""
        return self.D(self.augmented(images), label, stage)

    def classify(self, images: Pyramid, stage: Stage) -> Tensor:
        """The discriminator's class scores, with the augmentation in front."""
        return self.D.classify(self.augmented(images), stage)

    def augmented(self, images: Pyramid) -> Pyramid:
        """Augment images, where the experiment has an augmentation."""
        return self.augment(images) if self.augment else images

    def observe(self, real: Logits) -> None:
        """Show D's logits on reals to an augmentation that adapts to them."""
        if self.augment:
            self.augment.observe(real.detach())

    # --- optimizers and growth ----------------------------------------------------------------------------------------

    def rates(self, network: str) -> Rates:
        """Learning rate and betas of a network at this iteration.

        Lazy steps make Adam move more often, so step length and memory shrink (arXiv:1912.04958, appendix B).
        """
        lr, betas = super().rates(network)
        schedule, growth = self.schedule, self.experiment.growth
        grown = growth.lr(self.stage, lr) if growth else lr
        if network == "d" and schedule.d_lr is not None:
            grown = grown * (self.now(schedule.d_lr) / lr) if lr else self.now(schedule.d_lr)  # follows growth too
        c = self.lazy_factor(network)
        return grown * c, (betas[0] ** c, betas[1] ** c)

    def lazy_factor(self, network: str) -> float:
        """Main steps as a share of all optimizer steps: k / (k + 1) for one penalty at each k-th iteration."""
        return 1 / (1 + sum(1 / reg.every for reg in self.regularizers if reg.on == network and reg.every > 1))

    def stage_at(self, images: int) -> Stage:
        """Where growth stands after so many images."""
        return self.experiment.stage_at(images)

    def batch(self) -> int:
        """Images of the next iteration, of all processes together."""
        growth = self.experiment.growth
        return growth.batch(self.stage_at(self.images), self.schedule.batch) if growth else self.schedule.batch

    def batches(self) -> set[int]:
        """Batch sizes of all stages that the training passes through."""
        growth, total = self.experiment.growth, round(self.schedule.kimg * 1000)
        if not growth:
            return {self.schedule.batch}
        times = range(0, total, max(1, total // 10_000))
        return {growth.batch(growth.stage(images), self.schedule.batch) for images in times}

    def enter(self, stage: Stage) -> None:
        """Come to a stage: without Adam's moments where growth forgets them."""
        growth = self.experiment.growth
        if growth and growth.resets_optimizer(self.stage, stage):
            for optimizer in self.optimizers.values():
                optimizer.state.clear()
        self.stage = stage

    def begin(self) -> None:
        """Begin an iteration: its seed and rates, and what loss and augmentation prepare."""
        super().begin()
        self.loss.begin(self.images)
        if self.augment:
            self.augment.begin(self.images)

    # --- what is kept and shown ---------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """Both networks, the moving average, and what penalties, loss and augmentation keep."""
        modules = {**self.weights(), "loss": self.loss, "regularizers": self._penalties}
        return modules | ({"augment": self.augment} if self.augment else {})

    def weights(self) -> dict[str, nn.Module]:
        """Both networks and the moving average."""
        return {"G": self.G, "D": self.D, "G_ema": self.G_ema}

    @torch.inference_mode()
    def samples(self, dataset: Dataset, count: int) -> Tensor:
        """Images of fixed latents by the moving average, at the present stage: uint8 [count, C, H, W]."""
        G, z = self.G_ema, latents(range(count), self.G_ema.z_dim).to(self.device)
        labels = drawn_labels(dataset, count, 0).to(self.device) if G.labels else None
        step = min(SAMPLES_AT_ONCE, self.micro_batch or self.batch())
        with G.noise("const"):
            parts = [
                to_uint8(G(z[i : i + step], None if labels is None else labels[i : i + step], self.stage)[-1].cpu())
                for i in range(0, count, step)
            ]
        return torch.cat(parts)

    @property
    def generator(self) -> Generator:
        """The moving average, which metrics measure."""
        return self.G_ema

    def report(self) -> dict[str, float]:
        """Means since the last report, and the numbers of the augmentation."""
        augment = self.augment.values() if self.augment else {}
        return super().report() | {f"augment/{name}": value for name, value in augment.items()}
