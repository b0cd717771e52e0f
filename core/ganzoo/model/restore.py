"""From a checkpoint's metadata to the networks that its recipe describes."""

from pathlib import Path

from ganzoo.errors import CheckpointError, PluginError, RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Experiment, Shape, Stage
from ganzoo.model.checkpoint import Header
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
    try:
        return parse(Source(header.recipe, name=str(path)), registry())
    except RecipeError as err:
        versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
        raise RecipeError(f"{err} The checkpoint was written with {versions}.") from None


def build_experiment(node: Node) -> Experiment:
    """Build the experiment that a checked recipe describes."""
    experiment: Experiment = node.bind()()
    return experiment


def build_gan(path: Path, header: Header, recipe: Node | None = None) -> Gan:
    """Build the GAN of a checkpoint, with fresh weights.

    Args:
        path: of the file, for messages
        header: its metadata
        recipe: its recipe, where that has been checked already

    Raises CheckpointError where the file holds something else.
    """
    experiment = build_experiment(recipe or recipe_of(path, header))
    if not isinstance(experiment, Gan):
        raise CheckpointError(
            f"{path} holds no generator: what was trained is '{type(experiment).name}': name a snapshot of a GAN."
        )
    return experiment


def growth_note(shape: Shape, stage: Stage) -> str:
    """Say 'still growing at 4x4 of 32x32', width first; "" at the last size."""
    (h, w), (height, width) = shape.sizes[stage.level], shape.sizes[-1]
    return "" if stage.level == len(shape.sizes) - 1 else f"still growing at {w}x{h} of {width}x{height}"
