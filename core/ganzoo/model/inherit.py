"""Weights of one model as the beginning of another: other sizes, other widths, other channels.

    report = inherit(learner, Path("snapshot.safetensors"))     # before the first step
    learner.frozen |= set(frozen(learner.D, 4).values())        # Freeze-D

Tensors are matched by name, and those of a resolution by their resolution: the 4x4 to 32x32 blocks of a 64x64 GAN
come from a 32x32 one. Where a shape differs, the part that both have is copied: leading channels, the middle of a
kernel or map; the rest keeps its fresh value. Stored numbers are rescaled where a layer multiplies them by another
constant at run time (equalized learning rate), so what is copied computes what it did. Where rows of one tensor hold
two things, as AdaIN's scales and shifts do, leading rows of a wider one mix them up: such layers have to learn that
anew.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganzoo.errors import CheckpointError
from ganzoo.interfaces import Experiment, Learner, Shape, Stage
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Tensors
from ganzoo.model.restore import build_experiment, recipe_of
from ganzoo.types import Size

Kind = Literal["matched", "resized", "fresh"]
AT_A_LEVEL = re.compile(r"(synthesis\.blocks|synthesis\.to_rgb|trunk\.blocks|trunk\.from_rgb)\.(\d+)\.(.+)")
AT_THE_BASE = re.compile(r"synthesis\.stem\.|head\.")
RGB = 3  # channels that a gray image stands for


@dataclass(frozen=True)
class Entry:
    """What became of a tensor of the new network."""

    name: str
    source: str  # "" for none
    kind: Kind
    copied: int  # numbers that came from the source
    total: int


@dataclass
class Report:
    """What was inherited, by network."""

    path: Path
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    skipped: dict[str, list[tuple[str, int]]] = field(default_factory=dict)  # the source's, without use: name, numbers
    notes: list[str] = field(default_factory=list)  # a sentence each

    columns = ("network", "matched", "resized", "fresh", "skipped", "inherited numbers", "of")

    def rows(self) -> list[tuple[str, int, int, int, int, int, int]]:
        """A table: tensors of each kind, numbers inherited, and how many the network has."""
        return [
            (
                net,
                *(sum(entry.kind == kind for entry in entries) for kind in ("matched", "resized", "fresh")),
                len(self.skipped[net]),
                sum(entry.copied for entry in entries),
                sum(entry.total for entry in entries),
            )  # type: ignore[misc]
            for net, entries in self.entries.items()
        ]

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        nets = {
            net: {
                "tensors": [vars(entry) for entry in entries],
                "skipped": [{"name": name, "total": total} for name, total in self.skipped[net]],
            }
            for net, entries in self.entries.items()
        }
        return {"from": str(self.path), "networks": nets, "notes": self.notes}


@torch.no_grad()
def inherit(learner: Learner, path: Path) -> Report:
    """Copy into a fresh learner's networks, in place, what a snapshot has for them.

    Raises CheckpointError where nothing fits, or the file cannot be used.
    """
    head, tensors = checkpoint.read(path)
    with torch.device("meta"):
        parent = build_experiment(recipe_of(path, head))
    report = Report(path)
    levels = Levels.of(parent, parent.stage_at(head.images), learner.experiment.shape, report)
    for net, module in learner.weights().items():
        source = _source(net, tensors, report)
        old = parent.networks().get(net.removesuffix("_ema"))
        _fill(net, module, old, source, levels, report)
    if not any(e.copied for name, module in learner.weights().items() for e in _learned(report.entries[name], module)):
        raise CheckpointError(
            f"{path}: nothing in it fits this recipe, no weight has the name of one here: choose a recipe of the same "
            f"layers, as 'gz ckpt info {path}' names them, or train from the beginning."
        )
    return report


def _learned(entries: Iterable[Entry], module: nn.Module) -> list[Entry]:
    names = {name for name, _ in module.named_parameters()}
    return [entry for entry in entries if entry.name in names]


def _source(net: str, tensors: Tensors, report: Report) -> Tensors:
    """A network's tensors in the file. An imported one may hold the average alone: then G begins as that."""
    held = {name.partition(".")[0] for name in tensors}
    use = net if net in held or f"{net}_ema" not in held else f"{net}_ema"
    if use not in held:
        report.notes.append(f"{report.path.name} holds no {net}: it starts fresh.")
    elif use != net:
        report.notes.append(f"{report.path.name} holds no {net}: it starts as {use}.")
    return {name.removeprefix(f"{use}."): t for name, t in tensors.items() if name.startswith(f"{use}.")}


