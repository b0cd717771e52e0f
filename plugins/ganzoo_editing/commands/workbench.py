"""Options of editing commands, codes from files and seeds, and files of pictures and codes."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganzoo_cli.host.console import free_name, say
from ganzoo_cli.host.drawing import ClassDrawing, load_model, note_limits, parse_numbers, refuse, refuse_large_grid

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.io.images import Pixels
    from ganzoo.model.model import Model

Option = typer.Option
SeedClass = Annotated[int | None, Option("--class", help="Class number of the seeds, for a conditional model.")]
StillNoise = Annotated[Literal["const", "none"], Option(help="const: stored noise; none: no noise.")]
Foreign = Annotated[bool, Option("--foreign", help="Take also latents that say they belong to another model.")]


@dataclass(frozen=True, kw_only=True)
class CodeDrawing(ClassDrawing):
    """How a command draws images of style codes: a group of options. Noise that changed would make films flicker."""

    class_: SeedClass = None
    noise_mode: StillNoise = "const"
    foreign: Foreign = False

    def workbench(self, ckpt: Path) -> "Workbench":
        """Load the model. Raises UsageError for a label that it does not have, before anything is drawn."""
        model = load_model(ckpt, self.device)
        if self.label_input is not None:
            model.label(self.label_input)
        note_limits(model, self.trunc)
        return Workbench(model, self)


@dataclass
class Workbench:
    """A model, how its images are drawn, and the files that codes came from."""

    model: "Model"
    drawing: CodeDrawing
    inputs: list[Path] = field(default_factory=list)

    def code(self, option: str, text: str) -> "Tensor":
        """The style codes [1, L, W] of a seed, as '3', or of a file, as 'a.npz' or 'a.npz:2'; truncated."""
        from ganzoo.model import latent_files

        if text.isdigit():
            ws = self.model.styles(parse_numbers(option, text), label=self.drawing.label_input)
        else:
            path, number = _file_and_number(option, text)
            self.inputs.append(path)
            ws = latent_files.read(path, self.model, foreign=self.drawing.foreign, label=self.drawing.label_input)
            if number is None and len(ws) > 1:
                refuse(f"{option} {text}: it holds {len(ws)} codes: name one, as {text}:0 for the first.")
            if number is not None and number >= len(ws):
                refuse(f"{option} {text}: it holds {len(ws)} codes: choose from 0 to {len(ws) - 1}.")
            ws = ws[number or 0][None]
        return self.model.truncate(ws, self.drawing.trunc, self.drawing.trunc_cutoff).cpu()

    def styled(self, purpose: str) -> tuple[int, ...]:
        """The layers whose codes are used. Raises UsageError for a generator whose layers take no style.

        Args:
            purpose: what the layers are needed for, as "to cross"
        """
        layers = self.model.styled
        if len(layers) < 2:
            refuse(
                f"{self.model.path}: its generator takes no style in its layers, so there is nothing {purpose}; "
                f"'gz edit morph' and 'gz walk' show what lies between two images."
            )
        return layers

    def about(self) -> dict[str, Any]:
        """Metadata of the files: the model, and the options that were given."""
        from ganzoo.model import latent_files

        return latent_files.about(self.model) | self.drawing.about(self.model)

    def images(self, ws: "Tensor | Sequence[Tensor]", written: list[Any]) -> Iterator["Pixels"]:
        """Yield the images of codes, uint8 [C, H, W]; `written` grows by each that the reader is done with."""
        from ganzoo.io.log import Log

        with Log(None, len(ws)) as log:
            for i, w in enumerate(ws):
                image = self.model.render(w.reshape(1, *w.shape[-2:]), noise=self.drawing.noise_mode)
                yield self.model.pixels(image)[0]
                written.append(i)
                log.progress(i + 1, f"image {i + 1} of {len(ws)}")

    def strip(
        self,
        ws: "Tensor | Sequence[Tensor]",
        names: Sequence[str],
        out: Path,
        about: dict[str, Any],
        saved: "Sequence[Tensor] | None" = None,
    ) -> None:
        """Write a row of labelled images, and beside it their codes, or those given as `saved`."""
        import torch

        out = self.picture(ws, names, [""], out, about)
        codes = torch.cat([w.reshape(1, *w.shape[-2:]) for w in (ws if saved is None else saved)])
        self.save(out, out.with_suffix(""), codes, about)

    def picture(
        self,
        ws: "Tensor | Sequence[Tensor]",
        columns: Sequence[str],
        rows: Sequence[str],
        out: Path,
        about: dict[str, Any],
    ) -> Path:
        """Write labelled images in rows and columns, and return the file, whose name is one that no file had.

        Raises UsageError where `out` cannot be that picture.
        """
        import numpy as np

        from ganzoo.io import images
        from ganzoo.io.images import figure

        if out.suffix.lower() != ".png":
            refuse(f"--out {out}: it is a picture: name a file that ends in .png.")
        refuse_large_grid(f"--out {out}", self.model, len(columns), len(rows))
        out = self.free_name(out)
        images.save(figure(np.stack(list(self.images(ws, []))), columns, rows), out, about)
        return out

    def free_name(self, out: Path) -> Path:
        """Return `out`, or a name with a number, under which neither a picture or film nor its codes are replaced.

        Raises UsageError as `require_writable`.
        """
        self.require_writable(out, out.with_suffix(""))
        return free_name(out, ".npz", ".safetensors", ".npy")

    def save(self, out: Path, stem: Path, ws: "Tensor", about: dict[str, Any], name: str = "w") -> None:
        """Write the codes of a picture or film. Prints its name and theirs."""
        from ganzoo.model import latent_files

        for path in (out, *latent_files.save(stem, ws, about | {"picture": out.name}, name)):
            say(str(path))

    def require_writable(self, out: Path, stem: Path) -> None:
        """Raise UsageError where a picture or its codes cannot be written, or would replace other files.

        The codes of an earlier picture of the same name are no obstacle: `free_name` gives the new ones a number.
        """
        from ganzoo.io import files
        from ganzoo.model import latent_files

        for path in self.inputs:
            if path.suffix in (".npz", ".safetensors") and path.with_suffix("").resolve() == stem.resolve():
                refuse(f"--out: {stem}.npz and .safetensors would be written over {path}: choose another name.")
        full, plain = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".safetensors", ".npz"))
        owner = latent_files.drawn_as(full)
        if (full.exists() or plain.exists()) and owner != out.name:
            contents = f"the codes of {owner}" if owner else "what was not written with this picture"
            refuse(f"--out {out}: {plain} and {full.name} hold {contents}: choose another name, or remove them.")
        folder = out if out.is_dir() else out.parent
        files.ensure_folder(folder, f"--out {out}")
        files.require_writable(folder / stem.name, f"--out {out}")


def _file_and_number(option: str, text: str) -> tuple[Path, int | None]:
    """'a.npz:2' as a file and the number of a code in it. Raises UsageError."""
    name, _, number = text.rpartition(":")
    if Path(name).suffix not in (".npz", ".npy", ".safetensors"):
        return Path(text), None
    if not re.fullmatch("[0-9]{1,9}", number):
        refuse(f"{option} {text[:80]}: '{number[:20]}' is no number of a code: write {name}:0 for the first.")
    return Path(name), int(number)


def strengths(option: str, text: str) -> list[float]:
    """Numbers of an option: '-1,0.5' -> [-1.0, 0.5]. Raises UsageError."""
    numbers = []
    for part in text.split(","):
        try:
            numbers.append(float(part))
        except ValueError:
            refuse(f"{option} {text}: '{part}' is no number; write 0.5,1,1.5.")
        if not math.isfinite(numbers[-1]):
            refuse(f"{option} {text}: '{part}' is not finite; write 0.5,1,1.5.")
    return numbers


def signed(values: Sequence[float]) -> list[str]:
    """Strengths as labels: '+1.5', '0'."""
    return [f"{value:+.3g}" if value else "0" for value in values]
