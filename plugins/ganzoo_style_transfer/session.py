"""Style transfer from picture files to a picture file: reading, resuming, interrupting, filming.

    node = transfer_node("gatys", {"features": "conv-random", "steps": 100})
    record = stylize(node, Request(Path("content.png"), [Path("style.png")], out=Path("stylized.png")))

A component of the kind `transfer` paints the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import CheckpointError, DataError, UsageError
from ganzoo.io import files, film, images
from ganzoo.io.images import Pixels
from ganzoo.io.launch import signals
from ganzoo.io.log import Log
from ganzoo.io.resumable import StateFile
from ganzoo.recipe.node import Node, component_from, nested
from ganzoo.registry.lookup import registry
from ganzoo.training.device import GIB, choose_device, total_memory
from ganzoo.version import __version__
from ganzoo_style_transfer.interfaces import StyleTask, StyleTransferRun, Transfer
from ganzoo_style_transfer.pictures import Picture, read

FRAMES = 50  # about so many in a film by default
STATE = ".state.safetensors"  # suffix of what an interrupted transfer leaves beside its picture


@dataclass(frozen=True)
class Request:
    """Which pictures are stylized, and what is written.

    Args:
        content: picture file
        styles: picture files
        out: the .png to write
        shares: weight of each style, at least 0; empty for equal ones
        size: most pixels a side; larger pictures are scaled down
        film: file (.webp, .gif, .mp4) or folder for a film of the picture's steps; None for no film
        every: steps between two frames; None for about fifty frames
        fps: frames a second
        seed: of everything random
        device: auto, cpu, cuda, cuda:1 or mps
    """

    content: Path
    styles: Sequence[Path]
    out: Path
    shares: Sequence[float] = ()
    size: int = 512
    film: Path | None = None
    every: int | None = None
    fps: int = 25
    seed: int = 0
    device: str = "auto"


def transfer_node(method: str, settings: Mapping[str, Any]) -> Node:
    """A checked transfer from options by dotted name, as {"statistic": "bn", "features.pool": "average"}.

    Raises RecipeError for an unknown option or a wrong value.
    """
    return component_from(Transfer.kind, nested({"use": method}, settings), registry())


def require_memory(transfer: Transfer, size: tuple[int, int], device: torch.device) -> int:
    """Bytes that a picture of (height, width) takes. Raises UsageError, with the size to ask for, for too many."""
    need, total = transfer.memory(size), total_memory(device) * GIB
    if need > total:
        side = int(max(size) * (0.8 * total / need) ** 0.5) // 8 * 8
        fault = f"a picture of {size[1]}x{size[0]} takes about {need / GIB:.1f} GiB, and {device} has {total / GIB:.1f}"
        raise UsageError(f"{fault} GiB", cure=f"choose --size {side}, or less")
    return need


def stylize(node: Node, request: Request) -> dict[str, Any]:
    """Paint and write the picture; continue where the same request was interrupted. Returns a record for programs.

    Raises:
        UsageError, DataError, CheckpointError: something cannot be used
        Diverged: a loss is no number
        Interrupted: a signal came; the picture so far and a state are written
    """
    _check_paths(request)
    asked, request = request, _with_free_names(request)
    content = read(request.content, request.size)
    styles = [read(path, request.size, flat=True) for path in request.styles]
    shares = _shares(request)
    device, transfer = choose_device(request.device), node.bind()()
    size = content.rgb.shape[1], content.rgb.shape[2]
    need = require_memory(transfer, size, device)
    plan = {
        "transfer": {key: value for key, value in node.dump().items() if key != "steps"},
        "pictures": [content.digest, *(style.digest for style in styles)],
        "shares": shares,
        "seed": request.seed,
        "film": request.film is not None and (request.every or 0),
    }
    opaque = None if content.alpha is None else torch.from_numpy(content.alpha > 0)
    weighted = tuple((style.unit(), share) for style, share in zip(styles, shares))
    try:
        run = transfer.begin(StyleTask(content.unit(), weighted, request.seed, opaque), device)
    except DataError as err:
        names = ", ".join(map(str, request.styles))
        raise DataError(f"{request.content} in the style of {names}: {err} Choose larger pictures.") from None
    if request.film and run.total == 1:
        fault = f"'{node.name}' makes its picture in one step, so there is nothing to film"
        raise UsageError(fault, place=f"--film {request.film}:", cure="leave --film out")
    with Log(None, run.total) as log:
        for wanted, path in ((asked.out, request.out), (asked.film, request.film)):
            if wanted != path:
                log.say(f"{wanted} exists and is kept: writing {path}.")
        _note_sizes(log, request, content, size, need)
        session = _Session(request, node, run, content, plan, log)
        session.resume()
        session.paint()
        return session.finish()


def _check_paths(request: Request) -> None:
    """Raise UsageError where a file that the request names cannot be written."""
    out = request.out
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: pictures are written as PNG: choose a name that ends in .png.")
    for path in (request.content, *request.styles):
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out}: that is one of the pictures it is made from: choose another name.")
    outputs = {f"--out {out}": out}
    if request.film:
        film.check(request.film, request.fps)
        outputs[f"--film {request.film}"] = request.film / "frame" if request.film.is_dir() else request.film
    for option, path in outputs.items():
        files.ensure_folder(path.parent, option)
        files.require_writable(path, option)


def _with_free_names(request: Request) -> Request:
    """The request with names that no file has, as stylized-1.png; an interrupted picture is continued under its own."""
    out, number = request.out, 0
    while not out.with_suffix(STATE).exists() and files.unused(out) != out:
        number += 1
        out = request.out.with_name(f"{request.out.stem}-{number}{request.out.suffix}")
    is_file = request.film is not None and request.film.suffix and not request.film.is_dir()
    return replace(request, out=out, film=files.unused(request.film) if request.film and is_file else request.film)


def _shares(request: Request) -> list[float]:
    """The weight of each style, which sum to 1. Raises UsageError."""
    count = len(request.styles)
    if not count:
        raise UsageError("name one style picture or more.")
    weights = list(request.shares) or [1.0] * count
    if len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise UsageError(
            f"--mix {','.join(f'{weight:g}' for weight in weights)}: give as many numbers as styles, which are "
            f"{count}; none below 0, and not all 0."
        )
    return [weight / sum(weights) for weight in weights]


def _note_sizes(log: Log, request: Request, content: Picture, size: tuple[int, int], need: int) -> None:
    """Say how large the picture is, and how many bytes it takes."""
    if max(content.source) > request.size:
        log.say(
            f"{request.content} has {content.source[1]}x{content.source[0]} pixels; it is scaled down to "
            f"{size[1]}x{size[0]} (--size {request.size})."
        )
    log.say(f"{size[1]}x{size[0]} pixels; that takes about {need / 2**20:,.0f} MiB beside the networks.")


@dataclass
class _Session:
    """The run of a style transfer with its files.

    Args:
        request: what the user asked for
        node: the transfer, with its checked options
        run: paints the picture
        content: the content picture
        plan: all that decides the result, as JSON values
        log: tells the progress
    """

    request: Request
    node: Node
    run: StyleTransferRun
    content: Picture
    plan: dict[str, Any]
    log: Log
    frames: list[Pixels] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.request.out.with_suffix(STATE)
        cure = f"remove it to begin anew, or choose another --out than {self.request.out}"
        other = "was left by a transfer of other pictures or other options"
        self.conflict = CheckpointError(other, place=str(path), cure=cure)
        self.state = StateFile(path, self.plan, cure, lambda _: self.conflict)
        self.every = self.request.every or max(1, self.run.total // FRAMES)  # steps between two frames

    def resume(self) -> None:
        """Continue from the state beside the picture, if there is one. Raises CheckpointError for another job's."""
        saved = self.state.read()
        if saved is None:
            self._film_frame()
            return
        step = int(saved.progress["step"])
        if step > self.run.total:
            raise self.conflict
        tensors = dict(saved.tensors)
        if "frames" in tensors:
            self.frames = list(tensors.pop("frames").numpy())
        self.run.restore(tensors)
        self.run.done = step
        self.log.say(f"Going on from step {step} ({self.state.path}).")

    def paint(self) -> None:
        """Take all steps. After a signal: write the picture so far and the state, and raise Interrupted."""
        run, total = self.run, self.run.total
        with signals() as stop:
            while run.done < total and not stop:
                before = run.done
                run.advance()
                if run.done // self.every > before // self.every:
                    self._film_frame()
                if total >= 10 and run.done * 10 // total > before * 10 // total:
                    self._log_losses()
                self.log.progress(run.done, f"step {run.done} of {total}")
            if stop and run.done < total:
                self._save_picture()
                self.state.write({"step": run.done}, self._tensors())
                where = f"at step {run.done} of {total}: {self.request.out} is the picture so far"
                raise self.state.interrupted(stop[0], where)

    def finish(self) -> dict[str, Any]:
        """Write the picture and the film, delete the state, and return a record of the run."""
        request, about = self.request, self._about()
        self._save_picture()
        if request.film:
            frames = iter(self.frames)
            film.write(request.film, frames, len(self.frames), fps=request.fps, loop=False, about=about)
        self.state.delete()
        _, height, width = self.content.rgb.shape
        record = {"out": str(request.out), "width": width, "height": height, **about}
        return record | {"losses": self.run.losses(), "film": str(request.film) if request.film else None}

    def _about(self) -> dict[str, Any]:
        """Metadata of the files."""
        return {
            "ganzoo": __version__,
            "transfer": self.node.dump(),
            "content": self.request.content.name,
            "styles": {path.name: share for path, share in zip(self.request.styles, self.plan["shares"])},
            "seed": self.request.seed,
            "step": self.run.done,
        }

    def _save_picture(self) -> None:
        images.save(self.content.with_alpha(self.run.picture), self.request.out, self._about())

    def _tensors(self) -> dict[str, Tensor]:
        """The run's state and the frames so far."""
        frames = {"frames": torch.from_numpy(np.stack(self.frames))} if self.frames else {}
        return self.run.state() | frames

    def _film_frame(self) -> None:
        if self.request.film:
            self.frames.append(self.content.with_alpha(self.run.picture))

    def _log_losses(self) -> None:
        losses = self.run.losses()
        if losses:
            text = ", ".join(f"{name} {losses[name]:.4g}" for name in ("total", "content", "style") if name in losses)
            self.log.say(f"step {self.run.done} of {self.run.total}: {text}")
