"""The files of a projection: those of each image, and those of all images together."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.io import film
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.io.images import Pixels, grid, save
from ganzoo.model import latent_files
from ganzoo.model.model import Model
from ganzoo.nn.pixels import to_unit
from ganzoo_projection.interfaces import FrozenGenerator
from ganzoo_projection.job import report, similarity
from ganzoo_projection.job.pictures import Picture
from ganzoo_projection.job.report import Record
from ganzoo_projection.search import Projection

RECORD, NOISE, FILM = "projection.json", "projected_noise.safetensors", "film.webp"
CODES = "projected_w"  # without suffix
IMAGE_FILES = (  # in the folder of an image
    *(f"{which}.{suffix}" for which in ("target", "proj") for suffix in ("png", "npy")),
    *(f"{CODES}.{suffix}" for suffix in ("npz", "safetensors")),
    NOISE,
    FILM,
    RECORD,
)
REPORT, CONTACT, LOSSES = "report.json", "contact.png", "losses.png"
REPORT_FILES = (REPORT, "report.html", CONTACT, "contact.npy", LOSSES, "stress.png")
FPS = 15  # frames a second of a film
TILE = 128  # pixels a side, to about which the images of a film are enlarged


@dataclass(frozen=True)
class Results:
    """The folder of the results.

    Args:
        outdir: it has a folder for each image
        model: makes the images
        generator: the model's, as projectors see it
        about: description of the model and the method, in the files of each image
        used: what the report adds to it: the perceptual distance, the projector's weights, whether there are films
    """

    outdir: Path
    model: Model
    generator: FrozenGenerator
    about: Record
    used: Record

    @property
    def about_all(self) -> Record:
        """Description of the model and the method in the report."""
        return self.about | self.used

    def existing(self, pictures: Sequence[Picture]) -> list[Path]:
        """Files that have the names of those to be written."""
        paths = [self.outdir / name for name in REPORT_FILES]
        paths += [self.outdir / picture.name / name for picture in pictures for name in IMAGE_FILES]
        return [path for path in paths if path.is_file()]

    def record(self, name: str) -> Record:
        """Read what was written of an image. Raises DataError where it is gone."""
        folder = self.outdir / name
        try:
            record: Record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            complete = all((folder / f"{which}.png").is_file() for which in ("target", "proj"))
        except (OSError, ValueError):
            complete = False
        if not complete:
            raise DataError(f"{folder}: results of this image are gone: begin anew with --overwrite.")
        return record

    def write(self, search: Projection, batch: Sequence[Picture], seconds: float) -> list[Record]:
        """Write the files of a batch whose search took so many seconds, and return what they say of each image."""
        images = self.model.pixels(search.images())
        stored = self.model.pixels(search.images(stored=True)) if len(search.variables) > 1 else None
        ws, losses, trail = search.codes(), search.losses, search.trail if self.used["film"] else None
        perceptual = search.projector.perceptual
        with torch.no_grad():
            distance = perceptual.distance(to_unit(torch.from_numpy(images)).to(search.target), search.wanted)
        records = []
        for i, picture in enumerate(batch):
            folder, target = ensure_folder(self.outdir / picture.name, f"--outdir {self.outdir}"), picture.read()
            steps = search.lengths[i]
            record: Record = {"name": picture.name, "source": picture.source, "sha256": pixels_hash(target)}
            record |= self._numbers(target, images[i], ws[i])
            record |= {"perceptual": float(distance[i]), "steps": steps, "seconds": seconds / len(batch)}
            if stored is not None:
                record["psnr_stored_noise"] = similarity.psnr(similarity.mean_squared(target, stored[i]))
                _save_noise(folder / NOISE, _variables(search, i))
            about = self.about | {"image": Path(picture.source).name}
            save(target, folder / "target.png", {"image": about["image"]})
            save(images[i], folder / "proj.png", about)
            latent_files.save(folder / CODES, ws[i : i + 1], about)
            if trail is not None:
                frames = self._frames(target, trail[i], _variables(search, i))
                about_film = {"image": about["image"]}
                film.write(folder / FILM, frames, len(trail[i]), fps=FPS, loop=True, about=about_film)
            text = json.dumps(record | {"losses": losses[:steps, i].tolist()})
            with atomic_write(folder / RECORD) as temporary:
                temporary.write_text(text, encoding="utf-8")
            records.append(self.record(picture.name))
        return records

    def _numbers(self, target: Pixels, image: Pixels, ws: Tensor) -> Record:
        """Compare an image with its target, and its codes [L, W] with the mean code."""
        mse = similarity.mean_squared(target, image)
        distance = float((ws - self.generator.mean).norm())
        spread = self.generator.spread
        return {
            "mse": mse,
            "psnr": similarity.psnr(mse),
            "ssim": similarity.ssim(target, image),
            "from_mean": distance,
            "spreads": distance / len(ws) ** 0.5 / spread if spread else 0.0,
        }

    def _frames(self, target: Pixels, trail: Tensor, variables: dict[str, Tensor]) -> Iterator[Pixels]:
        """The target beside the image of each code on the way [frames, L, W], all with the noise of the end."""
        for codes in trail.to(self.generator.mean.device):
            with torch.no_grad():
                image = self.generator.images(codes[None], variables).cpu()
            yield grid(np.stack([target, self.model.pixels(image)[0]]), 2, TILE)

    def finish(self, pictures: Sequence[Picture], records: Sequence[Record]) -> Record:
        """Write what shows all images together, in the order of the pictures, and return the report."""
        by_name = {record["name"]: record for record in records}
        ordered = [by_name[picture.name] for picture in pictures]
        triples = [
            report.triple(*(report.pixels(self.outdir / picture.name / f"{which}.png") for which in ("target", "proj")))
            for picture in pictures[: report.ROWS]
        ]
        report.contact(triples, self.outdir / CONTACT, self.about)
        report.curves({record["name"]: record.pop("losses") for record in ordered}, self.outdir / LOSSES)
        return report.write(self.outdir, self.about_all, ordered, [CONTACT, LOSSES])


def pixels_hash(image: Pixels) -> str:
    """sha256 of an image's pixels."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def _variables(search: Projection, i: int) -> dict[str, Tensor]:
    """The variables of one image of a batch, [1, ...]."""
    return {name: t[i : i + 1].detach() for name, t in search.variables.items()}


def _save_noise(path: Path, variables: dict[str, Tensor]) -> None:
    maps = {name: t.cpu().clone() for name, t in variables.items() if name != "latent"}
    with atomic_write(path) as temporary:
        save_file(maps, temporary)
