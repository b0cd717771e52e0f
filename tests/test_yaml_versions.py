"""Recipes that say which version of YAML they are written in are read as YAML 1.2, without a warning."""

import warnings

import pytest

from ganzoo.errors import RecipeError
from ganzoo.recipe.source import parse_yaml

VALUES = "---\na: 1e-3\nb: 010\nc: yes\nd: 1:30\n"


@pytest.mark.parametrize(
    "begin", ["", "%YAML 1.1\n", "%YAML 1.2\n", "%YAML 1.3\n", "\ufeff%YAML 1.1\n", "# x\r\n%YAML  1.1\r\n"]
)
def test_all_versions_are_read_alike(begin: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = parse_yaml(begin + VALUES, "r.yaml")
    assert source.tree == {"a": 0.001, "b": 10, "c": "yes", "d": "1:30"}
    assert source.origin(("b",)) == f"r.yaml:{begin.count(chr(10)) + 3}"


def test_what_is_no_directive_stays() -> None:
    text = "a: |\n  %YAML 1.1\n  ---\nb: '%YAML 1.1'\n"
    assert parse_yaml(text, "r.yaml").tree == {"a": "%YAML 1.1\n---\n", "b": "%YAML 1.1"}
    with pytest.raises(RecipeError, match="version 1"):
        parse_yaml("%YAML 2.0\n" + VALUES, "r.yaml")


def test_an_anchor_may_be_set_anew() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = parse_yaml("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "r.yaml").tree
    assert tree == {"a": 1, "b": 1, "c": 2, "d": 2}
