"""Checks across slots: mixes that each part would accept and the whole cannot.

One function and one sentence with a cure each.

A rule looks at class attributes of the chosen components, so it knows no component by name. Where a recipe lacks the
slots that it is about, it has nothing to say.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ganzoo.interfaces.experiment import CheckedRecipe, Fault
from ganzoo.registry.lookup import registry

Rule = Callable[[CheckedRecipe], Iterator[Fault]]


def _at(node: CheckedRecipe, path: str) -> Any:
    """The class in a slot, or None where the slot is empty or there is no such slot."""
    return node[path].cls if node.has(path) else None


def _classes(node: CheckedRecipe, path: str) -> list[Any]:
    children = node.children.get(path)
    return [child.cls for child in children] if isinstance(children, list) else []


def _such(kind: str, test: Callable[[Any], bool]) -> str:
    """The names of the installed components of a kind that pass a test, for the cure in a sentence."""
    known = registry()
    names = [name for name in known.names(kind) if test(known.get(kind, name))]
    return ", ".join(f"'{name}'" for name in names) or "none is installed"


def _fault(path: str, *sentence: str) -> Fault:
    return tuple(path.split(".")), " ".join(sentence)


def pyramids_meet(node: CheckedRecipe) -> Iterator[Fault]:
    """What the synthesis network emits, the trunk accepts."""
    synthesis, trunk = _at(node, "generator.synthesis"), _at(node, "discriminator.trunk")
    if synthesis and trunk and synthesis.emits != trunk.accepts:
        words = {"image": "one image", "pyramid": "an image of every size"}
        yield _fault(
            "discriminator.trunk",
            f"the synthesis '{synthesis.name}' emits {words[synthesis.emits]}, the trunk '{trunk.name}' wants",
            f"{words[trunk.accepts]}: choose two that agree.",
        )


def both_grow(node: CheckedRecipe) -> Iterator[Fault]:
    """Growth needs topologies that can work at every level, with a head and an input for each."""
    if not node.has("growth"):
        return
    for path in ("generator.synthesis", "discriminator.trunk"):
        cls = _at(node, path)
        if cls and not cls.grows:
            others = _such(cls.kind, lambda other: other.grows)
            yield _fault(path, f"growth is set, but '{cls.name}' cannot grow: choose {others} here, or growth: null.")


def latent_is_used(node: CheckedRecipe) -> Iterator[Fault]:
    """Something must depend on the latent."""
    stem, layer = _at(node, "generator.synthesis.stem"), _at(node, "generator.synthesis.block.layer")
    if stem and layer and not (stem.styled or layer.styled):
        stems, layers = (_such(kind, lambda other: other.styled) for kind in ("stem", "layer"))
        yield _fault(
            "generator.synthesis",
            f"nothing uses the latent: the stem '{stem.name}' is fixed and the layer '{layer.name}' takes no style, so",
            f"every image would be the same: choose a styled stem ({stems}) or layer ({layers}).",
        )


def regularizers_fit(node: CheckedRecipe) -> Iterator[Fault]:
    """What a regularizer needs of the loss and of the generator is there."""
    loss = _at(node, "loss")
    stem, layer = _at(node, "generator.synthesis.stem"), _at(node, "generator.synthesis.block.layer")
    for i, cls in enumerate(_classes(node, "regularizers")):
        if cls.needs_critic and not loss.critic:
            losses = _such("loss", lambda other: other.critic)
            yield _fault(
                f"regularizers.{i}",
                f"'{cls.name}' holds D's gradient at a norm that the loss '{loss.name}', a classifier with a sigmoid,",
                f"cannot keep: choose another loss ({losses}), or a penalty that is zero-centred.",
            )
        if cls.needs_styles and stem and layer and not (stem.styled or layer.styled):
            layers = _such("layer", lambda other: other.styled)
            yield _fault(
                f"regularizers.{i}",
                f"'{cls.name}' needs a generator with styles: choose a styled layer ({layers}), or leave it out.",
            )


def mapping_sizes(node: CheckedRecipe) -> Iterator[Fault]:
    """Without a mapping network the style is the latent itself."""
    mapping = _at(node, "generator.mapping")
    if mapping and mapping.keeps_size:
        z, w, labels = node["generator"].value("z_dim"), node["generator"].value("w_dim"), node.value("labels")
        if z + labels != w:
            yield _fault(
                "generator.w_dim",
                f"the mapping '{mapping.name}' passes the latent on: w_dim must be z_dim + labels, got {w}:",
                f"set generator.w_dim to {z + labels}.",
            )


def labels_are_used(node: CheckedRecipe) -> Iterator[Fault]:
    """A conditional GAN has a discriminator that looks at the labels, or one that learns to name them."""
    head = _at(node, "discriminator.head")
    if head is None:
        return
    labels = node.value("labels")
    learners = [cls for cls in _classes(node, "regularizers") if cls.needs_classes]
    for i, cls in enumerate(_classes(node, "regularizers")):
        if cls.needs_classes and (not labels or (head and not head.classifies)):
            heads = _such("head", lambda other: other.classifies)
            cure = f"choose the head {heads}, or leave it out" if labels else "set labels, or leave it out"
            yield _fault(f"regularizers.{i}", f"'{cls.name}' needs a discriminator that tells classes: {cure}.")
    if labels and head and head.classifies and {cls.on for cls in learners} != {"d", "g"}:
        regs = _such("regularizer", lambda other: other.needs_classes)
        yield _fault("regularizers", f"the head '{head.name}' names classes, and nothing teaches it: add {regs}.")
    elif labels and head and not (head.uses_labels or head.classifies):
        heads = _such("head", lambda other: other.uses_labels or other.classifies)
        yield _fault(
            "labels",
            f"labels is {labels}, but the head '{head.name}' does not look at them: choose another head ({heads}),",
            "or set labels to 0.",
        )


RULES: list[Rule] = [
    pyramids_meet,
    both_grow,
    latent_is_used,
    regularizers_fit,
    mapping_sizes,
    labels_are_used,
]
