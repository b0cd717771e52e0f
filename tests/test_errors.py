"""Errors are data: place, fault and cure, from which one function makes the sentence; and nothing edits sentences."""

import ast
import pickle
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from ganzoo import errors, recipe
from ganzoo.errors import DataError, RecipeError, UnknownComponent, UsageError, ZooError
from ganzoo.recipe.source import Source, parse_yaml

ROOT = Path(__file__).parents[1]
KINDS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ZooError)}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ZooError("the disk is full."), "the disk is full."),
        (ZooError("as it is"), "as it is"),
        (DataError("is empty", place="a.png"), "a.png is empty."),
        (DataError("is empty", place="a.png", cure="remove it"), "a.png is empty: remove it."),
        (DataError("is empty.", place="a.png", cure="remove it"), "a.png is empty. Remove it."),
        (UsageError(place="--keep x", cure="write it as last=3"), "--keep x: write it as last=3."),
        (UsageError(cure="name a recipe"), "name a recipe."),
        (DataError("no such file", place="a.png:"), "a.png: no such file."),
        (
            RecipeError("got 3.", origin="r.yaml:2", path=("regularizers", 0, "gamma")),
            "r.yaml:2: regularizers.0.gamma: got 3.",
        ),
        (RecipeError("3 is odd", path=("batch",), cure="choose 4"), "batch: 3 is odd: choose 4."),
        (RecipeError(origin="--set a", cure="write it as a=1"), "--set a: write it as a=1."),
    ],
)
def test_the_sentence(error, sentence):
    assert str(error) == sentence
    assert str(copy(error)) == str(pickle.loads(pickle.dumps(error))) == sentence
    assert type(copy(error)) is type(error)


def test_a_place_goes_before_and_the_cure_can_be_left_out():
    inner = DataError("is empty", place="entry 3", cure="remove it")
    outer = inner.at("a.zip:")
    assert str(outer) == "a.zip: entry 3 is empty: remove it."
    assert outer.statement == "a.zip: entry 3 is empty"
    assert str(inner) == "entry 3 is empty: remove it."  # as it was
    assert DataError("it is damaged.").statement == "it is damaged"


def test_several_faults_are_errors_of_their_own():
    source = parse_yaml("a: 1\nb: {c: 2}\n", "r.yaml")
    both = RecipeError(faults=[source.fail(("a",), "no."), source.fail(("b", "c"), "no", "say yes")])
    assert str(both) == "r.yaml:1: a: no.\nr.yaml:2: b.c: no: say yes."
    assert [(each.origin, each.path, each.cure) for each in both.faults] == [
        ("r.yaml:1", ("a",), ""),
        ("r.yaml:2", ("b", "c"), "say yes"),
    ]
    (alone,) = both.faults[0].faults
    assert alone is both.faults[0]
    assert str(copy(both)) == str(both)


def test_an_error_of_a_recipe_knows_its_place(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("extends: stylegan2-tiny\ntraining:\n  kimgs: 3\n  batch: 0\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load(path)
    assert [(each.origin, each.path) for each in caught.value.faults] == [
        (f"{path}:4", ("training", "batch")),
        (f"{path}:3", ("training", "kimgs")),
    ]
    path.write_text("extends: stylegan2-tiny\nimage: {size: 17}\nregularizers: [r1,\n  {use: acgan_d}]\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load(path)
    places = [(each.origin, each.path) for each in caught.value.faults]
    assert places == [(f"{path}:2", ("image", "size")), (f"{path}:4", ("regularizers", 1))]
    assert all(each.cure for each in caught.value.faults)


def test_another_components_error_keeps_its_class_and_gets_a_place():
    located = Source({}, {(): "r.yaml:7"}).locate(UnknownComponent("no loss named 'x'."), ("loss", "use"))
    assert type(located) is UnknownComponent
    assert (located.origin, located.path) == ("r.yaml:7", ("loss", "use"))
    located = Source({}, {(): "r.yaml:7"}).locate(errors.PluginError("is broken", place="plugin 'p'"), ("loss",))
    assert str(located) == "r.yaml:7: loss: plugin 'p' is broken."


# --- nothing edits a sentence ----------------------------------------------------------------------------------------


def edited(text: str) -> Iterator[int]:
    """Lines that edit the text of an error of ours: `str(err).replace(...)`, `re.sub(..., str(err))`."""
    for handler in (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ExceptHandler) and n.name):
        types = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else set()
        if not types & KINDS:
            continue
        for call in (n for n in ast.walk(handler) if isinstance(n, ast.Call)):
            parts = [call.func.value] if isinstance(call.func, ast.Attribute) else []
            parts += call.args if getattr(call.func, "attr", "") in ("sub", "subn", "split", "match") else []
            if any(ast.unparse(part).startswith(f"str({handler.name})") for part in parts):
                yield call.lineno


@pytest.mark.parametrize(
    "line",
    ["str(err).removeprefix('x')", "str(err).split(':')[0]", "re.sub('a', 'b', str(err))", "f(str(err).strip())"],
)
def test_editing_is_seen(line):
    assert list(edited(f"try:\n    f()\nexcept (KeyError, DataError) as err:\n    g({line})\n")) == [4]
    assert list(edited(f"try:\n    f()\nexcept OSError as err:\n    g({line})\n")) == []
    assert list(edited("try:\n    f()\nexcept DataError as err:\n    g(str(err))\n")) == []


def test_nobody_edits_a_sentence():
    files = [path for folder in ("core", "plugins", "cli") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert [f"{path.relative_to(ROOT)}:{line}" for path in files for line in edited(path.read_text("utf-8"))] == []
