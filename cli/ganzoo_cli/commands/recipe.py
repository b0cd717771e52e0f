"""`gz recipe`: list and show architectures; write, check and compare recipes."""

import re
import sys
from collections.abc import Iterator
from itertools import groupby, zip_longest
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.text import one_line
from ganzoo_cli.host.console import WIDE, known, note, note_cautions, say, say_json, table, write_text
from ganzoo_cli.host.options import Json, Sets

if TYPE_CHECKING:
    from ganzoo.recipe.node import Node

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List and show recipes; write one, check it, compare two."
)

BARS = "▁▂▃▄▅▆▇█"  # heights of a curve drawn in text
WIDTH = 24  # characters of it

Reference = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="An architecture that 'gz recipe list' shows, or a recipe file.")
]


@app.command("list")
def list_(
    only: Annotated[
        str | None, typer.Argument(metavar="[WORD]", help="A plugin, or a word in names, titles and papers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the architectures that can be trained by name, with their parameters and main published figure."""
    from ganzoo.recipe.index import index

    rows = _matching(index()["recipes"], only)
    if as_json:
        return say_json(rows)
    columns = ["name", "size", "G", "D", "published"]
    cells: list[list[Any]] = []
    for (plugin, paper), family in groupby(rows, lambda row: (str(row["plugin"]), str(row.get("paper", "")))):
        cells += [[""] * len(columns)] if cells else []
        cells.append([" ".join(filter(None, [plugin, paper])), *[""] * (len(columns) - 1)])
        cells += [_listed(row) for row in family]
    return table(columns, cells, right=["size", "G", "D"])


def _matching(rows: list[dict[str, Any]], word: str | None) -> list[dict[str, Any]]:
    """The rows of a plugin, or those that hold a word; all of them without one."""
    from ganzoo.errors import UsageError, did_you_mean

    if word is None:
        return rows
    plugins = {str(row["plugin"]) for row in rows}
    if word in plugins:
        return [row for row in rows if row["plugin"] == word]
    keys = ("name", "title", "paper")
    matching = [row for row in rows if any(word.lower() in str(row.get(key, "")).lower() for key in keys)]
    if not matching:
        suggestion = did_you_mean(word, sorted(plugins | {str(row["name"]) for row in rows}))
        raise UsageError(f"no architecture has '{word}' in its name, title or paper.{suggestion}")
    return matching


def _listed(row: dict[str, Any]) -> list[Any]:
    """A row of at most 80 columns; everything else is in `gz recipe show` and in --json."""
    counts = [f"{row[net] / 1e6:.{int(row[net] < 1e8)}f}M" if net in row else "" for net in "GD"]
    figures = row.get("published") or [{}]
    return [row["name"], _size(row.get("size")), *counts, _figure(figures[0])]


def _figure(figure: dict[str, Any]) -> str:
    """A published figure in a few words: the metric, its value, the data's name."""
    if not figure:
        return ""
    name = re.split(r" \d+x\d+", figure["data"])[0]
    return f"{figure['metric'].removesuffix('50k').upper()} {figure['value']:g} {name}"


def _size(size: Any) -> str:
    """The side of a square, else width x height."""
    height, width = size if isinstance(size, list) else (size, size)
    return "" if size is None else str(width) if width == height else f"{width}x{height}"


@app.command()
def show(recipe: Reference, set_: Sets = [], as_json: Json = False) -> None:  # noqa: B006 (typer copies it)
    """Show a recipe slot by slot: components, papers, options, parameters; and what was published of it."""
    from ganzoo.recipe.index import index
    from ganzoo.recipe.loading import load
    from ganzoo.registry.component import summary

    known()
    node = load(recipe, set_)
    counts = _parameters(node)
    figures = [f for row in index()["recipes"] if row["name"] == recipe for f in row.get("published", [])]
    title, paper = node.value("title") or recipe, node.value("paper")
    if as_json:
        head = {"name": recipe, "title": title, "paper": paper, "parameters": counts, "published": figures}
        return say_json({**head, "recipe": node.dump()})
    labels = getattr(node.model, "labels", 0)  # of a GAN
    say(one_line(f"{title}{f', {paper}' if paper else ''}{f', {labels} classes' if labels else ''}"))
    for child in node.walk():
        if child is not node:
            where, cls = ".".join(map(str, child.where)), child.cls
            count = f"{counts[where]:,} parameters" if where in counts else ""
            say(f"\n{where}: {', '.join(filter(None, [cls.name, cls.paper, count]))}")
            _indented(summary(cls), _options(child))
    for name in ("image", "training"):
        say(f"\n{name}")
        _indented(
            ", ".join(f"{k}={_short(v)}" for k, v in node.value(name).model_dump(mode="json", by_alias=True).items())
        )
    if ramps := _ramps(node):
        say("")
        table(["schedule", "from", "", "to", "at kimg"], ramps, right=["from", "at kimg"])
    if figures:
        say("")
        columns = ["published", "metric", "value", "source"]
        table(columns, [[f["data"], f["metric"], _value(f), f["source"]] for f in figures], right=["value"])
    return None


def _ramps(node: "Node") -> list[list[str]]:
    """A row for each number that changes while training: its path, its ends, its course, and when it has arrived."""
    from ganzoo.registry.ramp import ramps

    rows = []
    for path, ramp in ramps(node.dump()).items():
        low, high = sorted((ramp.start, ramp.to))
        course = [ramp.at(i / (WIDTH - 1) * ramp.kimg * 1000) for i in range(WIDTH)]
        heights = [round((value - low) / ((high - low) or 1) * (len(BARS) - 1)) for value in course]
        rows.append([path, f"{ramp.start:g}", "".join(BARS[h] for h in heights), f"{ramp.to:g}", f"{ramp.kimg:g}"])
    return rows


def _parameters(node: "Node") -> dict[str, int]:
    """{slot: number of trainable parameters} of the networks and of the parts that stand in slots of theirs."""
    import torch

    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe.contents import parameters

    with torch.device("meta"):  # shapes only: takes no memory
        experiment = build_experiment(node)
    names = {"G": "generator", "D": "discriminator"}
    nets = {names.get(name, name): net for name, net in experiment.networks().items()}
    counts = {name: parameters(net) for name, net in nets.items()}
    for name, net in nets.items():
        counts |= {
            f"{name}.{slot}": parameters(part) for slot, part in net.named_children() if node.has(f"{name}.{slot}")
        }
    return counts


def _value(figure: dict[str, Any]) -> str:
    return f"{figure['value']:g}" + (f" ± {figure['spread']:g}" if "spread" in figure else "")


def _indented(*texts: str) -> None:
    """Print each text below its heading, as wide as the terminal; on one line where stdout is no terminal."""
    width = get_terminal_size().columns if sys.stdout.isatty() else WIDE
    for text in map(one_line, filter(None, texts)):
        say(fill(text, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))


def _options(node: "Node") -> str:
    values = node.model.model_dump(mode="json", by_alias=True, exclude=set(node.children))
    return ", ".join(f"{k}={_short(v)}" for k, v in values.items())


def _short(value: Any) -> str:
    if value is ABSENT:
        return ""
    if isinstance(value, dict) and "use" in value:  # a component with all that is in it
        inside = ", ".join(f"{k}={_short(v)}" for k, v in value.items() if k != "use")
        return f"{value['use']}({inside})" if inside else str(value["use"])
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_short(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


@app.command()
def diff(
    a: Reference,
    b: Annotated[str, typer.Argument(metavar="NAME|FILE", help="The other one.")],
    as_json: Json = False,
) -> None:
    """Show in which values two recipes differ once every default is written out, slot by slot."""
    from ganzoo.recipe.loading import load

    known()
    differing = list(_differing(load(a).dump(), load(b).dump(), ""))
    if as_json:
        sides = [(where, {"a": left, "b": right}) for where, left, right in differing]
        return say_json([{"where": w} | {k: v for k, v in s.items() if v is not ABSENT} for w, s in sides])
    if not differing:
        return say("no difference")
    return table(["slot", a, b], [(where, *map(_short, values)) for where, *values in differing])


ABSENT = object()  # a value that the other recipe has no place for; null is a value


def _differing(a: Any, b: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, value of a, value of b) where they differ; ABSENT where one of them has no such place."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _differing(a.get(key, ABSENT), b.get(key, ABSENT), f"{where}.{key}".removeprefix("."))
    elif isinstance(a, list) and isinstance(b, list) and any(isinstance(item, dict) for item in [*a, *b]):
        for i, (left, right) in enumerate(zip_longest(a, b, fillvalue=ABSENT)):
            yield from _differing(left, right, f"{where}.{i}")
    elif a != b:
        yield where, a, b


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The architecture to begin with.")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The new recipe; else NAME.yaml.")] = None,
) -> None:
    """Write a commented recipe that extends an architecture, ready to be edited. Never overwrites."""
    from ganzoo.io.files import quoted
    from ganzoo.recipe.draft import draft

    known()
    path = file or Path(f"{Path(name).stem}.yaml")
    write_text(path, draft(name), new=True)
    say(str(path))
    note(f"Next:\n  gz recipe validate {quoted(path)}\n  gz train {quoted(path)} --data PATH")


@app.command()
def validate(file: Reference, set_: Sets = []) -> None:  # noqa: B006
    """Check a recipe as training would, without data. Prints OK, or what is wrong with file and line."""
    import torch

    from ganzoo.model.restore import build_experiment
    from ganzoo.recipe.loading import checked
    from ganzoo.recipe.merge import read

    known()
    source = read(file, set_)
    node = checked(source)
    note_cautions(node, source)
    with torch.device("meta"):  # shapes only: takes no memory
        build_experiment(node)
    say(f"OK: {file}")


@app.command()
def resolve(recipe: Reference, set_: Sets = []) -> None:  # noqa: B006
    """Print the filled recipe, with every default written out, as YAML."""
    from ganzoo.recipe.loading import load
    from ganzoo.recipe.source import to_yaml

    known()
    print(to_yaml(load(recipe, set_).dump()), end="")


@app.command()
def schema() -> None:
    """Print a JSON Schema of all that is installed, so that editors complete and check recipes."""
    from ganzoo.recipe.schema import schema as make

    say_json(make(known()))