@dataclass(frozen=True)
class Levels:
    """Which level of the source is which of the new networks."""

    of_new: Mapping[int, int]
    same_base: bool  # whether both have maps of one size at the coarsest level
    channels: tuple[int, int]  # of images: the source's, the new

    @classmethod
    def of(cls, parent: Experiment, stage: Stage, shape: Shape, report: Report) -> "Levels":
        """By size; by order from the coarsest where no size is in both. Levels that had not grown are left out."""
        old = parent.shape.sizes[: stage.level + 1]
        if len(old) < len(parent.shape.sizes):
            report.notes.append(f"{report.path.name} was still growing: what it had not reached starts fresh.")
        found = {new: old.index(size) for new, size in enumerate(shape.sizes) if size in old}
        if not found:
            found = {level: level for level in range(min(len(old), len(shape.sizes)))}
            report.notes.append(
                f"no size is in both ({_sizes(old)}; {_sizes(shape.sizes)}): levels are those in order."
            )
        return cls(found, old[0] == shape.sizes[0], (parent.shape.channels, shape.channels))

    def source(self, name: str) -> str:
        """The name that a tensor of the new network has in the source; "" for none."""
        found = AT_A_LEVEL.fullmatch(name)
        if not found:
            return name
        place, level, rest = found[1], int(found[2]), found[3]
        finer = place == "trunk.blocks"  # block l of a trunk works at level l + 1
        old = self.of_new.get(level + finer)
        if old is None or old < finer:
            return ""
        if place == "synthesis.blocks" and (old == 0) != (level == 0):
            return ""  # the coarsest block has another number of layers
        return f"{place}.{old - finer}.{rest}"


def _sizes(sizes: Sequence[Size]) -> str:
    return f"{sizes[0][1]}x{sizes[0][0]} to {sizes[-1][1]}x{sizes[-1][0]}"


def _fill(net: str, module: nn.Module, old: nn.Module | None, source: Tensors, levels: Levels, report: Report) -> None:
    entries, used = [], set()
    for name, tensor in module.state_dict().items():
        given = source.get(origin := levels.source(name))
        part = None
        if given is not None and old is not None and given.ndim == tensor.ndim:
            given = given.to(tensor) * _factor(name, module, origin, old)
            part = _fitted(name, given, tensor, levels)
        if part is None:
            entries.append(Entry(name, "", "fresh", 0, tensor.numel()))
            continue
        used.add(origin)
        copied = _put(part, tensor)
        kind: Kind = "matched" if source[origin].shape == tensor.shape else "resized"
        entries.append(Entry(name, origin, kind, copied, tensor.numel()))
    report.entries[net] = entries
    report.skipped[net] = [(name, prod(t.shape)) for name, t in source.items() if name not in used]


def _factor(name: str, module: nn.Module, origin: str, old: nn.Module) -> float:
    """What keeps a layer's function: stored weights are multiplied at run time, by another number at another width."""
    (place, _, leaf), was = name.rpartition("."), origin.rpartition(".")[0]
    key = {"weight": "scale", "bias": "lr_mul"}.get(leaf)
    if key is None:
        return 1.0
    new, before = (getattr(m.get_submodule(at), key, 1.0) for m, at in ((module, place), (old, was)))
    if not isinstance(new, float | int) or not isinstance(before, float | int):
        return 1.0
    return float(before / new)


def _fitted(name: str, given: Tensor, wanted: Tensor, levels: Levels) -> Tensor | None:
    """A tensor of the source with the new image channels; None where it means something else at another size."""
    if given.shape != wanted.shape and not levels.same_base and AT_THE_BASE.match(name):
        return None
    if (found := AT_A_LEVEL.fullmatch(name)) and levels.channels[0] != levels.channels[1]:
        entering = found[1] == "trunk.from_rgb"
        axis = 1 if entering else 0
        ends = given.ndim > axis and (given.shape[axis], wanted.shape[axis]) == levels.channels
        if ends and (entering or found[1] == "synthesis.to_rgb"):
            return _recoloured(given, axis, wanted.shape[axis], mean=not entering)
    return given


def _recoloured(given: Tensor, axis: int, channels: int, *, mean: bool) -> Tensor:
    """Colour to gray as the mean of red, green and blue, gray to colour as gray; else the leading channels stay."""
    before = given.shape[axis]
    if channels == 1 and before >= RGB:
        colours = given.narrow(axis, 0, RGB)
        return colours.mean(axis, keepdim=True) if mean else colours.sum(axis, keepdim=True)
    if before == 1 and channels >= RGB:
        return torch.cat([given if mean else given / RGB] * RGB, dim=axis)
    return given


def _put(part: Tensor, into: Tensor) -> int:
    """Copy what both have: leading channels, the middle of kernels and maps. Says how many numbers that are."""
    for axis in range(part.ndim):
        length = min(part.shape[axis], into.shape[axis])
        middle = axis >= 2
        part, into = (t.narrow(axis, (t.shape[axis] - length) // 2 if middle else 0, length) for t in (part, into))
    into.copy_(part)
    return into.numel()
