"""The training step. Read `Trainer.step` first: it is the algorithm; what follows are its words.

A step's randomness is seeded from (seed, images seen), and data is drawn by position, so a run that stops and resumes
needs no random state: counters, weights, Adam's moments and buffers are all there is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo import ema
from ganzoo.build import Experiment
from ganzoo.data import to_unit
from ganzoo.device import dtype
from ganzoo.errors import Diverged
from ganzoo.interfaces import Generator, Regularizer, Stage, Turn
from ganzoo.nn.resample import downsample, upsample
from ganzoo.types import Label, Logits, PerSample, Pyramid

Who = Literal["g", "d"]


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, well mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Trainer:
    """An experiment with its optimizers, moving average and counters; `step` trains on one batch."""

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self.experiment, self.device, self.options = experiment, device, experiment.training
        self.G, self.D = experiment.G.to(device).train(), experiment.D.to(device).train()
        for net in (self.G, self.D):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            net.set_dtype(dtype(self.options.precision, device))
        self.G_ema = cast(Generator, ema.follower(self.G))
        self.G_ema.set_dtype(torch.float32)  # samples and metrics are those of a loaded snapshot
        self.loss = experiment.loss.to(device)
        self.regularizers = nn.ModuleList(experiment.regularizers).to(device)
        if experiment.augment:
            experiment.augment.to(device)
        self.nets: dict[Who, nn.Module] = {"g": self.G, "d": self.D}
        self.stage = self.stage_at(0)
        self.optimizers = {who: self._adam(who) for who in self.nets}
        self.images = 0  # real images shown to the discriminator
        self.iteration = 0
        self.stats: dict[str, list[Tensor]] = defaultdict(list)

    def step(self, real: Tensor, label: Tensor, fake_label: Tensor) -> None:
        """One iteration on uint8 images [N, C, H, W], their labels [N, K] and labels for the generated images."""
        torch.manual_seed(seed_of(self.options.seed, self.images))
        self.enter(self.stage_at(self.images))
        parts = self.split(real, label, fake_label)

        for who in self.learners():
            with self.learning(who):  # the loss, with the penalties that are due at every iteration
                for turn, share in parts():
                    loss = self.adversarial(who, turn).mean()
                    for reg in self.due(who, lazy=False):
                        loss = loss + self.penalty(reg, turn).mean()
                    (loss * share).backward()
            for reg in self.due(who, lazy=True):  # each a step of its own, `every` times as strong
                with self.learning(who):
                    for turn, share in parts():
                        (self.penalty(reg, turn).mean() * reg.every * share).backward()

        decay = self.options.ema_beta
        if decay is None:
            decay = ema.beta(len(real), self.options.ema_kimg, self.images, self.options.ema_rampup)
        ema.update(self.G_ema, self.G, decay)
        self.images += len(real)
        self.iteration += 1

    # --- the words of the step ---------------------------------------------------------------------------------------

    def adversarial(self, who: Who, turn: Turn) -> PerSample:
        """The adversarial loss of one network, [N]."""
        if who == "g":
            fake = turn.D(turn.generated, turn.label, turn.stage)
            real = torch.zeros_like(fake)
            if self.loss.relativistic:
                with torch.no_grad():
                    real = turn.D(turn.real, turn.real_label, turn.stage)
            loss = self.loss.g(fake, real)
        else:
            fake, real = turn.D(turn.fake, turn.label, turn.stage), turn.D(turn.real, turn.real_label, turn.stage)
            loss = self.loss.d(real, fake)
            self.note("scores/fake", fake)
            self.note("scores/real", real)
            self.note("signs/real", real.sign())
        self.note(f"loss/{who}", loss)
        return loss

    def penalty(self, reg: Regularizer, turn: Turn) -> PerSample:
        """A regularizer's penalty, [N]."""
        value = reg.penalty(turn)
        self.note(f"penalty/{reg.name}", value)
        return value

    def due(self, who: Who, *, lazy: bool) -> list[Regularizer]:
        """The regularizers of a network that are due now: the lazy ones, or those of every iteration."""
        regs = cast(list[Regularizer], [reg for reg in self.regularizers if cast(Regularizer, reg).on == who])
        steps = self.iteration // (self.options.g_every if who == "g" else 1)
        return [reg for reg in regs if (reg.every > 1) == lazy and steps % reg.every == 0]

    def learners(self) -> list[Who]:
        """The networks that learn in this iteration, in order."""
        order = cast(tuple[Who, Who], tuple(self.options.order))
        return [who for who in order if who == "d" or (self.iteration + 1) % self.options.g_every == 0]

    def judge(self, images: Pyramid, label: Label, stage: Stage) -> Logits:
        """The discriminator, with the augmentation in front."""
        return self.D(self.augmented(images), label, stage)

    def classify(self, images: Pyramid, stage: Stage) -> Tensor:
        """The discriminator's class scores, with the augmentation in front."""
        return self.D.classify(self.augmented(images), stage)

    def augmented(self, images: Pyramid) -> Pyramid:
        """What the discriminator sees of images."""
        augment = self.experiment.augment
        return augment(images) if augment else images

    @contextmanager
    def learning(self, who: Who) -> Iterator[None]:
        """One network learns while the other holds still; its optimizer steps at the end."""
        for name, net in self.nets.items():
            net.requires_grad_(name == who)
        self.optimizers[who].zero_grad(set_to_none=True)
        yield
        self.optimizers[who].step()

    def split(self, real: Tensor, label: Tensor, fake_label: Tensor) -> Callable[[], Iterator[tuple[Turn, float]]]:
        """The batch in parts of `batch_gpu`; each phase starts anew and draws its own latents."""
        size = self.options.batch_gpu or len(real)
        labels = bool(self.experiment.labels)

        def parts() -> Iterator[tuple[Turn, float]]:
            for i in range(0, len(real), size):
                part = self.pyramid(real[i : i + size].to(self.device, non_blocking=True))
                own, other = (t[i : i + size].to(self.device) if labels else None for t in (label, fake_label))
                z = torch.randn(len(part[0]), self.G.z_dim, device=self.device)
                turn = Turn(self.G, self.judge, self.stage, z, other, part, own, classify=self.classify)
                yield turn, len(z) / len(real)

        return parts

    def pyramid(self, real: Tensor) -> Pyramid:
        """Reals as the discriminator wants them at this stage: box-downsampled, and faded like the generated ones."""
        x = to_unit(real)
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

    def _adam(self, who: Who) -> torch.optim.Adam:
        """Adam; lazy steps make it move more often, so step length and memory shrink (arXiv:1912.04958, appendix B)."""
        o, c = self.options, self.lazy_factor(who)
        betas = (o.betas[0] ** c, o.betas[1] ** c)
        return torch.optim.Adam(
            self.nets[who].parameters(),
            lr=self.lr(who),
            betas=betas,
            eps=o.eps,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def lazy_factor(self, who: Who) -> float:
        """Main steps as a share of all optimizer steps: k / (k + 1) for one penalty at each k-th iteration."""
        regs = [cast(Regularizer, r) for r in self.regularizers]
        return 1 / (1 + sum(1 / r.every for r in regs if r.on == who and r.every > 1))

    def lr(self, who: Who) -> float:
        """Learning rate of a network at the present stage, corrected for lazy steps."""
        o, growth = self.options, self.experiment.growth
        rate = growth.lr(self.stage, o.lr) if growth else o.lr
        own = o.d_lr / o.lr if who == "d" and o.d_lr else 1.0  # D's rate follows the schedule too
        return rate * own * self.lazy_factor(who)

    def stage_at(self, images: int) -> Stage:
        """Where growth stands after so many images."""
        growth = self.experiment.growth
        return growth.stage(images) if growth else Stage(len(self.experiment.shape.sizes) - 1)

    def batch(self) -> int:
        """Images of the next iteration."""
        growth = self.experiment.growth
        return growth.batch(self.stage_at(self.images), self.options.batch) if growth else self.options.batch

    def enter(self, stage: Stage) -> None:
        """Take up a stage: learning rates, and forgotten moments where the schedule says so."""
        growth = self.experiment.growth
        reset = growth is not None and growth.resets_optimizer(self.stage, stage)
        self.stage = stage
        for who, optimizer in self.optimizers.items():
            if reset:
                optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = self.lr(who)

    # --- statistics --------------------------------------------------------------------------------------------------

    def note(self, name: str, value: Tensor) -> None:
        """Remember a mean for the next status line, without waiting for the device."""
        self.stats[name].append(value.detach().mean())

    def report(self) -> dict[str, float]:
        """Means since the last report. Raises Diverged where one is not finite."""
        means = {name: float(torch.stack(values).float().mean()) for name, values in sorted(self.stats.items())}
        self.stats.clear()
        bad = [f"{name} is {value}" for name, value in means.items() if value - value != 0]
        if bad:
            raise Diverged(
                f"training diverged at {self.images / 1000:.1f} kimg: {', '.join(bad)}. Lower training.lr, "
                "strengthen the penalty (regularizers.*.gamma), or use training.precision=fp32; "
                "what was written before is untouched."
            )
        return means
