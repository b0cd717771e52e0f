"""A training in progress, of whatever a recipe describes: networks, optimizers, counters, and how one step is taken.

`GradientLearner.optimize` is a step of one optimizer: gradients of a loss over the batch, averaged over processes,
checked, and applied. A learner's `step` is a sequence of these, and reads like its paper.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from ganzoo.errors import Diverged
from ganzoo.interfaces import Experiment, Learner, SampleRng, Schedule
from ganzoo.registry.ramp import Ramp, at
from ganzoo.training import distributed
from ganzoo.training.buffers import BufferSync, SideEffects
from ganzoo.training.device import is_out_of_memory
from ganzoo.training.gradients import GradientChecks, GradientNorms, step_if_finite
from ganzoo.training.seeds import iteration_seed, sample_seed
from ganzoo.training.statistics import Statistics

HALF_SCALE = 2.0**8  # factor of losses in float16, whose gradients of single pixels would underflow; divided out again
CONSTANT = 1 << 16  # numbers; a buffer of as many is a constant, such as a noise map, and no moving mean

Rates = tuple[float, tuple[float, float]]  # an optimizer's learning rate and betas
PartLoss = Callable[[range, SampleRng], Tensor]  # (rows of this process's share, what they draw) -> their mean loss, []


class GradientLearner(Learner):
    """Networks that learn, by a short name each; their optimizers; how far they are.

    A step's randomness is seeded from (seed, images seen, reloads, rank), and data is drawn by position, so a run that
    stops and resumes needs no random state: counters, weights, Adam's moments and buffers are all there is.
    """

    grows = False

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self.experiment = experiment
        self.schedule = experiment.training
        self.device = device
        self.images = 0  # real images shown
        self.iteration = 0
        self.processes = distributed.rank_and_world()[1]  # number of those that wrote the state it continues from
        self.reloads = 0  # how often training went back to a state; what is drawn after that is new
        batch_gpu = self.schedule.batch_gpu
        self.micro_batch = None if batch_gpu == "auto" else batch_gpu  # images computed at once; None for all
        self.scale = HALF_SCALE if self.schedule.precision == "fp16" else 1.0  # factor of losses
        self.notice: Callable[[str], None] = lambda text: None
        self.frozen: set[nn.Parameter] = set()  # parameters that keep what they were given
        self.stats = Statistics()
        self._gradient_checks = GradientChecks(self.schedule.on_nan)
        self.buffer_sync = BufferSync(self._synced_buffers)
        self._phase = 0  # index of the optimizer step within this iteration; part of every sample's seed
        self._known_to_fit: set[tuple[object, ...]] = set()  # phases whose gradients have fitted into memory

    def batch(self) -> int:
        """Images of the next iteration, of all processes together."""
        return self.schedule.batch

    def batches(self) -> set[int]:
        """All that `batch` gives in the course of the training."""
        return {self.schedule.batch}

    # --- one optimizer's step -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Seed what this iteration draws, and set the optimizers' rates. Called first in a step."""
        rank = distributed.rank_and_world()[0]
        torch.manual_seed(iteration_seed(self.schedule.seed, self.images, self.reloads, rank))
        self._phase = 0
        for network, optimizer in self.optimizers.items():
            lr, betas = self.rates(network)
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = lr, betas

    def now(self, value: float | Ramp) -> float:
        """Return a number of the schedule at this iteration, which may follow a ramp."""
        return at(value, self.images)

    def rates(self, network: str) -> Rates:
        """Learning rate and betas of a network's optimizer at this iteration: those of the schedule."""
        first, second = self.schedule.betas
        return self.now(self.schedule.lr), (self.now(first), self.now(second))

    def optimize(self, network: str, phase: str, size: int, loss: PartLoss) -> None:
        """Take one step of a network's optimizer.

        Where memory runs out, the gradients are computed again in smaller parts; that is announced.

        Args:
            network: the one that learns; the others hold still
            phase: what the step is for, for messages
            size: images of this process's share
            loss: the mean loss over some rows of the share
        """
        for name, parameters in self._parameters.items():
            for _, parameter in parameters:
                parameter.requires_grad_(name == network and parameter not in self.frozen)

        while not self._backward(network, phase, size, loss):
            self._halve_micro_batch(size)
        self._phase += 1

        learning = [(name, p) for name, p in self._parameters[network] if p.requires_grad and p.grad is not None]
        distributed.all_mean_(p.grad for _, p in learning if p.grad is not None)
        self._apply(network, phase, learning)

    def sample_rng(self, rows: range, size: int) -> SampleRng:
        """Random numbers of some of the `size` samples of this process's share, in this phase."""
        first = self.images + distributed.rank_and_world()[0] * size
        seeds = [sample_seed(self.schedule.seed, first + row, self._phase, self.reloads) for row in rows]
        return SampleRng(seeds, self.device)

    def _accumulate(self, network: str, size: int, loss: PartLoss) -> None:
        """Compute the gradients of the mean loss over the share, in parts of `micro_batch` images."""
        optimizer, part = self.optimizers[network], self.micro_batch or size
        optimizer.zero_grad(set_to_none=True)
        for start in range(0, size, part):
            rows = range(start, min(start + part, size))
            (loss(rows, self.sample_rng(rows, size)) * (len(rows) / size * self.scale)).backward()
        if self.scale != 1:
            gradients = (p.grad for group in optimizer.param_groups for p in group["params"])
            torch._foreach_div_([g for g in gradients if g is not None], self.scale)

    def _apply(self, network: str, phase: str, learning: Sequence[tuple[str, nn.Parameter]]) -> None:
        """Let the optimizer step, unless a gradient is not finite: then weights and moments stay as they are."""
        norms = torch.stack(torch._foreach_norm([p.grad for _, p in learning if p.grad is not None]))
        total = torch.linalg.vector_norm(norms)
        if phase == "main":
            self.log(f"grad/{network}", total)
        step_if_finite(self.optimizers[network], total)

        names = [name for name, _ in learning]
        moment = f"'{phase}' at {self.images / 1000:.1f} kimg"
        self._gradient_checks.add(GradientNorms(network, moment, names, norms.detach()))
        if self.device.type == "cpu":  # there is nothing to wait for
            self._gradient_checks.check(self.notice)

    @cached_property
    def _parameters(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Each network's, by name; cached, as walking the modules takes longer than a small layer's work."""
        return {name: list(net.named_parameters()) for name, net in self.nets.items()}

    # --- where memory runs out ----------------------------------------------------------------------------------------

    def _backward(self, network: str, phase: str, size: int, loss: PartLoss) -> bool:
        """Compute the gradients of a phase. False where memory ran out, in this process or another.

        Each of several processes first tries a new phase on its own: one that failed between collective operations
        would leave the others waiting for it.
        """
        compute = partial(self._accumulate, network, size, loss)
        if distributed.rank_and_world()[1] == 1:
            return self._fits(compute, network, size)
        key = (network, phase, self.stage.level, self.micro_batch, size)
        if key not in self._known_to_fit:
            with distributed.local_only():
                fits = self._fits(compute, network, size, trial=True)
            if distributed.any_rank(not fits):
                return False
            self._known_to_fit.add(key)
        compute()
        return True

    def _fits(self, compute: Callable[[], None], network: str, size: int, *, trial: bool = False) -> bool:
        """Compute gradients, and say whether memory sufficed; where it did not, or on a trial, undo everything.

        Raises the error where a single image does not fit.
        """
        effects, fits = SideEffects(self._small_buffers, self.stats, self.device), True
        try:
            compute()
        except Exception as err:
            if not is_out_of_memory(err) or (self.micro_batch or size) <= 1:
                raise
            fits = False
        if trial or not fits:
            self.optimizers[network].zero_grad(set_to_none=True)
            effects.undo()
        return fits

    def _halve_micro_batch(self, size: int) -> None:
        """Compute half as many images at once from now on, in all processes."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        tried = min(self.micro_batch or size, size)
        self.micro_batch = distributed.all_max((tried + 1) // 2)
        self.notice(
            f"out of memory with {tried} images at once: going on with {self.micro_batch}. "
            f"The batch stays {self.batch()}; set training.batch_gpu to {self.micro_batch} to begin with it."
        )

    @cached_property
    def _small_buffers(self) -> list[Tensor]:
        """Buffers that a phase may change, such as moving means."""
        return [b for module in self.modules().values() for b in module.buffers() if b.numel() < CONSTANT]

    # --- processes ----------------------------------------------------------------------------------------------------

    def broadcast_weights(self) -> None:
        """Give all processes the parameters and buffers of the first one."""
        modules = self.modules().values()
        distributed.broadcast_(t for module in modules for t in [*module.parameters(), *module.buffers()])
        self.buffer_sync.mark()

    def after_restore(self) -> None:
        """Take up a state that was just loaded: alike in all processes, and without what was logged before it."""
        self.stats.clear()
        self.buffer_sync.mark()

    def _synced_buffers(self) -> Iterator[Tensor]:
        """Floating-point buffers; those of moving averages follow the others, alike in all processes."""
        for name, module in self.modules().items():
            if name not in self.averages:
                yield from (b for b in module.buffers() if b.is_floating_point())

    # --- statistics ---------------------------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor) -> None:
        """Add the mean of a tensor to the next status line, without waiting for the device."""
        self.stats.log(name, value)

    def report(self) -> dict[str, float]:
        """Means since the last report, over all processes. Raises Diverged where one is not finite."""
        self._gradient_checks.check(self.notice)
        means = self.stats.pop_means(only_finite=self.schedule.on_nan == "skip-step")
        infinite = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
        if infinite:
            raise Diverged(
                f"training diverged at {self.images / 1000:.1f} kimg: {', '.join(infinite)}. Lower training.lr, "
                "strengthen the penalty (regularizers.*.gamma), or use training.precision=fp32; "
                "what was written before is untouched."
            )
        return means


def adam(parameters: Iterable[nn.Parameter], schedule: Schedule, device: torch.device) -> torch.optim.Adam:
    """Adam, whose rates each iteration sets anew. Fused where the device has such a kernel."""
    return torch.optim.Adam(parameters, eps=schedule.eps, fused=device.type in ("cpu", "cuda"))
