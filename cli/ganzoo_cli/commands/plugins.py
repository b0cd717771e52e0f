"""`gz plugins`: the plugins that are installed, and whether they work."""

import typer

from ganzoo_cli.host.console import note, say, say_json, table
from ganzoo_cli.host.options import Json

HOST = "ganzoo_cli"  # the package of the command line itself, which is no plugin

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List plugins; check that they work.")


@app.command("list")
def plugins_list(as_json: Json = False) -> None:
    """List the installed plugins, without importing them."""
    from ganzoo.recipe.index import index
    from ganzoo.registry import plugin

    components = index()["components"]
    rows = [
        {
            "name": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "module": p.module,
            "components": sum(row["plugin"] == p.name for row in components),
            "recipes": len(list(p.recipes())),
            "commands": ", ".join(c.name for c in plugin.commands() if c.package == p.package),
        }
        for p in (*plugin.installed(), *plugin.command_plugins())
        if p.package != HOST
    ]
    if as_json:
        return say_json(rows)
    return table(
        list(rows[0]) if rows else ["name"], [list(row.values()) for row in rows], right=["components", "recipes"]
    )


@app.command()
def doctor() -> None:
    """Import every plugin and every command, and say which work. Fails if one does not."""
    from ganzoo.errors import PluginError
    from ganzoo.registry import plugin
    from ganzoo.registry.lookup import registry

    installed = registry()
    for name, (distribution, version) in installed.versions.items():
        count = sum(installed.owner(cls) == name for cls in installed)
        state = "broken" if name in installed.problems else "OK"
        say(f"{state:<7s}{name} ({distribution} {version}): {count} components")
    problems = dict(installed.problems)
    for command in plugin.commands():
        state = "OK"
        try:
            command.load()
        except PluginError as err:
            state, problems[f"command {command.name}"] = "broken", err
        say(f"{state:<7s}gz {command.name} ({command.distribution} {command.version})")
    problems |= plugin.command_clashes()
    for problem in problems.values():
        note(f"warning: {problem}")
    if problems:
        total = len(installed.versions) + len(plugin.commands())
        raise PluginError(f"{len(problems)} of {total} plugins and commands do not work: {', '.join(problems)}.")
