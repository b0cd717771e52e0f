"""TODO docstring."""

from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo_cli.host.console import known, say, say_json, table
from ganzoo_cli.host.options import Json

if TYPE_CHECKING:
    from ganzoo.registry.component import Component


app = typer.Typer(no_args_is_help=True, help="What recipes are made of.")


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
    component: Annotated[str, typer.Argument(metavar="KIND:NAME", help="As layer:modconv, or layer:plugin:modconv.")],
    as_json: Json = False,
) -> None:
    """Say what a component does and which options it takes."""
    from ganzoo.errors import UsageError
    from ganzoo.recipe.index import entry
    from ganzoo.registry.component import sizes

    registry = known()
    kind, colon, name = component.partition(":")
    if not colon or kind not in registry.kinds():
        raise UsageError(f"'{component}' is no KIND:NAME; kinds: {', '.join(registry.kinds())}.")
    cls = registry.get(kind, name)
    about = entry(cls, registry.owner(cls)) | {"sizes": sizes(cls), "options": _options(cls)}
    if as_json:
        return say_json(about)
    say(f"{kind}:{cls.name}, plugin {about['plugin']}{f', {cls.paper}' if cls.paper else ''}")
    say(f"{about['summary']}\n")
    say(f"built with {', '.join(sizes(cls)) or 'nothing'}")
    columns = ["option", "type", "default", "meaning"]
    return table(columns, [[row[column] for column in columns] for row in _options(cls)])


def _options(cls: "type[Component]") -> list[dict[str, str]]:
    from ganzoo.recipe.schema import option_rows

    return option_rows(cls)
