"""From a checkpoint's header to the networks that its recipe describes."""

from pathlib import Path

from ganzoo.errors import CheckpointError, PluginError, RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.interfaces import Experiment, Shape, Stage
from ganzoo.model.checkpoint import Header
from ganzoo.recipe.node import Node, parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry


def require_plugins(head: Header, path: Path) -> None:
    """Raise PluginError with names and versions where a plugin that the recipe uses is not installed or broken."""
    known = registry()
    missing = {
        name: version
        for name, version in head.versions.items()
        if name not in ("ganzoo", "core") and name not in known.versions
    }
    if missing:
        wanted = ", ".join(f"'{name}' ({version})" for name, version in sorted(missing.items()))
        packages = ", ".join(f"'{version.partition(' ')[0]}'" for _, version in sorted(missing.items()))
        raise PluginError(
            f"{path} needs the plugin {wanted}, which is not installed: the file says it is in the package "
            f"{packages}; install that only if you trust it."
        )
    for name in head.versions:
        if name in known.problems:
            raise PluginError(f"{path} needs the plugin '{name}', but {known.problems[name]}")


def recipe_of(path: Path, head: Header) -> Node:
    """A checkpoint's recipe as a checked tree. Raises PluginError where a plugin is missing."""
    require_plugins(head, path)
    try:
        return parse(Source(head.recipe, name=str(path)), registry())
    except RecipeError as err:
        raise RecipeError(
            f"{err} The checkpoint was written with {', '.join(f'{k} {v}' for k, v in head.versions.items())}."
        ) from None


def build_experiment(node: Node) -> Experiment:
    """Build what a tree describes."""
    made: Experiment = node.bind()()
    return made


def build_gan(path: Path, head: Header) -> Gan:
    """Build the GAN of a checkpoint. Raises CheckpointError where it holds something else."""
    made = build_experiment(recipe_of(path, head))
    if not isinstance(made, Gan):
        raise CheckpointError(
            f"{path} holds no generator: what was trained is '{type(made).name}': name a snapshot of a GAN."
        )
    return made


def growth_note(shape: Shape, stage: Stage) -> str:
    """'still growing at 4x4 of 32x32', width first; "" at the last size."""
    (h, w), (height, width) = shape.sizes[stage.level], shape.sizes[-1]
    return "" if stage.level == len(shape.sizes) - 1 else f"still growing at {w}x{h} of {width}x{height}"
