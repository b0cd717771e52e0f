"""Every mix of components either trains or is refused in one sentence; no third thing happens.

The choices are whatever is registered, so a new component enrols itself. A mix is a recipe built from one choice a
kind. Here every pair of choices that any recipe may hold trains once (all-pairs covering); benchmarks/mix.py walks the
product.
"""

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import torch

from ganzoo.errors import RecipeError
from ganzoo.gan.rules import RULES
from ganzoo.gan.trainer import Trainer
from ganzoo.interfaces import Stage
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.loading import checked
from ganzoo.recipe.node import Node, parse
from ganzoo.recipe.source import Source
from ganzoo.registry.component import Component, options, slots
from ganzoo.registry.lookup import registry

Mix = dict[str, str | None]  # kind -> name; None leaves an optional slot empty
Pair = tuple[tuple[str, str | None], tuple[str, str | None]]

BATCH = 4
LABELS = 3
ROOT = ("generator", "discriminator", "loss", "regularizer", "growth", "augment")
SMALL = {
    "z_dim": 8,
    "w_dim": 8,
    "channel_base": 128,
    "channel_max": 8,
    "train_kimg": 0.01,
    "fade_kimg": 0.01,
    "depth": 2,
    "p": 0.5,
    "sigma": 0.5,
}


# --- from choices to a recipe ----------------------------------------------------------------------------------------


def reachable() -> dict[str, list[str | None]]:
    """{kind: choices} of every kind that a GAN's networks and objective are made of."""
    known, found, todo = registry(), {}, list(ROOT)
    optional = {"regularizer", "growth", "augment"}
    while todo:
        kind = todo.pop()
        if kind in found or not known.names(kind):
            continue
        found[kind] = list(known.names(kind))
        for cls in (known.get(kind, name) for name in found[kind]):
            for slot in slots(cls).values():
                todo.append(slot.kind)
                optional |= {slot.kind} if slot.optional else set()
    return {kind: [*names, *([None] if kind in optional else [])] for kind, names in sorted(found.items())}


def component(kind: str, mix: Mix) -> Any:
    """The chosen component of a kind, with the chosen ones in its slots."""
    name = mix.get(kind)
    if name is None:
        return None
    cls: type[Component] = registry().get(kind, name)
    filled = {}
    for parameter, slot in slots(cls).items():
        inner = component(slot.kind, {**mix, kind: None})  # in a slot of its own kind: nothing
        if inner is None and not slot.optional:  # empty where it may be: here it may not
            inner = component(slot.kind, {**mix, slot.kind: registry().names(slot.kind)[0]})
        if inner is not None or slot.optional:
            filled[parameter] = [inner] if slot.many else inner
    return {"use": name, **{k: v for k, v in SMALL.items() if k in options(cls).model_fields}, **filled}


def source(mix: Mix) -> Source:
    known = registry()
    tree = {kind: component(kind, mix) for kind in ROOT if kind != "regularizer"}
    penalties = [component("regularizer", mix)] if mix["regularizer"] else []
    teaches = bool(mix["regularizer"]) and known.get("regularizer", mix["regularizer"]).needs_classes
    if teaches:  # those of both networks, as the classifier's rule wants them
        names = [n for n in known.names("regularizer") if known.get("regularizer", n).needs_classes]
        penalties = [component("regularizer", mix | {"regularizer": name}) for name in names]
    labels = LABELS if teaches or known.get("head", mix["head"]).uses_labels else 0
    if known.get("mapping", mix["mapping"]).keeps_size:
        tree["generator"]["w_dim"] = SMALL["z_dim"] + labels
        if labels and "mapping" in tree["discriminator"]["head"]:
            tree["discriminator"]["head"]["cmap_dim"] = labels
    return Source(
        {
            "image": {"size": 8},
            "labels": labels,
            **tree,
            "regularizers": penalties,
            "training": {"batch": BATCH, "precision": "fp32"},
        },
        name="mix",
    )


def node_of(mix: Mix) -> Node:
    """The checked recipe of a mix. Raises RecipeError where a rule refuses it, and nothing else."""
    return checked(source(mix))


def refusal(mix: Mix) -> RecipeError | None:
    try:
        node_of(mix)
    except RecipeError as err:
        return err
    return None


def breaking(mix: Mix) -> list[str]:
    """Names of the rules that a mix breaks."""
    node = parse(source(mix), registry())
    return [rule.__name__ for rule in RULES if list(rule(node))]


# --- what it is to train ---------------------------------------------------------------------------------------------


def moments(trainer: Trainer) -> Iterator[int]:
    """Numbers of images: one for each level and for each fade, the end last."""
    seen: list[tuple[int, bool]] = []
    for images in [*range(100), 10**9]:
        stage: Stage = trainer.stage_at(images)
        if (stage.level, stage.alpha < 1) not in seen:
            seen.append((stage.level, stage.alpha < 1))
            yield images


def stuck(node: Node, draws: int = 3) -> set[str]:
    """What never moves, whatever the initial weights: where they satisfy a hinge's margin, nothing need move."""
    found = resting(node, seed=0)
    for seed in range(1, draws):
        found = found and found & resting(node, seed, steps=2)
    return found


def problem(mix: Mix) -> str:
    """What keeps a mix that no rule refuses from training; nothing if all is well."""
    try:
        still = sorted(stuck(node_of(mix)))
    except Exception as err:  # whatever it is, it is a fault of the mix
        return f"{type(err).__name__}: {err}"
    return f"does not move: {', '.join(still)}" if still else ""


