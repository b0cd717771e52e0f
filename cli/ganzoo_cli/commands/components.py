"""`gz components`: the components that are installed, and the options of one."""

from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo_cli.host.console import known, say, say_json, table
from ganzoo_cli.host.options import Json

if TYPE_CHECKING:
    from ganzoo.registry.component import Component
    from ganzoo.registry.lookup import Registry


app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List components; show what one does and its options."
)


@app.command("list")
def components_list(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Only this kind, as layer, loss or metric.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List all components by kind."""
    from ganzoo.errors import UsageError, did_you_mean
    from ganzoo.recipe.index import index

    rows = sorted(index()["components"], key=lambda row: (row["kind"], row["name"]))
    kinds = sorted({row["kind"] for row in rows})
    if kind is not None and kind not in kinds:
        raise UsageError(f"no kind '{kind}'.{did_you_mean(kind, kinds)} Known: {', '.join(kinds)}.")
    rows = [row for row in rows if kind in (None, row["kind"])]
    if as_json:
        return say_json(rows)
    columns = ["kind", "name", "plugin", "paper", "summary"]
    return table(columns, [[row.get(column, "") for column in columns] for row in rows])


@app.command("show")
def components_show(
    component: Annotated[
        str,
        typer.Argument(metavar="KIND:NAME|NAME", help="As layer:modconv or layer:plugin:modconv; a unique name alone."),
    ],
    as_json: Json = False,
) -> None:
    """Say what a component does and which options it takes."""
    from ganzoo.recipe.index import entry
    from ganzoo.registry.component import sizes

    registry = known()
    cls = _component(component, registry)
    about = entry(cls, registry.owner(cls)) | {"sizes": sizes(cls), "options": _options(cls)}
    if as_json:
        return say_json(about)
    say(f"{cls.kind}:{cls.name}, plugin {about['plugin']}{f', {cls.paper}' if cls.paper else ''}")
    say(f"{about['summary']}\n")
    say(f"built with {', '.join(sizes(cls)) or 'nothing'}")
    columns = ["option", "type", "default", "meaning"]
    return table(columns, [[row[column] for column in columns] for row in _options(cls)])


def _component(text: str, registry: "Registry") -> "type[Component]":
    """The class that KIND:NAME, or a name of one kind alone, means. Raises UsageError or UnknownComponent."""
    from ganzoo.errors import UsageError, did_you_mean

    kind, colon, name = text.partition(":")
    kinds = registry.kinds()
    if colon and kind in kinds:
        return registry.get(kind, name)
    having = [k for k in kinds if text in registry.names(k)]
    if len(having) == 1:
        return registry.get(having[0], text)
    if having:
        choices = ", ".join(f"{k}:{text}" for k in having)
        raise UsageError(f"'{text}' is the name of several components; write it as KIND:NAME: {choices}.")
    names = sorted({name for k in kinds for name in registry.names(k)})
    raise UsageError(f"'{text}' is no KIND:NAME.{did_you_mean(text, names)} Kinds: {', '.join(kinds)}.")


def _options(cls: "type[Component]") -> list[dict[str, str]]:
    from ganzoo.recipe.schema import option_rows

    return option_rows(cls)
