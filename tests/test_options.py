"""Groups of options: a command gets one object for the fields of a dataclass."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ganzoo_cli.host.options import with_groups


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Pixels a row.")]
    height: Annotated[int, typer.Option("--height", "-H", help="Rows.")] = 2


@dataclass(frozen=True, kw_only=True)
class Box(Size):
    depth_: Annotated[float | None, typer.Option("--depth")] = None


calls: list[tuple[object, ...]] = []


@with_groups
def draw(
    path: Annotated[str, typer.Argument()],
    *,
    name: Annotated[str, typer.Option()] = "n",
    box: Box,
    count: Annotated[int, typer.Option()] = 1,
) -> str:
    """Draw a box."""
    calls.append((path, name, box, count))
    return path


@pytest.fixture
def run():
    app = typer.Typer(add_completion=False)
    app.command()(draw)
    return lambda *args: CliRunner().invoke(app, [str(a) for a in args])


def test_fields_are_options_in_the_place_of_the_object(run):
    names = list(inspect.signature(draw).parameters)
    assert names == ["path", "name", "width", "height", "depth_", "count"]
    assert draw.__doc__ == "Draw a box."
    text = run("--help").output
    positions = [text.index(word) for word in ("--name", "--width", "--height", "--depth", "--count")]
    assert positions == sorted(positions)
    assert "Pixels a row." in text and "[default: 2]" in text


def test_the_command_gets_the_object(run):
    calls.clear()
    assert run("p", "--width", 3, "-H", 5, "--depth", 0.5, "--count", 7).exit_code == 0
    assert run("p", "--width", 3, "--name", "m").exit_code == 0
    assert calls == [
        ("p", "n", Box(width=3, height=5, depth_=0.5), 7),
        ("p", "m", Box(width=3), 1),
    ]


def test_what_an_option_refuses_is_refused(run):
    assert run("p").exit_code == 2  # no --width
    assert "--width" in run("p").output
    assert run("p", "--width", 0).exit_code == 2
    assert run("p", "--width", "x").exit_code == 2


def test_it_can_be_called_from_python():
    calls.clear()
    assert draw(path="q", width=4) == "q"
    assert calls == [("q", "n", Box(width=4), 1)]