def resting(node: Node, seed: int, steps: int = 1) -> set[str]:
    """Parameters that steps at each stage leave where they were. Raises Diverged for numbers that are not finite.

    All parameters of G and D must have moved at the end: after one step where all levels train from the start; where
    networks grow, after a step at each stage, since each stage uses the heads and inputs of its own levels alone. Two
    things may stand still. A topology that could grow, but does not, has heads and inputs of coarser levels that wait.
    And D's logit offset: a loss of differences does not see it, and a hinge within its margin neither. A weight behind
    one that starts at 0 moves at the second step.
    """
    torch.manual_seed(seed)
    trainer = Trainer(build_experiment(node), torch.device("cpu"))
    nets = {"G": trainer.G, "D": trainer.D}
    before = {f"{net}.{name}": p.detach().clone() for net in nets for name, p in nets[net].named_parameters()}
    real = torch.randint(0, 256, (BATCH, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    for images in [each for each in moments(trainer) for _ in range(steps)]:
        trainer.images, trainer.iteration = images, 0  # lazy penalties are due at iteration 0
        labels = torch.eye(LABELS)[torch.arange(BATCH) % LABELS][:, : trainer.experiment.labels]
        trainer.step(real, labels, labels)
        assert trainer.report()
    after = {f"{net}.{name}": p.detach() for net in nets for name, p in nets[net].named_parameters()}
    assert all(p.isfinite().all() for p in after.values())
    idle = {"D.head.out.bias"}
    if not node.has("growth"):
        idle |= {
            name
            for path, part in (
                ("generator.synthesis", "G.synthesis.to_rgb"),
                ("discriminator.trunk", "D.trunk.from_rgb"),
            )
            if node.has(path) and node[path].cls.grows
            for name in after
            if name.startswith(f"{part}.0.")
        }  # 8x8 has two levels, and the finer one is in use
    return {name for name in after.keys() - idle if torch.equal(before[name], after[name])}


# --- all pairs -------------------------------------------------------------------------------------------------------


def pairs_of(mix: Mix) -> set[Pair]:
    return set(combinations(sorted(mix.items()), 2))


def covering(choices: dict[str, list[str | None]], tries: int = 12) -> tuple[list[Mix], dict[Pair, RecipeError]]:
    """Mixes that no rule refuses and that hold every pair of choices; and the pairs that no such mix holds."""
    draw = random.Random(0)
    wanted = [
        p
        for a, b in combinations(sorted(choices), 2)
        for x in choices[a]
        for y in choices[b]
        for p in [((a, x), (b, y))]
    ]
    draw.shuffle(wanted)
    covered: set[Pair] = set()
    mixes: list[Mix] = []
    refused: dict[Pair, RecipeError] = {}
    for pair in wanted:
        if pair in covered:
            continue
        problem = None
        for _ in range(80):  # where nearly everything is refused, look longer
            candidates = [
                {kind: draw.choice(names) for kind, names in choices.items()} | dict(pair) for _ in range(tries)
            ]
            candidates.sort(key=lambda m: len(pairs_of(m) - covered), reverse=True)
            mix = next((m for m in candidates if (problem := refusal(m)) is None), None)
            if mix is not None:
                mixes.append(mix)
                covered |= pairs_of(mix)
                break
        else:
            assert problem is not None
            refused[pair] = problem
    return mixes, refused


@pytest.fixture(scope="module")
def choices() -> dict[str, list[str | None]]:
    return reachable()


@pytest.fixture(scope="module")
def covered(choices) -> tuple[list[Mix], dict[Pair, RecipeError]]:
    return covering(choices)


def test_the_choices_are_those_of_the_registry(choices):
    for kind in ("layer", "block", "synthesis", "stem", "to_rgb", "trunk", "down", "head", "loss", "regularizer"):
        assert set(choices[kind]) - {None} == set(registry().names(kind))


def test_every_pair_trains_or_is_refused(choices, covered):
    mixes, refused = covered
    seen = {pair for mix in mixes for pair in pairs_of(mix)}
    kinds = combinations(sorted(choices), 2)
    assert seen | refused.keys() == {((a, x), (b, y)) for a, b in kinds for x in choices[a] for y in choices[b]}
    assert not seen & refused.keys()
    failed = [f"{mix}: {fault}" for mix in mixes if (fault := problem(mix))]
    assert failed == []


def test_pairs_that_no_recipe_holds_are_refused_in_a_sentence_each(covered):
    for pair, refusal in covered[1].items():
        for line in str(refusal).splitlines():
            assert line.startswith("mix: "), pair  # where: file and path
            assert line.endswith("."), pair
            assert "choose" in line or "leave" in line or "must be" in line, line  # the cure


def test_only_a_pairs_own_rule_refuses_it(covered):
    """No pair is lost for a third choice's sake: these are the pairs of kinds that rules speak of."""
    allowed = [
        {"growth", "synthesis"},
        {"head", "regularizer"},
        {"growth", "trunk"},
        {"layer", "stem"},
        {"loss", "regularizer"},
        {"synthesis", "trunk"},
    ]
    assert [pair for pair in covered[1] if {kind for kind, _ in pair} not in allowed] == []


def test_mixes_raise_nothing_but_recipe_errors(choices):
    draw = random.Random(1)
    for _ in range(500):
        refusal({kind: draw.choice(names) for kind, names in choices.items()})
