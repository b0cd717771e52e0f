"""`gz swatch`."""

from typing import Annotated

import typer

from ganzoo_cli.host.console import say


def swatch(
    name: Annotated[str, typer.Argument(metavar="PALETTE", help="A palette, as 'ramp'.")],
    colours: Annotated[int, typer.Option(min=1, help="How many colours.")] = 4,
) -> None:
    """Print the colours of a palette, a line each."""
    from ganzoo.registry import registry

    palette = registry().get("palette", name)(colours)
    for colour in palette(3).tolist():
        say(" ".join(f"{value:+.2f}" for value in colour))
