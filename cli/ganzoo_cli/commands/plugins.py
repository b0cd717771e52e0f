"""TODO docstring."""

import typer

from ganzoo_cli.host.console import note, say, say_json, table
from ganzoo_cli.host.options import Json

app = typer.Typer(no_args_is_help=True, help="Where components come from.")


@app.command("list")
def plugins_list(as_json: Json = False) -> None:
    """List the installed plugins, without importing them."""
    from ganzoo.recipe.index import index
    from ganzoo.registry import plugin

    parts = index()["components"]
    rows = [
        {
            "name": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "module": p.module,
            "components": sum(row["plugin"] == p.name for row in parts),
            "recipes": len(list(p.recipes())),
        }
        for p in plugin.installed()
    ]
    if as_json:
        return say_json(rows)
    return table(
        list(rows[0]) if rows else ["name"], [list(row.values()) for row in rows], right=["components", "recipes"]
    )


@app.command()
def doctor() -> None:
    """Import every plugin, and say which work. Fails if one does not."""
    from ganzoo.errors import PluginError
    from ganzoo.registry.lookup import registry

    found = registry()
    for name, (distribution, version) in found.versions.items():
        count = sum(found.owner(cls) == name for cls in found)
        say(f"{'broken' if name in found.problems else 'OK':<7s}{name} ({distribution} {version}): {count} components")
    for problem in found.problems.values():
        note(f"warning: {problem}")
    if found.problems:
        raise PluginError(
            f"{len(found.problems)} of {len(found.versions)} plugins do not work: {', '.join(found.problems)}."
        )
