"""`gz project`."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import note, pairs, say, say_json, table
from ganzoo_cli.host.drawing import Class, loaded, refuse
from ganzoo_cli.host.options import Device, Json

if TYPE_CHECKING:
    from ganzoo.model.model import Model
    from ganzoo.recipe.node import Node
    from ganzoo_projection.interfaces import FrozenGenerator
    from ganzoo_projection.job.job import Job

Option = typer.Option
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE|DIR ...", help="Images, folders or zips of images.", show_default=False)
]
Method = Annotated[str, Option(metavar="NAME", help="A projector; 'gz components list projector' shows all.")]
Space = Annotated[
    Literal["w", "w+"] | None,
    Option(help="w: one style code for all layers; w+: one for each layer; else as the method's paper."),
]
Start = Annotated[
    Literal["mean", "uniform", "random"] | None,
    Option(help="Where to start: the mean style code, uniform numbers from -1 to 1, or the latent of --seed."),
]
Eyes = Annotated[
    str | None,
    Option("--perceptual", metavar="NAME", help="How images are compared: pixel and conv-random need no weights."),
]
Steps = Annotated[int | None, Option(min=0, help="Of the optimization; else as the paper.")]
Settings = Annotated[
    list[str],
    Option("--set", metavar="KEY=VALUE", help="Of the method, as lr=0.02 or perceptual.side=128; repeatable."),
]
Fitting = Annotated[
    list[str],
    Option(
        "--dataset",
        metavar="KEY=VALUE",
        help="How images are fitted, in place of how the training's were: fit=fit, background=white, upscale=true.",
    ),
]
Batch = Annotated[int, Option(min=1, max=4096, help="Images that are searched for side by side.")]
Seed = Annotated[int, Option(min=0, max=2**32 - 1, help="Of everything random.")]
Num = Annotated[int | None, Option(min=1, help="The first so many images only.")]


def project(
    ckpt: Annotated[Path, typer.Argument(metavar="CKPT", help="A snapshot-*.safetensors.")],
    images: Images,
    method: Method = "image2stylegan",
    space: Space = None,
    steps: Steps = None,
    perceptual: Eyes = None,
    init: Start = None,
    set_: Settings = [],  # noqa: B006 (typer copies it)
    dataset: Fitting = [],  # noqa: B006
    batch: Batch = 8,
    seed: Seed = 0,
    num: Num = None,
    class_: Class = None,
    film: Annotated[bool, Option("--film", help="A film of each image's search, film.webp.")] = False,
    stress: Annotated[
        bool, Option("--stress", help="Project each image shifted, scaled, turned and masked too: stress.png.")
    ] = False,
    outdir: Annotated[Path, Option(help="Folder for the results, a folder an image.")] = Path("projected"),
    overwrite: Annotated[bool, Option("--overwrite", help="Replace other results in --outdir.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the latents of real images, and say how near they come. Interrupted, the same command goes on.

    Writes <image>/target.png, proj.png, projected_w.npz and .safetensors; report.html, report.json and contact.png.
    """
    given = {"space": space, "steps": steps, "perceptual": perceptual, "init": init}
    flags, settings = {name: value for name, value in given.items() if value is not None}, pairs(set_)
    _once(flags, settings)
    fitting = _fitting(dataset)
    model = loaded(ckpt, device)
    from ganzoo.recipe.node import nested
    from ganzoo_projection import search

    chosen = search.node(method, nested(flags, settings))
    view = search.freeze(model, class_, seed)
    _cautions(model, view, chosen, space, init)
    with TemporaryDirectory() as scratch:
        where = (Path(scratch), num, stress, outdir, overwrite)
        _run(model, view, chosen, images, fitting, *where, batch, film, as_json)


def _run(
    model: "Model",
    view: "FrozenGenerator",
    chosen: "Node",
    images: list[Path],
    fitting: dict[str, Any],
    scratch: Path,
    num: int | None,
    stress: bool,
    outdir: Path,
    overwrite: bool,
    batch: int,
    film: bool,
    as_json: bool,
) -> None:
    from ganzoo.errors import CheckpointError, Interrupted
    from ganzoo.io.interrupts import signals
    from ganzoo.io.log import Log
    from ganzoo_projection.job import pictures
    from ganzoo_projection.job import stress as stress_
    from ganzoo_projection.job.job import Job

    found = pictures.pictures(images, model, fitting, scratch, outdir)[:num]
    wanted = stress_.stressed(found) if stress else found
    job = Job(model, view, chosen, wanted, outdir, batch, film, overwrite)
    try:
        with Log(None, max(1, len(wanted) * chosen.value("steps"))) as log, signals() as stop:
            report = job.run(log, stop)
    except CheckpointError as err:
        raise CheckpointError(_way_out(str(err))) from None
    except KeyboardInterrupt as err:  # the second one
        raise Interrupted(
            f"interrupted: the batch in work is lost; {outdir}/ holds the images that are done, and the same "
            f"command does the others."
        ) from err
    if stress:
        stress_.figure(report["images"], outdir, outdir / "stress.png")
    if as_json:
        return say_json(report)
    _show(report, job, stress)
    return None


def _show(report: dict[str, Any], job: "Job", stress: bool) -> None:
    keys = [key for key in ("psnr", "ssim", "mse", "perceptual", "from_mean", "seconds") if key in report["summary"]]
    rows = [[r["name"], *(f"{r[key]:.4g}" for key in keys)] for r in report["images"]]
    if len(rows) > 1:
        rows.append(["mean", *(f"{report['summary'][key]['mean']:.4g}" for key in keys)])
    table(["image", *keys], rows, right=keys)
    for name in ["report.html", "contact.png", *(["stress.png"] if stress else [])]:
        say(str(job.outdir / name))


def _way_out(sentence: str) -> str:
    """Of weights that a perceptual misses: the flag that names them, and how to do without."""
    said, missing = re.subn(r"the perceptual's option '(\w+)'", r"--set perceptual.\1=FILE", sentence)
    return f"{said.rstrip('.')}; or compare without weights: --perceptual pixel." if missing else sentence


def _fitting(words: list[str]) -> dict[str, Any]:
    """Options of the dataset, from KEY=VALUE words."""
    from ganzoo.errors import UsageError

    try:
        return pairs(words)
    except UsageError as err:
        refuse(str(err).replace("--set", "--dataset"))


def _once(flags: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse what a flag and --set say both."""
    for name in flags.keys() & settings.keys():
        refuse(f"--set {name}={settings[name]}: --{name} says {flags[name]} already: give one of them.")


def _cautions(model: "Model", view: "FrozenGenerator", chosen: "Node", space: str | None, init: str | None) -> None:
    """Say on stderr what a user may not expect of this model."""
    if model.unfinished:
        note(f"{model.path.name}: {model.unfinished}: images are projected at the size it had reached.")
    if not view.mapped:
        unused = f" --space {space} has no meaning there." if space else ""
        unused += " --init mean has none either: the start is random." if init == "mean" else ""
        note(
            f"{model.path.name} has no learned mapping, so no space W: its latents z are searched for, from those of "
            f"--seed {view.seed}.{unused}"
        )
    if chosen.value("space") == "w+" and view.mapped and len(model.styled) < 2:
        note(f"{model.path.name}: one layer alone has a style, so W+ is W.")
