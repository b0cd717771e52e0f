"""Checks across slots: mixes that each part would accept and the whole cannot.

One function and one sentence with a cure each.

A rule looks at class attributes of the chosen components, so it knows no component by name.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ganzoo.errors import RecipeError
from ganzoo.recipe import Node
from ganzoo.source import Source, Where

Fault = tuple[Where, str]
Rule = Callable[[Node], Iterator[Fault]]


def check(node: Node, source: Source) -> None:
    """Raise a RecipeError with one line for each rule that the recipe breaks."""
    faults = [str(source.fail(where, sentence)) for rule in RULES for where, sentence in rule(node)]
    if faults:
        raise RecipeError("\n".join(faults))


def _at(node: Node, path: str) -> Any:
    return node[path].cls if node.has(path) else None


def image_sizes(node: Node) -> Iterator[Fault]:
    """The size is a base times a power of two."""
    try:
        node.value("image").shape()
    except RecipeError as err:
        place, _, sentence = str(err).partition(": ")
        yield tuple(place.split(".")), sentence


def pyramids_meet(node: Node) -> Iterator[Fault]:
    """What the synthesis network emits, the trunk accepts."""
    synthesis, trunk = _at(node, "generator.synthesis"), _at(node, "discriminator.trunk")
    if synthesis and trunk and synthesis.emits != trunk.accepts:
        words = {"image": "one image", "pyramid": "an image of every size"}
        yield (
            ("discriminator", "trunk"),
            (
                f"the synthesis '{synthesis.name}' emits {words[synthesis.emits]}, the trunk '{trunk.name}' "
                f"wants {words[trunk.accepts]}: choose two that agree."
            ),
        )


def both_grow(node: Node) -> Iterator[Fault]:
    """Growth needs topologies that can work at every level, with a head and an input for each."""
    if not node.has("growth"):
        return
    for path in ("generator.synthesis", "discriminator.trunk"):
        cls = _at(node, path)
        if cls and not cls.grows:
            yield (
                tuple(path.split(".")),
                f"growth is set, but '{cls.name}' cannot grow: choose 'progressive' here, or set growth to null.",
            )


def latent_is_used(node: Node) -> Iterator[Fault]:
    """Something must depend on the latent."""
    stem, block = _at(node, "generator.synthesis.stem"), "generator.synthesis.block"
    if stem is None or not node.has(block) or not node.has(f"{block}.layer"):
        return
    layer = _at(node, f"{block}.layer")
    if not stem.styled and not layer.styled:
        yield (
            ("generator", "synthesis"),
            (
                f"nothing uses the latent: the stem '{stem.name}' is fixed and the layer '{layer.name}' takes no "
                f"style, so every image would be the same: choose the stem 'dense', or a styled layer."
            ),
        )


def regularizers_fit(node: Node) -> Iterator[Fault]:
    """What a regularizer needs of the loss and of the generator is there."""
    loss = node["loss"].cls
    regularizers = node.children["regularizers"]
    assert isinstance(regularizers, list)
    stem, layer = (
        _at(node, "generator.synthesis.stem"),
        _at(node, "generator.synthesis.block.layer") if node.has("generator.synthesis.block") else None,
    )
    for i, child in enumerate(regularizers):
        cls: Any = child.cls
        if cls.needs_unbounded and not loss.unbounded:  # type: ignore[attr-defined]
            yield (
                ("regularizers", i),
                (
                    f"'{cls.name}' holds D's gradient at a norm that the loss '{loss.name}', a classifier "
                    "with a sigmoid, "
                    f"cannot keep: choose the loss 'wasserstein', or the penalty 'r1'."
                ),
            )
        if cls.needs_styles and stem and layer and not (stem.styled or layer.styled):
            yield (
                ("regularizers", i),
                f"'{cls.name}' needs a generator with styles: choose a styled layer, or leave the penalty out.",
            )


def mapping_sizes(node: Node) -> Iterator[Fault]:
    """Without a mapping network the style is the latent itself."""
    if not node.has("generator.mapping"):
        return
    mapping: Any = _at(node, "generator.mapping")
    generator = node["generator"]
    z, w, labels = generator.value("z_dim"), generator.value("w_dim"), node.value("labels")
    if mapping.keeps_size and z + labels != w:
        yield (
            ("generator", "w_dim"),
            (
                f"the mapping '{mapping.name}' passes the latent on: w_dim must be z_dim + labels = {z + labels}, "
                f"got {w}."
            ),
        )


def batches_split(node: Node) -> Iterator[Fault]:
    """A batch is a whole number of parts."""
    training = node.value("training")
    if training.batch_gpu and training.batch % training.batch_gpu:
        yield (
            ("training", "batch_gpu"),
            f"the batch of {training.batch} is no multiple of {training.batch_gpu}: choose a divisor.",
        )


def precision_fits(node: Node) -> Iterator[Fault]:
    """fp16 overflows without clamping; penalties differentiate twice and make it worse."""
    if node.value("training").precision == "fp16":
        yield (
            ("training", "precision"),
            "fp16 training needs loss scaling, which is not there yet: choose bf16, fp32 or auto.",
        )


RULES: list[Rule] = [
    image_sizes,
    pyramids_meet,
    both_grow,
    latent_is_used,
    regularizers_fit,
    mapping_sizes,
    batches_split,
    precision_fits,
]
