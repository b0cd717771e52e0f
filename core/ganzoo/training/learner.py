"""A training in progress, of whatever a recipe describes: networks, optimizers, counters, and how one step is taken.

`GradientLearner.descend` is a step of one optimizer: gradients of a loss over the batch, averaged over processes,
checked, and applied. A learner's `step` is a sequence of these, and reads like its paper.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.errors import Diverged
from ganzoo.interfaces import Experiment, Learner, SampleRng, Schedule
from ganzoo.training import distributed
from ganzoo.training.device import is_memory
from ganzoo.training.seeds import seed_of

HALF_SCALE = 2.0**8  # of losses in float16, whose gradients of single pixels would else vanish; divided out again

Batch = tuple[Tensor, Tensor, Tensor]  # uint8 images [N, C, H, W], their labels [N, K], labels for generated images


class Reload(Exception):
    """A gradient is not finite, and the recipe says to go back to the last state."""


class GradientLearner(Learner):
    """Networks that learn, by a short name each; their optimizers; how far they are.

    A step's randomness is seeded from (seed, images seen), and data is drawn by position, so a run that stops and
    resumes needs no random state: counters, weights, Adam's moments and buffers are all there is.
    """

    grows = False

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self.experiment, self.schedule, self.device = experiment, experiment.training, device
        self.images = 0  # real images shown
        self.iteration = 0
        self.processes = distributed.rank_and_world()[1]  # that wrote the state it continues from
        self.reloads = 0  # how often training went back to a state: what is drawn then is new
        given = self.schedule.batch_gpu
        self.micro_batch = None if given == "auto" else given  # images computed at once; None for all
        self.scale = HALF_SCALE if self.schedule.precision == "fp16" else 1.0
        self.notice: Callable[[str], None] = lambda text: None
        self.stats: dict[str, list[Tensor]] = defaultdict(list)
        self.frozen: set[nn.Parameter] = set()  # they keep what they were given
        self._phase = 0  # of the step: each draws anew
        self._known_to_fit: set[tuple[object, ...]] = set()  # phases that have fitted into memory
        self._norms: list[tuple[str, str, list[str], Tensor]] = []  # network, phase and kimg, parameters, norms
        self._versions: dict[int, int] = {}  # of buffers, when they were last averaged over processes

    def batch(self) -> int:
        """Images of the next iteration, of all processes together."""
        return self.schedule.batch

    def batches(self) -> set[int]:
        """All that `batch` gives in the course of the training."""
        return {self.schedule.batch}

    # --- one optimizer's step -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Seed what this iteration draws. Called first in a step."""
        rank = distributed.rank_and_world()[0]
        torch.manual_seed(seed_of(self.schedule.seed, self.images, *self._reload_salt(), *([rank] if rank else [])))
        self._phase = 0

    def optimize(self, network: str, phase: str, size: int, loss: Callable[[range, SampleRng], Tensor]) -> None:
        """One step of a network's optimizer.

        Where memory runs out, the phase is done again in smaller parts; that is announced.

        Args:
            who: the network that learns; the others hold still
            phase: what the step is for, for messages
            size: images of this process's share
            loss: the mean loss over a part of the share, as (range of it, what its samples draw)
        """
        for name, parameters in self._parameters.items():
            for _, parameter in parameters:
                parameter.requires_grad_(name == network and parameter not in self.frozen)
        while not self._backward(network, phase, size, loss):
            self._shrink(size)
        self._phase += 1
        found = [(name, p) for name, p in self._parameters[network] if p.requires_grad and p.grad is not None]
        distributed.all_mean_(p.grad for _, p in found if p.grad is not None)
        self._apply(network, phase, found)

    @cached_property
    def _parameters(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Each network's, by name. To look for them takes longer than a small layer's work."""
        return {name: list(net.named_parameters()) for name, net in self.nets.items()}

    @cached_property
    def _small_buffers(self) -> list[Tensor]:
        """What a phase may change, such as moving means; not what is only looked up."""
        return [b for module in self.modules().values() for b in module.buffers() if b.numel() < 1 << 16]

    def _backward(self, network: str, phase: str, size: int, loss: Callable[[range, SampleRng], Tensor]) -> bool:
        """Gradients of a phase. False where memory ran out, here or in another process.

        Of several processes each tries a new phase by itself first: where one fails in the midst of what all compute
        together, the others would wait for it.
        """
        part, key = self.micro_batch or size, (network, phase, self.stage.level, self.micro_batch, size)
        if distributed.rank_and_world()[1] == 1:
            return self._try_backward(network, size, part, loss)
        if key not in self._known_to_fit:
            with distributed.local_only(), self._rolled_back(network):
                fits = self._try_backward(network, size, part, loss)
            if distributed.any_rank(not fits):
                return False
            self._known_to_fit.add(key)
        self.optimizers[network].zero_grad(set_to_none=True)
        self._accumulate(network, size, part, loss)
        return True

    def _try_backward(self, network: str, size: int, part: int, loss: Callable[[range, SampleRng], Tensor]) -> bool:
        """Gradients of a phase, unless memory runs out: then nothing has happened."""
        self.optimizers[network].zero_grad(set_to_none=True)
        restore = self._side_effects()
        try:
            self._accumulate(network, size, part, loss)
        except Exception as err:
            if not is_memory(err) or part <= 1:
                raise
            self.optimizers[network].zero_grad(set_to_none=True)
            restore()
            return False
        return True

    @contextmanager
    def _rolled_back(self, network: str) -> Iterator[None]:
        """Nothing that happens within the block has happened."""
        restore = self._side_effects()
        yield
        self.optimizers[network].zero_grad(set_to_none=True)
        restore()

    def _side_effects(self) -> Callable[[], None]:
        """How to bring back what a phase changes beside gradients: buffers, the generator of random numbers, notes."""
        kept = [(b, b.clone()) for b in self._small_buffers]
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        rng, noted = torch.get_rng_state(), {name: len(values) for name, values in self.stats.items()}

        @torch.no_grad()
        def restore() -> None:
            for buffer, before in kept:
                buffer.copy_(before)
            torch.set_rng_state(rng)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda, self.device)
            for name, values in self.stats.items():
                del values[noted.get(name, 0) :]

        return restore

    def _accumulate(self, network: str, size: int, part: int, loss: Callable[[range, SampleRng], Tensor]) -> None:
        for start in range(0, size, part):
            rows = range(start, min(start + part, size))
            (loss(rows, self.sample_rng(rows, size)) * (len(rows) / size * self.scale)).backward()
        if self.scale != 1:
            gradients = (p.grad for group in self.optimizers[network].param_groups for p in group["params"])
            torch._foreach_div_([g for g in gradients if g is not None], self.scale)

    def _shrink(self, size: int) -> None:
        """Compute half as many images at once from now on."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        now = min(self.micro_batch or size, size)
        self.micro_batch = distributed.all_max((now + 1) // 2)
        self.notice(
            f"out of memory with {now} images at once: going on with {self.micro_batch}. "
            f"The batch stays {self.batch()}; set training.batch_gpu to {self.micro_batch} to begin with it."
        )

    def sample_rng(self, rows: range, size: int) -> SampleRng:
        """What some samples of this process's share draw in this phase."""
        at = self.images + distributed.rank_and_world()[0] * size
        seeds = [seed_of(self.schedule.seed, at + i, self._phase, *self._reload_salt(), 1) for i in rows]
        return SampleRng(seeds, self.device)

    def _reload_salt(self) -> list[int]:
        return [2**40 + self.reloads] if self.reloads else []

    def _apply(self, network: str, phase: str, found: Sequence[tuple[str, nn.Parameter]]) -> None:
        """Let the optimizer step, unless a gradient is not finite: then weights and moments stay as they are.

        Fused Adam looks at a flag on the device, so nothing waits for a GPU; what happened is said at the next tick.
        """
        norms = torch.stack(torch._foreach_norm([p.grad for _, p in found if p.grad is not None]))
        total, optimizer = torch.linalg.vector_norm(norms), self.optimizers[network]
        self._norms.append(
            (network, f"'{phase}' at {self.images / 1000:.1f} kimg", [n for n, _ in found], norms.detach())
        )
        if phase == "main":
            self.log(f"grad/{network}", total)
        if optimizer.defaults.get("fused"):
            optimizer.grad_scale, optimizer.found_inf = None, (~total.isfinite()).float()  # type: ignore[attr-defined]
            optimizer.step()
        elif bool(total.isfinite()):
            optimizer.step()
        if self.device.type == "cpu":  # nothing to wait for
            self.check_gradients()

    def check_gradients(self) -> None:
        """Say which gradients were not finite since the last look. Raises Diverged or Reload, as the recipe says."""
        seen, self._norms = self._norms, []
        for network, phase, names, norms in seen:
            bad = (~norms.isfinite()).nonzero().flatten().tolist()
            if not bad:
                continue
            what = (
                f"the gradient of {network}.{names[bad[0]]} is not finite in phase {phase} "
                f"({len(bad)} of {len(names)} parameters)"
            )
            if self.schedule.on_nan == "stop":
                raise Diverged(
                    f"training diverged: {what}. Its step was not taken. Lower training.lr, strengthen the penalty "
                    f"(regularizers.*.gamma), use training.precision=fp32, or set training.on_nan to skip-step or "
                    f"reload; what was written before is untouched."
                )
            if self.schedule.on_nan == "reload":
                raise Reload(what)
            self.notice(f"{what}: this step was skipped.")

    # --- processes ----------------------------------------------------------------------------------------------------

    def sync_buffers(self) -> None:
        """Average over processes what modules keep of their batches, such as moving means. Called once a step.

        Only buffers that changed since the last time: an average of equal numbers need not be that number.
        """
        if distributed.rank_and_world()[1] == 1:
            return
        changed = [b for b in self._statistics() if self._versions.get(id(b)) != b._version]
        distributed.all_mean_(changed)
        self.mark_synced()

    def mark_synced(self) -> None:
        """Say that all processes have the same buffers now."""
        self._versions = {id(b): b._version for b in self._statistics()}

    def share_start(self) -> None:
        """Give all processes the weights of the first one."""
        distributed.broadcast_(
            t for module in self.modules().values() for t in [*module.parameters(), *module.buffers()]
        )
        self.mark_synced()

    def _statistics(self) -> Iterator[Tensor]:
        for name, module in self.modules().items():
            if not name.endswith("ema"):
                yield from (b for b in module.buffers() if b.is_floating_point())

    # --- statistics ---------------------------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor) -> None:
        """Remember a mean for the next status line, without waiting for the device."""
        self.stats[name].append(value.detach().mean())

    def report(self) -> dict[str, float]:
        """Means since the last report, over all processes. Raises Diverged where one is not finite."""
        self.check_gradients()
        names = sorted(self.stats)
        values = [torch.stack(self.stats[name]).float() for name in names]
        self.stats.clear()
        if self.schedule.on_nan == "skip-step":  # the steps that were skipped are not in the means
            values = [v[v.isfinite()] if bool(v.isfinite().any()) else v for v in values]
        if not names:
            return {}
        flat = torch.stack([v.mean() for v in values])
        distributed.all_mean_([flat])
        means = dict(zip(names, flat.tolist()))
        bad = [f"{name} is {value}" for name, value in means.items() if value - value != 0]
        if bad:
            raise Diverged(
                f"training diverged at {self.images / 1000:.1f} kimg: {', '.join(bad)}. Lower training.lr, "
                "strengthen the penalty (regularizers.*.gamma), or use training.precision=fp32; "
                "what was written before is untouched."
            )
        return means


def adam(parameters: Iterable[nn.Parameter], options: Schedule, device: torch.device, **own: Any) -> torch.optim.Adam:
    """Adam as a recipe describes it; `own` replaces some of its options."""
    given: dict[str, Any] = {"lr": options.lr, "betas": options.betas, "eps": options.eps} | own
    return torch.optim.Adam(parameters, fused=device.type in ("cpu", "cuda"), **given)
