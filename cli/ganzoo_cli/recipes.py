"""`gz recipe`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.console import Json, Sets, known, note, say, say_json, table, write_text

if TYPE_CHECKING:
    from ganzoo.recipe import Node

app = typer.Typer(no_args_is_help=True, help="Look at recipes, begin one, check one.")

Reference = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="An architecture that 'gz recipe list' shows, or a recipe file.")
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the architectures that can be trained by name."""
    from ganzoo.registry import index

    rows = sorted(index()["recipes"], key=lambda row: str(row["name"]))
    if as_json:
        return say_json(rows)
    columns = ["name", "title", "size", "G", "D", "paper", "plugin"]
    return table(
        columns, [[_size(row.get(c)) if c == "size" else row.get(c) for c in columns] for row in rows], right=["G", "D"]
    )


def _size(size: Any) -> str:
    """[height, width] or a side, as width x height."""
    return f"{size[-1]}x{size[0]}" if isinstance(size, list) else f"{size}x{size}" if size else ""


@app.command()
def show(recipe: Reference, set_: Sets = []) -> None:  # noqa: B006 (typer copies it)
    """Show a recipe slot by slot: components, papers, options."""
    from ganzoo.component import summary
    from ganzoo.recipe import load

    known()
    node = load(recipe, set_)
    say(f"{node.value('title') or recipe}{f', {paper}' if (paper := node.value('paper')) else ''}\n")
    rows = [
        (
            ".".join(map(str, child.where)),
            child.cls.name,
            child.cls.paper,
            summary(child.cls).rstrip("."),
            _options(child),
        )
        for child in node.walk()
        if child is not node
    ]
    table(["slot", "component", "paper", "what it does", "options"], rows)
    say("")
    groups = {name: node.value(name) for name in ("image", "training")}
    table(
        ["group", "options"],
        [
            (name, ", ".join(f"{k}={_short(v)}" for k, v in group.model_dump(mode="json").items()))
            for name, group in groups.items()
        ],
    )


def _options(node: "Node") -> str:
    values = node.model.model_dump(mode="json", exclude=set(node.children))
    return ", ".join(f"{k}={_short(v)}" for k, v in values.items())


def _short(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The architecture to begin with.")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The new recipe; else NAME.yaml.")] = None,
) -> None:
    """Write a commented recipe that extends an architecture, ready to be edited. Never overwrites."""
    from ganzoo.editor import draft

    known()
    path = file or Path(f"{Path(name).stem}.yaml")
    write_text(path, draft(name), new=True)
    say(str(path))
    note(f"Next:\n  gz recipe validate {path}\n  gz train {path} --data PATH")


@app.command()
def validate(file: Reference, set_: Sets = []) -> None:  # noqa: B006
    """Check a recipe as training would, without data. Prints OK, or what is wrong with file and line."""
    import torch

    from ganzoo.model import experiment
    from ganzoo.recipe import load

    known()
    node = load(file, set_)
    with torch.device("meta"):  # shapes only: takes no memory
        experiment(node)
    say(f"OK: {file}")


@app.command()
def resolve(recipe: Reference, set_: Sets = []) -> None:  # noqa: B006
    """Print the filled recipe, with every default written out, as YAML."""
    from ganzoo.recipe import load
    from ganzoo.source import to_yaml

    known()
    print(to_yaml(load(recipe, set_).dump()), end="")


@app.command()
def schema() -> None:
    """Print a JSON Schema of all that is installed, so that editors complete and check recipes."""
    from ganzoo.editor import schema as make

    say_json(make(known()))
