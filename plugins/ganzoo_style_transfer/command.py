"""`gz stylize`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganzoo_cli.host.console import known, pairs, say, say_json
from ganzoo_cli.host.options import Device, Json

Option = typer.Option
Content = Annotated[Path, typer.Argument(metavar="CONTENT", help="The picture that is painted in another style.")]
Styles = Annotated[list[Path], typer.Argument(metavar="STYLE...", help="The picture, or pictures, of that style.")]
Method = Annotated[
    str, Option(metavar="NAME", help="A transfer, gatys or adain; 'gz components list transfer' shows all.")
]
Stat = Annotated[
    str | None,
    Option(metavar="NAME", help="gatys: the statistic that is style: gram, bn, mmd-linear, mmd-poly, mmd-gauss."),
]
Features = Annotated[
    str | None, Option("--features", metavar="NAME", help="The extractor of features; conv-random needs no file.")
]
Weights = Annotated[Path | None, Option(metavar="FILE", help="adain: the decoder: a snapshot that gz train wrote.")]
Mix = Annotated[str | None, Option(metavar="A,B,...", help="Weight of each style; else equal weights.")]
Strength = Annotated[float | None, Option(min=0, max=1, help="adain: strength, from 0 to 1.")]
ContentWeight = Annotated[float | None, Option(min=0, help="gatys: weight of the content loss.")]
StyleWeight = Annotated[float | None, Option(min=0, help="gatys: weight of the style loss.")]
Start = Annotated[str | None, Option("--init", metavar="content|noise", help="gatys: the picture at the start.")]
Optimizer = Annotated[str | None, Option(metavar="lbfgs|adam", help="gatys: the optimizer of the pixels.")]
Settings = Annotated[
    list[str], Option("--set", metavar="KEY=VALUE", help="Any option of the method, as features.pool=average.")
]
Colours = Annotated[bool, Option("--preserve-color", help="Give the style the content's colours first.")]
Out = Annotated[Path, Option(metavar="FILE", help="The picture, a .png; an earlier one is kept.")]
Film = Annotated[
    Path | None, Option(metavar="FILE|DIR", help="A film of the steps: .webp, .gif, .mp4 or a folder of PNGs.")
]


def stylize(
    content: Content,
    style: Styles,
    method: Method = "gatys",
    stat: Stat = None,
    features: Features = None,
    weights: Weights = None,
    steps: Annotated[int | None, Option(min=1, help="gatys: iterations.")] = None,
    optimizer: Optimizer = None,
    init: Start = None,
    content_weight: ContentWeight = None,
    style_weight: StyleWeight = None,
    alpha: Strength = None,
    mix: Mix = None,
    preserve_color: Colours = False,
    size: Annotated[int, Option(min=8, max=20_000, help="Most pixels of a side; larger ones are scaled down.")] = 512,
    out: Out = Path("stylized.png"),
    film: Film = None,
    every: Annotated[int | None, Option(min=1, help="Steps between frames of the film.")] = None,
    fps: Annotated[int, Option(min=1, max=120, help="Frames a second.")] = 25,
    seed: Annotated[int, Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")] = 0,
    set_: Settings = [],  # noqa: B006 (typer copies it)
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Paint a picture in another one's style. Interrupted, it leaves what there is; the same command goes on."""
    flags = {
        "statistic": stat,
        "features": features,
        "weights": str(weights) if weights else None,
        "steps": steps,
        "optimizer": optimizer,
        "init": init,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "alpha": alpha,
        "preserve_color": preserve_color or None,
    }
    settings = {name: value for name, value in flags.items() if value is not None} | pairs(set_)
    known()
    from ganzoo_style_transfer import session

    request = session.Request(
        content=content,
        styles=style,
        out=out,
        shares=_shares(mix),
        size=size,
        film=film,
        every=every,
        fps=fps,
        seed=seed,
        device=device,
    )
    record: dict[str, Any] = session.stylize(session.transfer_node(method, settings), request)
    if as_json:
        return say_json(record)
    say(record["out"])
    return say(record["film"]) if record["film"] else None


def _shares(text: str | None) -> list[float]:
    """Numbers of --mix: '0.7,0.3' -> [0.7, 0.3]. Raises UsageError."""
    from ganzoo.errors import UsageError

    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"--mix {text}: write it as numbers with commas, as 0.7,0.3.") from None
