"""Options from signatures: those of a class, and with `**options` those of its base."""

from typing import Annotated, Any

import pytest
from annotated_types import Gt

from ganzoo import recipe
from ganzoo.errors import RecipeError
from ganzoo.interfaces import Norm
from ganzoo.recipe.schema import option_rows, schema
from ganzoo.registry.component import Component, Make, described, options, sizes, slots, summary
from ganzoo.registry.lookup import Registry, registry


class Base(Component, kind="thing", name="base"):
    """A thing with options.

    Args:
        gain: factor
        norm: what normalizes
        limit: largest value; null for none
    """

    def __init__(
        self,
        channels: int,
        size: int,
        /,
        *,
        gain: float = 1.0,
        norm: Make[Norm] | None = None,
        limit: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        self.seen = (channels, size, gain, norm, limit)


class Wide(Base, name="wide"):
    """A thing with more options.

    Args:
        groups: number of groups
    """

    def __init__(self, *sizes: Any, gain: float = 2.0, groups: int = 3, **options: Any) -> None:
        super().__init__(*sizes, gain=gain, **options)
        self.groups = groups


class Wider(Wide, name="wider"):
    """Options of a base that relays them too.

    Args:
        limit: largest value
        depth: number of layers
    """

    def __init__(self, depth: int, /, *sizes: Any, limit: float, **options: Any) -> None:
        super().__init__(*sizes, limit=limit, **options)


class Closed(Wide, name="closed"):
    """A thing that relays nothing."""

    def __init__(self, channels: int, /, *, groups: int = 1) -> None:
        super().__init__(channels, 4, groups=groups)


@pytest.fixture
def known() -> Registry:
    made = Registry()
    for cls in (Base, Wide, Wider, Closed, *registry()):
        made.add(cls, "mine" if cls.kind == "thing" else registry().owner(cls))
    return made


def defaults(cls: type[Component]) -> dict[str, Any]:
    return {n: "needed" if f.is_required() else f.default for n, f in options(cls).model_fields.items()}


def test_a_class_takes_the_options_of_its_base():
    assert defaults(Base) == {"gain": 1.0, "norm": None, "limit": None}
    assert defaults(Wide) == {"gain": 2.0, "norm": None, "limit": None, "groups": 3}
    assert defaults(Wider) == {"gain": 2.0, "norm": None, "limit": "needed", "groups": 3}
    assert defaults(Closed) == {"groups": 1}
    assert list(defaults(Wider)) == ["gain", "norm", "limit", "groups"]  # the base's first
    assert set(slots(Wider)) == {"norm"}
    assert slots(Closed) == {}


def test_and_its_sizes():
    assert [sizes(cls) for cls in (Base, Wide, Wider, Closed)] == [
        ["channels", "size"],
        ["channels", "size"],
        ["depth", "channels", "size"],
        ["channels"],
    ]


def test_objects_get_all_of_them(known):
    node = recipe.component_from("thing", {"use": "wide", "limit": 5, "norm": "pixel_norm"}, known)
    thing = node.bind()(8, 4)
    channels, size, gain, norm, limit = thing.seen
    assert (channels, size, gain, limit, thing.groups) == (8, 4, 2.0, 5, 3)
    assert norm.func is registry().get("norm", "pixel_norm")
    assert recipe.component_from("thing", node.dump(), known).dump() == node.dump()
    with pytest.raises(TypeError, match="deep"):
        Wide(8, 4, deep=1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"use": "wide", "limt": 5}, "wide has no option 'limt'. Did you mean 'limit'? Options: gain, norm"),
        ({"use": "wide", "limit": 0}, "limit: input should be greater than 0"),
        ({"use": "closed", "gain": 1}, "closed has no option 'gain'. Options: groups."),
        ({"use": "wider"}, "wider needs the option 'limit'"),
    ],
)
def test_a_wrong_option_of_the_base_is_refused(known, raw, words):
    with pytest.raises(RecipeError) as err:
        recipe.component_from("thing", raw, known)
    assert words in str(err.value)


def test_texts_and_tables_have_them(known):
    rows = {row["option"]: row for row in option_rows(Wider)}
    assert {name: row["meaning"] for name, row in rows.items()} == {
        "gain": "factor",
        "norm": "what normalizes",
        "limit": "largest value",
        "groups": "number of groups",
    }
    assert rows["norm"]["type"] == "norm or null"
    assert rows["limit"]["default"] == "needed"
    properties = schema(known)["$defs"]["thing.wide"]["properties"]
    assert list(properties) == ["use", "gain", "norm", "limit", "groups"]
    assert properties["gain"]["default"] == 2.0
    assert properties["norm"]["anyOf"][0] == {"$ref": "#/$defs/norm"}
    assert properties["limit"]["description"] == "largest value; null for none"


HEAD = ["statistic", "gain", "clamp", "width", "out_gain", "norm", "equalized"]


@pytest.mark.parametrize(
    ("name", "more", "gain"),
    [
        ("dense", [], "weight"),
        ("selection", [], "weight"),
        ("projection", ["mapping", "cmap_dim"], "activation"),
        ("embedding", ["max_norm", "activated"], "weight"),
        ("acgan", [], "weight"),
    ],
)
def test_heads_share_the_options_of_the_dense_one(name, more, gain):
    cls = registry().get("head", name)
    assert list(options(cls).model_fields) == HEAD + more
    assert defaults(cls)["gain"] == gain
    assert sizes(cls) == ["channels", "size", "labels"]
    assert set(described(cls)) == {*HEAD, *more}
    assert summary(cls) != summary(registry().get("head", "dense")) or name == "dense"
