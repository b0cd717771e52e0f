"""Checks across slots: mixes that each part would accept and the whole cannot.

One function each, which yields an error with the path of the option at fault.

A rule reads class attributes of the chosen components, so it knows no component by name. Where a recipe lacks the
slots that it is about, it yields nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ganzoo.errors import RecipeError
from ganzoo.interfaces import Augment, Norm, Statistic
from ganzoo.interfaces.experiment import CheckedRecipe
from ganzoo.io import launch
from ganzoo.registry.component import Component, options, slots
from ganzoo.registry.lookup import registry

Rule = Callable[[CheckedRecipe], Iterator[RecipeError]]


def _at(node: CheckedRecipe, path: str) -> Any:
    """The class in a slot, or None where the slot is empty or there is no such slot."""
    return node[path].cls if node.has(path) else None


def _classes(node: CheckedRecipe, path: str) -> list[Any]:
    children = node.children.get(path)
    return [child.cls for child in children] if isinstance(children, list) else []


def _below(node: CheckedRecipe, path: str) -> Iterator[tuple[str, Any]]:
    """Path and class of each component in the slots of a node, and in their slots."""
    for name, child in node.children.items():
        for i, each in enumerate(child if isinstance(child, list) else [child] if child else []):
            inner = f"{path}.{name}.{i}" if isinstance(child, list) else f"{path}.{name}"
            yield inner, each.cls
            yield from _below(each, inner)


def _such(kind: str, test: Callable[[Any], bool]) -> str:
    """The names of the installed components of a kind that pass a test, for the cure in a sentence."""
    known = registry()
    names = [name for name in known.names(kind) if test(known.get(kind, name))]
    return ", ".join(f"'{name}'" for name in names) or "none is installed"


def _needs_options(cls: type[Component]) -> bool:
    """Whether a component has options without a default."""
    return any(field.is_required() for field in options(cls).model_fields.values())


def _fault(path: str, fault: str, cure: str, *also: str) -> RecipeError:
    """An error of the value at a path, or of one of `also`, the other values that it is about, if the user wrote it."""
    return RecipeError(fault, cure=cure, path=_steps(path), also=tuple(map(_steps, also)))


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(step) if step.isdecimal() else step for step in path.split("."))


def _part(node: CheckedRecipe, network: str, slot: str) -> tuple[str, Any]:
    """Path and class of a part of a composed network, or of the whole network where it has no such slot."""
    path = f"{network}.{slot}"
    return (path, _at(node, path)) if node.has(path) else (network, _at(node, network))


def pyramids_meet(node: CheckedRecipe) -> Iterator[RecipeError]:
    """The trunk accepts what the synthesis network emits: the finest image, or images of all sizes."""
    source, synthesis = _part(node, "generator", "synthesis")
    path, trunk = _part(node, "discriminator", "trunk")
    if synthesis and trunk and synthesis.emits != trunk.accepts:
        words = {"image": "one image", "pyramid": "an image of every size"}
        yield _fault(
            path,
            f"the {synthesis.kind} '{synthesis.name}' emits {words[synthesis.emits]}, the {trunk.kind} '{trunk.name}' "
            f"wants {words[trunk.accepts]}",
            "choose two that agree",
            source,
        )


def both_grow(node: CheckedRecipe) -> Iterator[RecipeError]:
    """Growth needs topologies that can work at every level, with a head and an input for each."""
    if not node.has("growth"):
        return
    for path, cls in (_part(node, "generator", "synthesis"), _part(node, "discriminator", "trunk")):
        if cls and not cls.grows:
            others = _such(cls.kind, lambda other: other.grows)
            cure = f"choose {others} here, or growth: null" if "." in path else "set growth: null"
            yield _fault(path, f"growth is set, but '{cls.name}' cannot grow", cure, "growth")


def latent_is_used(node: CheckedRecipe) -> Iterator[RecipeError]:
    """Something must depend on the latent."""
    stem, layer = _at(node, "generator.synthesis.stem"), _at(node, "generator.synthesis.block.layer")
    if stem and layer and not (stem.styled or layer.styled):
        stems, layers = (_such(kind, lambda other: other.styled) for kind in ("stem", "layer"))
        yield _fault(
            "generator.synthesis",
            f"nothing uses the latent: the stem '{stem.name}' is fixed and the layer '{layer.name}' takes no style, so "
            "every image would be the same",
            f"choose a styled stem ({stems}) or layer ({layers})",
            "generator.synthesis.stem",
            "generator.synthesis.block.layer",
        )


def regularizers_fit(node: CheckedRecipe) -> Iterator[RecipeError]:
    """Loss and generator are such as each regularizer needs."""
    loss = _at(node, "loss")
    stem, layer = _at(node, "generator.synthesis.stem"), _at(node, "generator.synthesis.block.layer")
    for i, cls in enumerate(_classes(node, "regularizers")):
        if cls.needs_critic and not loss.critic:
            losses = _such("loss", lambda other: other.critic)
            yield _fault(
                f"regularizers.{i}",
                f"'{cls.name}' holds D's gradient at a norm that the loss '{loss.name}', a classifier with a sigmoid, "
                "cannot keep",
                f"choose another loss ({losses}), or a penalty that is zero-centred",
                "loss",
            )
        if cls.needs_styles and stem and layer and not (stem.styled or layer.styled):
            layers = _such("layer", lambda other: other.styled)
            yield _fault(
                f"regularizers.{i}",
                f"'{cls.name}' needs a generator with styles",
                f"choose a styled layer ({layers}), or leave it out",
                "generator.synthesis.block.layer",
                "generator.synthesis.stem",
            )


def mapping_sizes(node: CheckedRecipe) -> Iterator[RecipeError]:
    """Without a mapping network the style is the latent itself."""
    mapping = _at(node, "generator.mapping")
    if mapping and mapping.keeps_size:
        z, w, labels = node["generator"].value("z_dim"), node["generator"].value("w_dim"), node.value("labels")
        if z + labels != w:
            yield _fault(
                "generator.w_dim",
                f"the mapping '{mapping.name}' passes the latent on: w_dim must be z_dim + labels, got {w}",
                f"set generator.w_dim to {z + labels}",
                "generator.mapping",
                "generator.z_dim",
                "labels",
            )


def labels_are_used(node: CheckedRecipe) -> Iterator[RecipeError]:
    """The discriminator of a conditional GAN takes labels, or learns to predict them."""
    _, head = _part(node, "discriminator", "head")
    if head is None:
        return
    labels = node.value("labels")
    learners = [cls for cls in _classes(node, "regularizers") if cls.needs_classes]
    for i, cls in enumerate(_classes(node, "regularizers")):
        if cls.needs_classes and not (labels and head.classifies):
            heads = _such("head", lambda other: other.classifies)
            cure = f"choose the head {heads}, or leave it out" if labels else "set labels, or leave it out"
            fault = f"'{cls.name}' needs a discriminator that predicts classes"
            yield _fault(f"regularizers.{i}", fault, cure, "discriminator.head", "labels")
    if labels and head.classifies and {cls.on for cls in learners} != {"d", "g"}:
        regs = _such("regularizer", lambda other: other.needs_classes)
        yield _fault(
            "regularizers",
            f"the {head.kind} '{head.name}' predicts classes, and nothing trains it for that",
            f"add {regs}",
            "discriminator.head",
        )
    elif labels and not (head.uses_labels or head.classifies):
        heads = _such("head", lambda other: other.uses_labels or other.classifies)
        simple = _such("head", lambda other: other.uses_labels and not _needs_options(other))
        yield _fault(
            "labels",
            f"labels is {labels}, but the {head.kind} '{head.name}' does not use them",
            f"choose a discriminator.head that does ({heads}; without further options {simple}), or labels 0",
            "discriminator.head",
        )


def adaptive_under_a_critic(node: CheckedRecipe) -> Iterator[RecipeError]:
    """An augmentation that follows the sign of D's logits needs a loss under which that sign means real or fake."""
    augment, loss = _at(node, "augment"), _at(node, "loss")
    if not augment or not loss or loss.signed:
        return
    below = _below(node["augment"], "augment")
    *_, (path, cls) = [("augment", augment), *(each for each in below if issubclass(each[1], Augment))]
    if cls.observe is not Augment.observe and not any(slot.kind == cls.kind for slot in slots(cls).values()):
        yield _fault(
            path,
            f"'{cls.name}' follows the sign of D's logits, which means nothing under the loss '{loss.name}': it "
            "compares logits with each other, and their level is free",
            "choose an augmentation of fixed strength, or another loss",
            "loss",
        )


