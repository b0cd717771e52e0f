"""Style transfer from picture files to a picture file: reading, resuming, interrupting, filming.

    node = chosen("gatys", {"features": "conv-random", "steps": 100})
    record = stylize(node, Request(Path("content.png"), [Path("style.png")], out=Path("stylized.png")))

What paints is a component of the kind `transfer`; this is what is around it.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import CheckpointError, DataError, Interrupted, UsageError
from ganzoo.io import files, film, images
from ganzoo.io.files import require_writable
from ganzoo.io.images import Pixels
from ganzoo.io.interrupts import signals
from ganzoo.io.log import Log
from ganzoo.model import checkpoint
from ganzoo.model.checkpoint import Header
from ganzoo.recipe.node import Node, component_from, nested
from ganzoo.registry.lookup import registry
from ganzoo.training.device import choose_device
from ganzoo.version import __version__
from ganzoo_style_transfer.interfaces import StyleTask, StyleTransferRun, Transfer
from ganzoo_style_transfer.pictures import Picture, read

FRAMES = 50  # of a film, where nothing else is asked for


@dataclass(frozen=True)
class Request:
    """What is to be stylized, and where to.

    Args:
        content: picture file
        styles: picture files
        out: the .png to write
        shares: weight of each style, at least 0; empty for equal ones
        size: most pixels of a side; larger pictures are scaled down
        film: what is written of the way there: a .webp, .gif, .mp4, or a folder
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


def chosen(method: str, settings: Mapping[str, Any]) -> Node:
    """A checked transfer from options by dotted name, as {"statistic": "bn", "features.pool": "average"}.

    Raises RecipeError for what is no option of it, or no value of one.
    """
    return component_from(Transfer.kind, nested({"use": method}, settings), registry())


# --- memory ----------------------------------------------------------------------------------------------------------


