"""Which layers of an extractor style transfer uses, and what images it is shown."""

from dataclasses import replace
from typing import Any

import torch

from ganzoo.errors import RecipeError
from ganzoo.interfaces import Extractor
from ganzoo.registry.component import Make, default_of
from ganzoo_style_transfer.interfaces import StyleTask
from ganzoo_style_transfer.statistics import coral

CONTENT = "relu4_2"  # arXiv:1508.06576, section 2
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def content_layer(extractor: Extractor) -> str:
    """Return the layer that holds a content where nothing else is asked for: that of Gatys et al., or the deepest."""
    return CONTENT if CONTENT in extractor.layers else encoder_layer(type(extractor))


def style_layers(extractor: Extractor) -> tuple[str, ...]:
    """Return the layers that hold a style where nothing else is asked for: those of Gatys et al., or all."""
    return tuple(layer for layer in STYLE if layer in extractor.layers) or extractor.layers


def encoder_layer(extractor: type[Extractor]) -> str:
    """Return the layer on which AdaIN works, the deepest. Raises RecipeError for an extractor that gives no maps."""
    if not extractor.layers:
        raise RecipeError(
            f"the extractor '{extractor.name}' gives no feature maps: choose another, such as conv-random."
        )
    return extractor.layers[-1]


def require_layers(extractor: Extractor, layers: tuple[str, ...]) -> None:
    """Raise RecipeError for a layer that the extractor does not give, or of which it gives no map."""
    if unknown := [layer for layer in layers if layer not in extractor.layers]:
        raise RecipeError(
            f"{extractor.name} has no layer '{unknown[0]}'. Choose one of {', '.join(extractor.layers) or 'none'}."
        )


def plan_of(make: Make[Extractor]) -> tuple[int, ...]:
    """Return the plan of the extractor in a slot to its deepest layer; it need not be built, which may want a file.

    () for one that is no chain of convolutions.
    """
    chosen = default_of(make)
    cls: Any = chosen[0] if chosen else Extractor
    plan: tuple[int, ...] = cls.plan(cls.layers[-1]) if cls.layers else ()
    return plan


def build(make: Make[Extractor], device: torch.device) -> Extractor:
    """Build an extractor for RGB images on a device. Raises CheckpointError where weights are missing."""
    extractor = make(3).to(device).eval().requires_grad_(False)
    extractor.prepare(extractor.layers)
    return extractor


def prepared(task: StyleTask, device: torch.device, preserve_color: bool) -> StyleTask:
    """Move a task to a device; with `preserve_color`, give its styles the colours of the content's visible pixels."""
    styles = task.styles
    if preserve_color:
        seen = task.content[0]
        if task.opaque is not None and int(task.opaque.sum()) > 1:
            seen = seen[:, task.opaque][:, None]
        styles = tuple((coral(image[0], seen).clamp(-1, 1)[None], share) for image, share in styles)
    moved = tuple((image.to(device), share) for image, share in styles)
    return replace(task, content=task.content.to(device), styles=moved)
