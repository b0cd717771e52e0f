"""All commands of `gz`, put together."""

from typing import Annotated

import typer

from ganzoo_cli import (
    ckpt,
    convert,
    data,
    edit,
    export,
    listing,
    metrics,
    mix,
    project,
    recipes,
    sample,
    stylize,
    train,
    walk,
)

SETTINGS = {"token_normalize_func": lambda word: word.replace("_", "-"), "help_option_names": ["-h", "--help"]}

app = typer.Typer(name="gz", context_settings=SETTINGS, no_args_is_help=True, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        import ganzoo

        typer.echo(f"ganzoo {ganzoo.__version__}")
        raise typer.Exit


@app.callback()
def gz(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train GANs from recipes, sample from them, measure them."""


app.command("train")(train.train)
app.command("generate")(sample.generate)
app.command("mix")(mix.mix)
app.command("walk")(walk.walk)
app.command("stylize")(stylize.stylize)
app.command("project")(project.project)
app.add_typer(edit.app, name="edit")
app.command("export")(export.export)
app.add_typer(metrics.app, name="metrics")
app.command("import")(convert.convert)
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipe")
app.add_typer(listing.components_app, name="components")
app.add_typer(listing.plugins_app, name="plugins")
app.add_typer(ckpt.app, name="ckpt")
app.command("env")(listing.env)
