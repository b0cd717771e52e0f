"""`gz project`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import note, pairs, say, say_json, table
from ganzoo_cli.host.drawing import Checkpoint, Class, LabelVector, label_input, load_model, refuse
from ganzoo_cli.host.options import Device, Json

if TYPE_CHECKING:
    from ganzoo.foreign.published import MissingWeights
    from ganzoo.recipe.node import Node
    from ganzoo_projection.job.job import Job

Option = typer.Option
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE|DIR ...", help="Images, folders or zips of images.", show_default=False)
]
Method = Annotated[str, Option(metavar="NAME", help="A projector; 'gz components list projector' shows all.")]
Space = Annotated[
    Literal["w", "w+"] | None,
    Option(help="w: one style code for all layers; w+: one for each layer; else as in the method's paper."),
]
Start = Annotated[
    Literal["mean", "uniform", "random"] | None,
    Option(help="Where to start: the mean style code, uniform numbers from -1 to 1, or the latent of --seed."),
]
Perceptual = Annotated[
    str | None,
    Option("--perceptual", metavar="NAME", help="How images are compared: pixel and conv-random need no weights."),
]
Steps = Annotated[int | None, Option(min=0, help="Steps of the optimization; else as in the method's paper.")]
Settings = Annotated[
    list[str],
    Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any option of the method, as lr=0.02 or perceptual.weights=FILE; repeatable.",
    ),
]
Fitting = Annotated[
    list[str],
    Option(
        "--dataset",
        metavar="KEY=VALUE",
        help="How images are fitted, if not as in the training: fit=fit, background=white, upscale=true; repeatable.",
    ),
]
Batch = Annotated[int, Option(min=1, max=4096, help="Images that are searched for side by side.")]
Seed = Annotated[int, Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")]
Stress = Annotated[
    bool, Option("--stress", help="Project each image shifted, scaled, turned and masked too: stress.png.")
]
Num = Annotated[int | None, Option(min=1, help="Project only the first N images.")]


def project(
    ckpt: Checkpoint,
    images: Images,
    method: Method = "image2stylegan",
    space: Space = None,
    steps: Steps = None,
    perceptual: Perceptual = None,
    init: Start = None,
    set_: Settings = [],  # noqa: B006 (typer copies it)
    dataset: Fitting = [],  # noqa: B006
    batch: Batch = 8,
    seed: Seed = 0,
    num: Num = None,
    class_: Class = None,
    label: LabelVector = None,
    film: Annotated[bool, Option("--film", help="A film of each image's search, film.webp.")] = False,
    stress: Stress = False,
    outdir: Annotated[Path, Option(help="Folder for the results, a folder an image.")] = Path("projected"),
    overwrite: Annotated[bool, Option("--overwrite", help="Replace other results in --outdir.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the latents of real images, and say how near they come. Interrupted, the same command goes on.

    Writes <image>/target.png, proj.png, projected_w.npz and .safetensors; report.html, report.json and contact.png.
    """
    flags = {"space": space, "steps": steps, "perceptual": perceptual, "init": init}
    flags = {name: value for name, value in flags.items() if value is not None}
    settings, fitting = pairs(set_), pairs(dataset, "--dataset")
    for name in flags.keys() & settings.keys():
        refuse(f"--set {name}={settings[name]}: --{name} says {flags[name]} already: give one of them.")
    model = load_model(ckpt, device)
    from ganzoo.recipe.node import nested
    from ganzoo_projection import search
    from ganzoo_projection.job import stress as stress_tests
    from ganzoo_projection.job.job import Job
    from ganzoo_projection.job.pictures import pictures

    node = search.node(method, nested(flags, settings))
    generator = search.freeze(model, label_input(class_, label), seed)
    inputs = pictures(images, model, fitting, outdir, note)[:num]
    job = Job(
        model=model,
        generator=generator,
        method=node,
        pictures=stress_tests.stressed(inputs) if stress else inputs,
        outdir=outdir,
        batch=batch,
        film=film,
        overwrite=overwrite,
    )
    _note_limits(job, space, init)
    report = _run(job)
    if stress:
        stress_tests.figure(report["images"], outdir, outdir / "stress.png")
    if as_json:
        say_json(report)
    else:
        _show(report, outdir, ["report.html", "contact.png", *(["stress.png"] if stress else [])])


def _run(job: "Job") -> dict[str, Any]:
    """Run a job, and return its report; missing weights and interrupts are explained in terms of this command."""
    from ganzoo.errors import CheckpointError, Interrupted
    from ganzoo.foreign.published import MissingWeights
    from ganzoo.io.launch import signals
    from ganzoo.io.log import Log

    try:
        with Log(None, max(1, len(job.pictures) * job.method.value("steps"))) as log, signals() as stop:
            return job.run(log, stop)
    except MissingWeights as err:
        raise CheckpointError(err.fault, cure=_cure(err, job.method)) from None
    except KeyboardInterrupt as err:  # a second signal
        raise Interrupted(
            f"interrupted: the batch in work is lost; {job.outdir}/ holds the images that are done, and the same "
            f"command does the others."
        ) from err


def _cure(err: "MissingWeights", method: "Node") -> str:
    """Say how weights are named with --set, and how images are compared without any."""
    slots = [slot for slot, node in _components(method) if node.cls.name == err.component]
    option = ".".join([*slots[:1], err.option])
    return (
        f"put it there, or name another place with --set {option}=FILE. {err.how}; or compare without weights: "
        f"--perceptual pixel"
    )


def _components(node: "Node", path: tuple[str, ...] = ()) -> "Iterator[tuple[str, Node]]":
    """Yield the dotted path of each component in the slots of a node, and the component."""
    for name, child in node.children.items():
        for each in child if isinstance(child, list) else [child] if child else []:
            yield ".".join((*path, name)), each
            yield from _components(each, (*path, name))


def _show(report: dict[str, Any], outdir: Path, files: list[str]) -> None:
    """Print the numbers of each image and their means, and the files that show all images."""
    keys = [key for key in ("psnr", "ssim", "mse", "perceptual", "from_mean", "seconds") if key in report["summary"]]
    rows = [[record["name"], *(f"{record[key]:.4g}" for key in keys)] for record in report["images"]]
    if len(rows) > 1:
        rows.append(["mean", *(f"{report['summary'][key]['mean']:.4g}" for key in keys)])
    table(["image", *keys], rows, right=keys)
    for name in files:
        say(str(outdir / name))


def _note_limits(job: "Job", space: str | None, init: str | None) -> None:
    """Say on stderr that a model is not full-grown, or has no style codes to search."""
    model, name = job.model, job.model.path.name
    if model.unfinished:
        note(f"{name}: {model.unfinished}: images are projected at the size it had reached.")
    if not model.has_mapping:
        unused = f" --space {space} has no meaning there." if space else ""
        unused += " --init mean has none either: the start is random." if init == "mean" else ""
        note(
            f"{name} has no learned mapping, so no space W: its latents z are searched for, from those of "
            f"--seed {job.generator.seed}.{unused}"
        )
    if job.method.value("space") == "w+" and model.has_mapping and len(model.styled) < 2:
        note(f"{name}: only one layer has a style, so W+ is W.")
