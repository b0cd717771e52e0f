"""`gz components`, `gz plugins`, `gz env`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo_cli.console import Json, known, note, say, say_json, table

if TYPE_CHECKING:
    from ganzoo.component import Component

components_app = typer.Typer(no_args_is_help=True, help="What recipes are made of.")
plugins_app = typer.Typer(no_args_is_help=True, help="Where components come from.")


@components_app.command("list")
def components_list(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="Only this kind, as layer, loss or metric.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List all components by kind."""
    from ganzoo.errors import UsageError, nearest
    from ganzoo.registry import index

    rows = sorted(index()["components"], key=lambda row: (row["kind"], row["name"]))
    kinds = sorted({row["kind"] for row in rows})
    if kind is not None and kind not in kinds:
        raise UsageError(f"no kind '{kind}'.{nearest(kind, kinds)} Known: {', '.join(kinds)}.")
    rows = [row for row in rows if kind in (None, row["kind"])]
    if as_json:
        return say_json(rows)
    columns = ["kind", "name", "plugin", "paper", "summary"]
    return table(columns, [[row.get(column, "") for column in columns] for row in rows])


@components_app.command("show")
def components_show(
    component: Annotated[str, typer.Argument(metavar="KIND:NAME", help="As layer:modconv, or layer:plugin:modconv.")],
    as_json: Json = False,
) -> None:
    """Say what a component does and which options it takes."""
    from ganzoo.component import sizes
    from ganzoo.errors import UsageError
    from ganzoo.registry import entry

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
    from ganzoo.editor import option_rows

    return option_rows(cls)


# --- plugins ---------------------------------------------------------------------------------------------------------


@plugins_app.command("list")
def plugins_list(as_json: Json = False) -> None:
    """List the installed plugins, without importing them."""
    from ganzoo import plugin
    from ganzoo.registry import index

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


@plugins_app.command()
def doctor() -> None:
    """Import every plugin, and say which work. Fails if one does not."""
    from ganzoo.errors import PluginError
    from ganzoo.registry import registry

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


# --- environment -----------------------------------------------------------------------------------------------------


def env(as_json: Json = False) -> None:
    """Say what ganzoo runs on: versions, devices, threads. Good to have in a bug report."""
    import torch

    from ganzoo.device import choose, has_bf16
    from ganzoo.rundir import environment

    known()
    device = choose()
    facts: dict[str, Any] = {k: v for k, v in environment(device, []).items() if k != "command"}
    facts["devices"] = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count())),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    facts["bfloat16"] = has_bf16(device)
    if as_json:
        return say_json(facts)
    rows = {
        k: ", ".join(v)
        if isinstance(v, list)
        else ", ".join(f"{a} ({b})" for a, b in v.items())
        if isinstance(v, dict)
        else v
        for k, v in facts.items()
    }
    return table(["", ""], list(rows.items()))
