"""Weights of one model as the beginning of another: other sizes, other widths, other channels.

    report = inherit(learner, Path("snapshot.safetensors"))     # before the first step

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
from ganzoo.io.files import quoted
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Tensors
from ganzoo.model.restore import outline, recipe_of
from ganzoo.types import Size

Match = Literal["matched", "resized", "fresh"]
AT_A_LEVEL = re.compile(r"(synthesis\.blocks|synthesis\.to_rgb|trunk\.blocks|trunk\.from_rgb)\.(\d+)\.(.+)")
AT_THE_BASE = re.compile(r"synthesis\.stem\.|head\.")
RUNTIME_FACTORS = {"weight": "scale", "bias": "lr_mul"}  # parameter -> attribute of its layer that multiplies it
RGB = 3  # channels that a gray image stands for


@dataclass(frozen=True)
class Entry:
    """One tensor of the new network.

    Args:
        name: in the network
        source: name of the source's tensor; "" for none
        kind: whether it has the source's shape, another one, or fresh values
        copied: numbers that came from the source
        total: numbers that it has
    """

    name: str
    source: str
    kind: Match
    copied: int
    total: int


@dataclass
class Report:
    """The tensors of each new network, and what was left in the source.

    Args:
        path: the source
        entries: by network
        skipped: (name, numbers) of the source's tensors without use, by network
        notes: sentences for the log
    """

    path: Path
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    skipped: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    columns = ("network", "matched", "resized", "fresh", "skipped", "inherited numbers", "of")

    def rows(self) -> list[tuple[str, int, int, int, int, int, int]]:
        """A table with `columns`: tensors of each kind, numbers inherited, and how many the network has."""
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
        """The whole report as JSON values."""
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
    header, tensors = checkpoint.read(path)
    parent = outline(path, recipe_of(path, header))
    report = Report(path)
    levels = Levels.match(parent, parent.stage_at(header.images), learner.experiment.shape, report)
    for net, module in learner.weights().items():
        source = _source(net, tensors, learner.averages, report)
        parent_net = parent.networks().get(learner.averages.get(net, net))
        _fill(net, module, parent_net, source, levels, report)
    if not any(_inherits_parameters(report.entries[net], module) for net, module in learner.weights().items()):
        raise CheckpointError(
            f"{path}: nothing in it fits this recipe, no weight has the name of one here: choose a recipe of the same "
            f"layers, as 'gz ckpt info {quoted(path)}' names them, or train from the beginning."
        )
    return report


def _inherits_parameters(entries: Iterable[Entry], module: nn.Module) -> bool:
    names = {name for name, _ in module.named_parameters()}
    return any(entry.copied for entry in entries if entry.name in names)


def _source(net: str, tensors: Tensors, averages: Mapping[str, str], report: Report) -> Tensors:
    """Return a network's tensors in the file.

    An imported file may hold no more than the moving average: then the network itself starts as its average.
    """
    held = {name.partition(".")[0] for name in tensors}
    averages_held = [average for average, averaged in averages.items() if averaged == net and average in held]
    if net in held:
        prefix = net
    elif averages_held:
        prefix = averages_held[0]
        report.notes.append(f"{report.path.name} holds no {net}: it starts as {prefix}.")
    else:
        report.notes.append(f"{report.path.name} holds no {net}: it starts fresh.")
        return {}
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


@dataclass(frozen=True)
class Levels:
    """Which level of the source is which of the new networks.

    Args:
        source_of: new level -> the source's
        same_base: whether both have maps of one size at the coarsest level
        channels: of images: (the source's, the new networks')
    """

    source_of: Mapping[int, int]
    same_base: bool
    channels: tuple[int, int]

    @classmethod
    def match(cls, parent: Experiment, stage: Stage, shape: Shape, report: Report) -> "Levels":
        """Match by size; in order from the coarsest where no size is in both. Levels that had not grown are left out.

        Args:
            parent: the source's experiment
            stage: how far it had grown
            shape: of the new networks
            report: takes notes
        """
        sizes = parent.shape.sizes[: stage.level + 1]
        if len(sizes) < len(parent.shape.sizes):
            report.notes.append(f"{report.path.name} was still growing: what it had not reached starts fresh.")
        source_of = {level: sizes.index(size) for level, size in enumerate(shape.sizes) if size in sizes}
        if not source_of:
            source_of = {level: level for level in range(min(len(sizes), len(shape.sizes)))}
            report.notes.append(
                f"no size is in both ({_range(sizes)}; {_range(shape.sizes)}): levels are matched in order."
            )
        return cls(source_of, sizes[0] == shape.sizes[0], (parent.shape.channels, shape.channels))

    def source(self, name: str) -> str:
        """Return the name that a tensor of the new network has in the source; "" for none."""
        match = AT_A_LEVEL.fullmatch(name)
        if not match:
            return name
        place, level, rest = match[1], int(match[2]), match[3]
        finer = place == "trunk.blocks"  # block l of a trunk works at level l + 1
        source_level = self.source_of.get(level + finer)
        if source_level is None or source_level < finer:
            return ""
        if place == "synthesis.blocks" and (source_level == 0) != (level == 0):
            return ""  # the coarsest block has another number of layers
        return f"{place}.{source_level - finer}.{rest}"


def _range(sizes: Sequence[Size]) -> str:
    """'4x4 to 32x32', width first."""
    return f"{sizes[0][1]}x{sizes[0][0]} to {sizes[-1][1]}x{sizes[-1][0]}"


def _fill(
    net: str, module: nn.Module, parent: nn.Module | None, source: Tensors, levels: Levels, report: Report
) -> None:
    """Copy what fits into a module's tensors, and report on each.

    Args:
        net: name of the network
        module: the new network
        parent: the source's network, on the meta device; None where the source's experiment has none
        source: its tensors by name
        levels: which of its levels are which
        report: takes the entries
    """
    entries, used = [], set()
    for name, tensor in module.state_dict().items():
        origin = levels.source(name)
        value = source.get(origin)
        if value is not None and parent is not None and value.ndim == tensor.ndim:
            scaled = value.to(tensor) * _factor(name, module, origin, parent)
            value = _fitted(name, scaled, tensor, levels)
        else:
            value = None
        if value is None:
            entries.append(Entry(name, source="", kind="fresh", copied=0, total=tensor.numel()))
            continue
        used.add(origin)
        kind: Match = "matched" if source[origin].shape == tensor.shape else "resized"
        entries.append(Entry(name, origin, kind, copied=_copy_common(value, tensor), total=tensor.numel()))
    report.entries[net] = entries
    report.skipped[net] = [(name, prod(t.shape)) for name, t in source.items() if name not in used]


def _factor(name: str, module: nn.Module, origin: str, parent: nn.Module) -> float:
    """Return the factor that keeps a layer's function: stored numbers are multiplied at run time, by another constant.

    Args:
        name: of the tensor in the new network
        module: the new network
        origin: of the tensor in the source
        parent: the source's network
    """
    (layer, _, leaf), parent_layer = name.rpartition("."), origin.rpartition(".")[0]
    attribute = RUNTIME_FACTORS.get(leaf)
    if attribute is None:
        return 1.0
    new = getattr(module.get_submodule(layer), attribute, 1.0)
    old = getattr(parent.get_submodule(parent_layer), attribute, 1.0)
    if not isinstance(new, float | int) or not isinstance(old, float | int):
        return 1.0
    return float(old / new)


def _fitted(name: str, value: Tensor, tensor: Tensor, levels: Levels) -> Tensor | None:
    """Give a tensor of the source the new image channels; None where it means something else at another base size."""
    if value.shape != tensor.shape and not levels.same_base and AT_THE_BASE.match(name):
        return None
    match = AT_A_LEVEL.fullmatch(name)
    if not match or levels.channels[0] == levels.channels[1]:
        return value
    takes_images, makes_images = match[1] == "trunk.from_rgb", match[1] == "synthesis.to_rgb"
    axis = 1 if takes_images else 0
    if not (takes_images or makes_images) or value.ndim <= axis:
        return value
    if (value.shape[axis], tensor.shape[axis]) != levels.channels:
        return value
    return _recoloured(value, axis, tensor.shape[axis], mean=makes_images)


def _recoloured(value: Tensor, axis: int, channels: int, *, mean: bool) -> Tensor:
    """Turn weights of colour images into those of gray ones, or back; else the leading channels are kept.

    Args:
        value: weights of the source
        axis: of its image channels
        channels: of the new images
        mean: for an output, gray is the mean of red, green and blue; for an input, their weights' sum
    """
    before = value.shape[axis]
    if channels == 1 and before >= RGB:
        colours = value.narrow(axis, 0, RGB)
        return colours.mean(axis, keepdim=True) if mean else colours.sum(axis, keepdim=True)
    if before == 1 and channels >= RGB:
        return torch.cat([value if mean else value / RGB] * RGB, dim=axis)
    return value


def _copy_common(value: Tensor, tensor: Tensor) -> int:
    """Copy what both have: leading channels, the middle of kernels and maps. Returns how many numbers that are."""
    for axis in range(value.ndim):
        length = min(value.shape[axis], tensor.shape[axis])
        middle = axis >= 2
        value, tensor = (
            t.narrow(axis, (t.shape[axis] - length) // 2 if middle else 0, length) for t in (value, tensor)
        )
    tensor.copy_(value)
    return tensor.numel()
