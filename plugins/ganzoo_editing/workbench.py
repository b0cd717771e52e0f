"""What the commands of `gz edit` share: codes from files and seeds, pictures and codes to files."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganzoo_cli.host.console import say
from ganzoo_cli.host.drawing import about_with, cautions, fits, loaded, numbers, refuse

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.io.images import Pixels
    from ganzoo.model.model import Model


@dataclass
class Editing:
    """A model, how codes become images, and the files that codes came from."""

    model: "Model"
    psi: float
    cutoff: int | None
    label: int | None
    noise: Any
    foreign: bool
    inputs: list[Path] = field(default_factory=list)

    def code(self, what: str, text: str) -> "Tensor":
        """The style codes [1, L, W] of a seed, as '3', or of a file, as 'a.npz' or 'a.npz:2'; truncated."""
        from ganzoo.model import latent_files

        if text.isdigit():
            ws = self.model.styles(numbers(what, text), label=self.label)
        else:
            path, at = _place(what, text)
            self.inputs.append(path)
            ws = latent_files.read(path, self.model, foreign=self.foreign, label=self.label)
            if at is None and len(ws) > 1:
                refuse(f"{what} {text}: it holds {len(ws)} codes: name one, as {text}:0 for the first.")
            if at is not None and at >= len(ws):
                refuse(f"{what} {text}: it holds {len(ws)} codes: choose from 0 to {len(ws) - 1}.")
            ws = ws[at or 0][None]
        return self.model.truncate(ws, self.psi, self.cutoff).cpu()

    def styled(self, what: str) -> tuple[int, ...]:
        """The layers whose codes are used. Refuses a generator without."""
        used = self.model.styled
        if len(used) < 2:
            refuse(
                f"{self.model.path}: its generator takes no style in its layers, so there is nothing {what}; "
                f"'gz edit morph' and 'gz walk' show what lies between two images."
            )
        return used

    def about(self) -> dict[str, Any]:
        """What the files say of the model, and the options that were given."""
        from ganzoo.model import latent_files

        how = {"psi": self.psi, "cutoff": self.cutoff, "label": self.label, "noise": self.noise}
        return latent_files.about(self.model) | about_with(self.model, how)

    def frames(self, ws: "Tensor | Sequence[Tensor]", written: list[Any]) -> Iterator["Pixels"]:
        """The images of codes, one after the other; `written` takes those that the reader is done with."""
        from ganzoo.io.log import Log

        with Log(None, len(ws)) as log:
            for i, w in enumerate(ws):
                yield self.model.pixels(self.model.render(w.reshape(1, *w.shape[-2:]), noise=self.noise))[0]
                written.append(i)
                log.progress(i + 1, f"image {i + 1} of {len(ws)}")

    def strip(
        self,
        ws: "Tensor | Sequence[Tensor]",
        names: Sequence[str],
        out: Path,
        about: dict[str, Any],
        kept: "Sequence[Tensor] | None" = None,
    ) -> None:
        """A row of labelled images, and beside it their codes, or those that are to be kept."""
        import torch

        self.picture(ws, names, [""], out, about)
        lasting = ws if kept is None else kept
        self.save(out, out.with_suffix(""), torch.cat([w.reshape(1, *w.shape[-2:]) for w in lasting]), about)

    def picture(
        self,
        ws: "Tensor | Sequence[Tensor]",
        columns: Sequence[str],
        rows: Sequence[str],
        out: Path,
        about: dict[str, Any],
    ) -> None:
        """Labelled images in rows and columns, written to `out`."""
        import numpy as np

        from ganzoo.io import images
        from ganzoo.io.figure import figure

        if out.suffix.lower() != ".png":
            refuse(f"--out {out}: it is a picture: name a file that ends in .png.")
        fits(f"--out {out}", self.model, len(columns), len(rows))
        self.require_place(out, out.with_suffix(""))
        images.save(figure(np.stack(list(self.frames(ws, []))), columns, rows), out, about)

    def save(self, out: Path, stem: Path, ws: "Tensor", about: dict[str, Any], name: str = "w") -> None:
        """Write the codes of a picture or film; prints its name and theirs."""
        from ganzoo.model import latent_files

        for path in (out, *latent_files.save(stem, ws, about | {"picture": out.name}, name)):
            say(str(path))

    def require_place(self, out: Path, stem: Path) -> None:
        """Refuse what cannot be written, and codes over others than those of an earlier picture of the same name."""
        from ganzoo.io import files
        from ganzoo.io.files import require_writable
        from ganzoo.model import latent_files

        for path in self.inputs:
            if path.suffix in (".npz", ".safetensors") and path.with_suffix("").resolve() == stem.resolve():
                refuse(f"--out: {stem}.npz and .safetensors would be written over {path}: choose another name.")
        full = stem.with_name(f"{stem.name}.safetensors")
        plain = stem.with_name(f"{stem.name}.npz")
        owner = latent_files.drawn_as(full)
        if (full.exists() or plain.exists()) and owner != out.name:
            of = f"the codes of {owner}" if owner else "what was not written with this picture"
            refuse(f"--out {out}: {plain} and {full.name} hold {of}: choose another name, or remove them.")
        place = out if out.is_dir() else out.parent
        files.ensure_folder(place, f"--out {out}")
        require_writable(place / stem.name, f"--out {out}")


def _place(what: str, text: str) -> tuple[Path, int | None]:
    """'a.npz:2' as a file and the number of a code in it."""
    name, _, number = text.rpartition(":")
    if Path(name).suffix not in (".npz", ".npy", ".safetensors"):
        return Path(text), None
    if not re.fullmatch("[0-9]{1,9}", number):
        refuse(f"{what} {text[:80]}: '{number[:20]}' is no number of a code: write {name}:0 for the first.")
    return Path(name), int(number)


def editing(
    ckpt: Path,
    device: str,
    truncation: tuple[float, int | None],
    label: int | None,
    noise: str,
    foreign: bool,
) -> Editing:
    """The model, loaded; what cannot be is refused before anything is drawn."""
    model = loaded(ckpt, device)
    psi, cutoff = truncation
    if label is not None:
        model.label(label)
    cautions(model, psi)
    return Editing(model, psi, cutoff, label, noise, foreign)


def strengths(option: str, text: str) -> list[float]:
    """'-1,0.5' -> [-1.0, 0.5]."""
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            refuse(f"{option} {text}: '{part}' is no number; write 0.5,1,1.5.")
        if not math.isfinite(found[-1]):
            refuse(f"{option} {text}: '{part}' is not finite; write 0.5,1,1.5.")
    return found


def signed(values: Sequence[float]) -> list[str]:
    """Strengths as labels: '+1.5', '0'."""
    return [f"{value:+.3g}" if value else "0" for value in values]