def room(device: torch.device) -> int:
    """Bytes of memory that a device has in all."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def require_room(transfer: Transfer, size: tuple[int, int], device: torch.device) -> int:
    """Bytes that a painting will take. Raises UsageError, with the size to ask for, where the device has less."""
    need, have = transfer.memory(size), room(device)
    if need > have:
        side = int(max(size) * (0.8 * have / need) ** 0.5) // 8 * 8
        raise UsageError(
            f"a picture of {size[1]}x{size[0]} takes about {need / 2**30:.1f} GiB, and {device} has "
            f"{have / 2**30:.1f} GiB: choose --size {side}, or less."
        )
    return need


# --- the work --------------------------------------------------------------------------------------------------------


def stylize(node: Node, request: Request) -> dict[str, Any]:
    """Paint, and write the picture. Goes on from where the same request was interrupted. Returns a record of it.

    Raises:
        UsageError, DataError, CheckpointError: something cannot be used
        Diverged: a loss is no number
        Interrupted: a signal came; the picture so far and a state are written
    """
    _check_paths(request)
    content = read(request.content, request.size)
    styles = [read(path, request.size, flat=True) for path in request.styles]
    shares = _shares(request)
    device, transfer = choose_device(request.device), node.bind()()
    size = content.rgb.shape[1], content.rgb.shape[2]
    need = require_room(transfer, size, device)
    facts = {
        "transfer": {key: value for key, value in node.dump().items() if key != "steps"},
        "pictures": [content.digest, *(style.digest for style in styles)],
        "shares": shares,
        "seed": request.seed,
        "film": request.film is not None and (request.every or 0),
    }
    opaque = None if content.alpha is None else torch.from_numpy(content.alpha > 0)
    pairs = tuple((style.unit(), share) for style, share in zip(styles, shares))
    try:
        painting = transfer.begin(StyleTask(content.unit(), pairs, request.seed, opaque), device)
    except DataError as err:
        names = ", ".join(map(str, request.styles))
        raise DataError(f"{request.content} in the style of {names}: {err} Choose larger pictures.") from None
    if request.film and painting.total == 1:
        raise UsageError(
            f"--film {request.film}: '{node.name}' makes its picture in one step: there is no way to show."
        )
    with Log(None, painting.total) as log:
        _say_sizes(log, request, content, size, need)
        session = _Session(request, painting, content, facts, log, node)
        session.resume()
        session.paint()
        return session.finish()


def _check_paths(request: Request) -> None:
    out = request.out
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: pictures are written as PNG: choose a name that ends in .png.")
    for path in (request.content, *request.styles):
        if out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out}: that is one of the pictures it is made from: choose another name.")
    _require_place(out, "--out")
    if request.film:
        film.check(request.film, request.fps)
        _require_place(request.film / "frame" if request.film.is_dir() else request.film, "--film")


def _require_place(path: Path, option: str) -> None:
    files.ensure_folder(path.parent, f"{option} {path}")
    require_writable(path, f"{option} {path}")


def _shares(request: Request) -> list[float]:
    given, count = list(request.shares) or [1.0] * len(request.styles), len(request.styles)
    if not count:
        raise UsageError("name one style picture or more.")
    if len(given) != count or min(given) < 0 or not 0 < sum(given) < float("inf"):
        raise UsageError(
            f"--mix {','.join(f'{share:g}' for share in given)}: give as many numbers as styles, which are {count}; "
            f"none below 0, and not all 0."
        )
    return [share / sum(given) for share in given]


def _say_sizes(log: Log, request: Request, content: Picture, size: tuple[int, int], need: int) -> None:
    if max(content.source) > request.size:
        log.say(
            f"{request.content} has {content.source[1]}x{content.source[0]} pixels; it is scaled down to "
            f"{size[1]}x{size[0]} (--size {request.size})."
        )
    log.say(f"{size[1]}x{size[0]} pixels; that takes about {need / 2**20:,.0f} MiB beside the networks.")


class _Session:
    """A painting with its files."""

    def __init__(
        self,
        request: Request,
        painting: StyleTransferRun,
        content: Picture,
        facts: dict[str, Any],
        log: Log,
        node: Node,
    ) -> None:
        self.request, self.painting, self.content, self.facts, self.log = request, painting, content, facts, log
        self.node, self.frames = node, list[Pixels]()
        self.every = request.every or max(1, painting.total // FRAMES)
        self.path = request.out.with_suffix(".state.safetensors")

    def resume(self) -> None:
        """Go on from the state beside the picture, if there is one. Raises CheckpointError where it is another's."""
        if not self.path.exists():
            self._frame()
            return
        cure = f"remove it to begin anew, or choose another --out than {self.request.out}"
        try:
            head, tensors = checkpoint.verify(self.path)
        except CheckpointError as err:
            raise CheckpointError(f"{str(err).rstrip('.')}: {cure}.") from None
        if head.recipe != self.facts or head.iteration > self.painting.total:
            raise CheckpointError(f"{self.path} was left by a transfer of other pictures or other options: {cure}.")
        if "frames" in tensors:
            self.frames = list(tensors.pop("frames").numpy())
        self.painting.restore(tensors)
        self.painting.done = head.iteration
        self.log.say(f"Going on from step {head.iteration} ({self.path}).")

    def paint(self) -> None:
        """All steps; at a signal, what there is so far is written. Raises Interrupted."""
        painting, total = self.painting, self.painting.total
        with signals() as stop:
            while painting.done < total and not stop:
                before = painting.done
                painting.advance()
                if painting.done // self.every > before // self.every:
                    self._frame()
                if total >= 10 and painting.done * 10 // total > before * 10 // total:
                    self._report()
                self.log.progress(painting.done, f"step {painting.done} of {total}")
            if stop and painting.done < total:
                self._set_down()
                raise Interrupted(
                    f"stopped by {signal.Signals(stop[0]).name} at step {painting.done} of {total}: {self.request.out} "
                    f"is the picture so far; the same command goes on from {self.path}."
                )

    def finish(self) -> dict[str, Any]:
        """Write picture and film; forget the state."""
        about = self._about()
        self._save()
        if self.request.film:
            frames = iter(self.frames)
            film.write(
                self.request.film, frames, len(self.frames), fps=self.request.fps, loop=False, about=about
            )  # fmt: skip
        self.path.unlink(missing_ok=True)
        made = self.content.rgb.shape
        record = {"out": str(self.request.out), "width": made[2], "height": made[1], **about}
        return record | {
            "losses": self.painting.losses(),
            "film": str(self.request.film) if self.request.film else None,
        }

    def _about(self) -> dict[str, Any]:
        return {
            "ganzoo": __version__,
            "transfer": self.node.dump(),
            "content": self.request.content.name,
            "styles": {path.name: share for path, share in zip(self.request.styles, self.facts["shares"])},
            "seed": self.request.seed,
            "step": self.painting.done,
        }

    def _save(self) -> None:
        images.save(self.content.with_alpha(self.painting.picture), self.request.out, self._about())

    def _set_down(self) -> None:
        self._save()
        tensors: dict[str, Tensor] = self.painting.state()
        if self.frames:
            tensors = tensors | {"frames": torch.from_numpy(np.stack(self.frames))}
        checkpoint.write(self.path, tensors, Header("state", self.facts, 0, self.painting.done))

    def _frame(self) -> None:
        if self.request.film:
            self.frames.append(self.content.with_alpha(self.painting.picture))

    def _report(self) -> None:
        if losses := self.painting.losses():
            shown = ", ".join(f"{name} {losses[name]:.4g}" for name in ("total", "content", "style") if name in losses)
            self.log.say(f"step {self.painting.done} of {self.painting.total}: {shown}")