def batches_under_a_gradient_penalty(node: CheckedRecipe) -> Iterator[RecipeError]:
    """A penalty on the gradient at each sample presumes that D scores each sample by itself."""
    penalties = [cls for cls in _classes(node, "regularizers") if cls.needs_critic]
    for path, cls in _below(node["discriminator"], "discriminator") if penalties else ():
        if issubclass(cls, Norm) and not cls.samplewise:
            yield _fault(
                path,
                f"'{cls.name}' in D mixes the samples of a batch, and '{penalties[0].name}' holds the gradient at each "
                "sample (arXiv:1704.00028, section 4)",
                "choose a norm of single samples, or leave it out",
                "regularizers",
            )


def repeated_regularizers(node: CheckedRecipe) -> Iterator[RecipeError]:
    """A penalty that is listed twice is added twice."""
    classes = _classes(node, "regularizers")
    for i, cls in enumerate(classes):
        if cls in classes[:i]:
            yield _fault(f"regularizers.{i}", f"'{cls.name}' is listed twice, so both are added", "keep one")


def statistics_compare(node: CheckedRecipe) -> Iterator[RecipeError]:
    """A statistic of the batch needs several samples to be computed from."""
    if not node.has("discriminator"):
        return
    training = node.value("training")
    of_sizes = getattr(node["growth"].model, "batches", None) if node.has("growth") else None
    batches = {training.batch, *(of_sizes or {}).values()}
    shares = {max(1, batch // launch.processes()) for batch in batches}
    part = training.batch_gpu if isinstance(training.batch_gpu, int) else None
    sizes = {min(part or share, share) for share in shares}
    for path, cls in _below(node["discriminator"], "discriminator"):
        alone = [n for n in sizes if issubclass(cls, Statistic) and cls.compared(n, node[path].value) < 2]
        if alone:
            yield _fault(
                path,
                f"'{cls.name}' compares samples with each other, and of {min(alone)} images computed at once each is a "
                "group of its own, so that it is constant and D sees nothing of the batch",
                "choose a batch, or batch_gpu, that is a multiple of 4",
                "training.batch_gpu",
                "training.batch",
            )


RULES: list[Rule] = [
    pyramids_meet,
    both_grow,
    latent_is_used,
    regularizers_fit,
    mapping_sizes,
    labels_are_used,
]
CAUTIONS: list[Rule] = [
    adaptive_under_a_critic,
    batches_under_a_gradient_penalty,
    repeated_regularizers,
    statistics_compare,
]


def cautions(node: Any) -> Iterator[RecipeError]:
    """Yield what of a recipe can be trained, and is seldom meant; nothing for an experiment that is no GAN."""
    for rule in CAUTIONS:
        yield from rule(node)
