"""The commands of `gz`, from the entry points `ganzoo.commands`: a command's module is imported when it is called."""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ganzoo.recipe.index import command_summaries
from ganzoo.registry.plugin import Command, commands
from ganzoo.version import __version__

SETTINGS = {"token_normalize_func": lambda word: word.replace("_", "-"), "help_option_names": ["-h", "--help"]}


def command_of(target: Callable[..., Any] | typer.Typer) -> Any:
    """Return the command that a function, or a typer app, describes."""
    if isinstance(target, typer.Typer):
        return get_command(target)
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return get_command(app)


class LazyCommand(TyperCommand):
    """A command of which only the name and one line of help are known until it is called."""

    def __init__(self, command: Command, summary: str) -> None:
        super().__init__(command.name, help=summary)
        self.command = command

    @cached_property
    def real(self) -> Any:
        """Import the command. Raises PluginError where its plugin is broken."""
        real = command_of(self.command.load())
        real.name = self.command.name
        return real

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments with the command's own options."""
        return self.real.make_context(info_name, args, parent=parent, **extra)


class Commands(TyperGroup):
    """All installed commands: ganzoo's own by name, then those of others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        summaries = command_summaries()
        self.commands.update({c.name: LazyCommand(c, summaries.get(c.name, "")) for c in commands()})

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names for `gz --help`."""
        return list(self.commands)


app = typer.Typer(name="gz", cls=Commands, context_settings=SETTINGS, no_args_is_help=True, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ganzoo {__version__}")
        raise typer.Exit


@app.callback()
def gz(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train GANs from recipes, sample from them, measure them."""
