"""From a checkpoint's metadata to the networks that its recipe describes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from ganzoo.errors import CheckpointError, PluginError, RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Experiment, Shape, Stage
from ganzoo.io.budgets import BUILT_BYTES, BUILT_MODULES, BUILT_RATIO, RECIPE_VALUES
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header, Tensors
from ganzoo.recipe.node import Node, parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry

CORE = ("ganzoo", "core")  # names that checkpoints give ganzoo itself, today and formerly


def require_plugins(header: Header, path: Path) -> None:
    """Raise PluginError with names and versions where a plugin that the recipe uses is not installed or broken."""
    known = registry()
    used = {name: version for name, version in header.versions.items() if name not in CORE}
    missing = {name: version for name, version in used.items() if name not in known.versions}
    if missing:
        wanted = ", ".join(f"'{name}' ({version})" for name, version in sorted(missing.items()))
        packages = ", ".join(f"'{version.partition(' ')[0]}'" for _, version in sorted(missing.items()))
        raise PluginError(
            f"{path} needs the plugin {wanted}, which is not installed: the file says it is in the package "
            f"{packages}; install that only if you trust it."
        )
    for name in header.versions:
        if name in known.problems:
            raise PluginError(f"{path} needs the plugin '{name}', but {known.problems[name]}")


def recipe_of(path: Path, header: Header) -> Node:
    """Return a checkpoint's recipe as a checked tree.

    Raises PluginError where a plugin is missing, and RecipeError where today's components do not take the recipe.
    """
    require_plugins(header, path)
    _require_small(path, header)
    try:
        return parse(Source(header.recipe, name=str(path)), registry())
    except RecipeError as err:
        versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
        raise RecipeError(f"{err} The checkpoint was written with {versions}.") from None


def build_experiment(node: Node) -> Experiment:
    """Build the experiment that a checked recipe describes.

    Raises RecipeError where the widths of a network come down to zero channels, which each part accepts by itself.
    """
    experiment: Experiment = node.bind()()
    for net, module in _modules(experiment).items():
        for name, parameter in module.named_parameters():
            if not parameter.numel():
                slot = {"G": "generator", "D": "discriminator"}.get(net, net)
                raise RecipeError(
                    f"its widths come down to zero channels: {name} has the shape {list(parameter.shape)}",
                    cure="raise channel_base and channel_max, or the smallest of channels",
                    path=(slot,),
                )
    return experiment


def _modules(experiment: Experiment) -> dict[str, nn.Module]:
    """The networks and other modules that an experiment has built so far, by attribute; some are built on demand."""
    return {name: part for name, part in vars(experiment).items() if isinstance(part, nn.Module)}


def outline(path: Path, recipe: Node) -> Experiment:
    """Build the experiment of a checkpoint's recipe on the meta device, which takes no memory for weights.

    Raises CheckpointError for one of more than `budgets.BUILT_MODULES` modules.
    """
    try:
        with torch.device("meta"), _counting_modules(path):
            return build_experiment(recipe)
    except RecipeError as err:
        err.origin = err.origin or str(path)
        raise


def require_fit(path: Path, experiment: Experiment, tensors: Tensors, needed: str | None = None) -> None:
    """Compare the networks of a recipe, on the meta device, with the tensors of its file.

    Networks that the file holds must have its shapes and dtypes. All weights together, those of networks that it lacks
    included, may take `budgets.BUILT_RATIO` times the file's bytes and `budgets.BUILT_BYTES` more.

    Args:
        path: of the file
        experiment: built from its recipe
        tensors: on any device
        needed: the network that the file must hold; None for all but G and D, which an imported one may lack

    Raises CheckpointError.
    """
    held = {name.partition(".")[0] for name in tensors}
    nets = experiment.networks()
    for prefix, net in [*nets.items(), *([("G_ema", nets["G"])] if "G" in nets else [])]:
        if prefix in held or prefix == needed or (needed is None and prefix not in ("G", "D")):
            checkpoint.matching_tensors(net, tensors, prefix, path)
    modules = _modules(experiment)
    described = sum(t.nbytes for module in modules.values() for t in (*module.parameters(), *module.buffers()))
    limit = BUILT_RATIO * path.stat().st_size + BUILT_BYTES
    if described > limit:
        raise CheckpointError(
            f"does not fit its recipe, whose networks take {described:,} bytes, above the limit of {limit:,} for a "
            "file of its size",
            place=str(path),
            cure=checkpoint.NAME_ONE,
        )


def load_gan(path: Path, net: str) -> tuple[Header, Node, Gan]:
    """Build the GAN of a checkpoint, on the CPU, with the weights that the file has under one name.

    The file's shapes are compared with its recipe before anything is built, and its tensors with its digest. The
    caller's random numbers are not used.

    Args:
        path: of a checkpoint
        net: "G_ema" or "G" for the generator, "D" for the discriminator

    Raises CheckpointError, or PluginError where a plugin is missing.
    """
    header, shapes = checkpoint.outline(path)
    recipe = recipe_of(path, header)
    gan = _gan(path, outline(path, recipe))
    require_fit(path, gan, shapes, net)
    header, tensors = checkpoint.read(path)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and then overwritten
        gan = _gan(path, build_experiment(recipe))
    checkpoint.load_weights(gan.D if net == "D" else gan.G, tensors, net, path)
    return header, recipe, gan


def outline_gan(path: Path, header: Header) -> Gan:
    """Build the GAN of a checkpoint on the meta device. Raises CheckpointError where the file holds something else."""
    return _gan(path, outline(path, recipe_of(path, header)))


def _gan(path: Path, experiment: Experiment) -> Gan:
    if not isinstance(experiment, Gan):
        raise CheckpointError(
            f"{path} holds no generator: what was trained is '{type(experiment).name}': name a snapshot of a GAN."
        )
    return experiment


def growth_note(shape: Shape, stage: Stage) -> str:
    """Say 'still growing at 4x4 of 32x32', width first; "" at the last size."""
    (h, w), (height, width) = shape.sizes[stage.level], shape.sizes[-1]
    return "" if stage.level == len(shape.sizes) - 1 else f"still growing at {w}x{h} of {width}x{height}"


def _require_small(path: Path, header: Header) -> None:
    """Raise CheckpointError for a recipe of more than `budgets.RECIPE_VALUES` values, before it is checked."""
    pending: list[object] = [header.recipe]
    for value in pending:
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value
        if len(pending) > RECIPE_VALUES:
            raise CheckpointError(
                f"has a recipe of more than {RECIPE_VALUES:,} values, which is the limit",
                place=str(path),
                cure=checkpoint.NAME_ONE,
            )


@contextmanager
def _counting_modules(path: Path) -> Iterator[None]:
    """Raise CheckpointError as soon as more than `budgets.BUILT_MODULES` modules have been built within the block."""
    number = count(1)

    def check(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        if next(number) > BUILT_MODULES:
            raise CheckpointError(
                f"does not fit its recipe, whose networks have more than {BUILT_MODULES:,} modules, which is the limit",
                place=str(path),
                cure=checkpoint.NAME_ONE,
            )

    hook = register_module_module_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()
