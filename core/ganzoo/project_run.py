"""A projection of many images: in batches, written image by image, resumable."""

import hashlib
import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ganzoo import codes, film
from ganzoo import project_report as report
from ganzoo.data import to_unit
from ganzoo.errors import CheckpointError, DataError, Diverged, Interrupted, UsageError
from ganzoo.files import whole
from ganzoo.images import Pixels, folder, grid, save
from ganzoo.interfaces import Projector, View
from ganzoo.log import Log
from ganzoo.model import Model
from ganzoo.project import Projection
from ganzoo.project_input import Picture
from ganzoo.project_report import Record
from ganzoo.recipe import Node

STATE, KEY, RECORD = "project.state.safetensors", "ganzoo-projection", "projection.json"
GLANCE = 0.2  # seconds between two looks at the loss
FRAMES, FPS = 60, 15  # of a film


# --- the work --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """All images of one command.

    Args:
        model: the generator's
        view: the generator
        chosen: the projector, by its checked options
        pictures: the images
        outdir: where a folder for each image is written
        batch: images that are searched for side by side
        film: whether each gets a film of its search
    """

    model: Model
    view: View
    chosen: Node
    pictures: Sequence[Picture]
    outdir: Path
    batch: int
    film: bool = False

    def about(self) -> Record:
        """What reports say of all images."""
        options = self.chosen.dump()
        space = self.chosen.value("space") if self.view.mapped else "z"
        growing = {"stage": self.model.unfinished} if self.model.unfinished else {}
        return {
            **codes.about(self.model),
            "checkpoint": self.model.path.name,
            "method": options["use"],
            "space": space,
            "seed": self.view.seed,
            "label": None if self.view.label is None else self.view.label[0].tolist(),
            "batch": self.batch,
            "options": options,
            **growing,
        }

    def run(self, log: Log, stop: Sequence[int] = ()) -> Record:
        """Project all; returns the report. After a signal in `stop`: writes the state, and raises Interrupted.

        An interrupted job goes on where it was. Raises DataError, UsageError, CheckpointError, Diverged.
        """
        projector: Projector = self.chosen.bind()(self.view.shape.channels)  # first: its weights may be missing
        plan = self._plan(log)
        before = _State.read(self.outdir / STATE, plan)
        records = [self._record(name) for name in before.done]
        if before.done or before.tensors:
            log.say(f"Going on in {self.outdir}: {len(before.done)} of {len(self.pictures)} images are done.")
        rest = [p for p in self.pictures if p.name not in before.done]
        while rest:
            part, rest = rest[: self.batch], rest[self.batch :]
            began = time.monotonic()
            search = self._search(projector, part, before.tensors)
            self._through(search, part, log, len(records), stop)
            took = before.seconds + time.monotonic() - began
            names = [record["name"] for record in records]
            if stop:
                _State(plan, names, took, search.state()).write(self.outdir / STATE)
                self._stopped(stop[0], len(names))
            records += self._write(search, part, took)
            _State(plan, [record["name"] for record in records]).write(self.outdir / STATE)
            before = _State(plan, [])
            log.say(f"{len(records)} of {len(self.pictures)} images: {_said(records[-len(part) :])}")
        found = self._finish(records)
        (self.outdir / STATE).unlink(missing_ok=True)
        return found

    def _plan(self, log: Log) -> Record:
        """What must be the same where a job goes on. Reads every image, so that a bad one is known before any work."""
        hashes = {}
        for i, p in enumerate(self.pictures):
            hashes[p.name] = hashlib.sha256(p.read().tobytes()).hexdigest()
            log.progress(0, f"reading image {i + 1} of {len(self.pictures)}")
        about = self.about()
        return {key: about[key] for key in ("digest", "options", "seed", "label", "batch")} | {
            "film": self.film,
            "images": hashes,
        }

    def _search(self, projector: Projector, part: Sequence[Picture], state: Mapping[str, Tensor] | None) -> Projection:
        target = to_unit(torch.from_numpy(np.stack([p.read() for p in part])))
        search = Projection(self.view, projector, target, FRAMES if self.film else 0)
        if state:
            search.restore(state)
        return search

    def _through(self, search: Projection, part: Sequence[Picture], log: Log, done: int, stop: Sequence[int]) -> None:
        """Search until it is done, or until there is a signal."""
        looked = time.monotonic()
        while not search.done and not stop:
            loss = search.advance()
            now = time.monotonic()
            if now - looked > GLANCE or search.done:
                looked = now
                finite = loss.isfinite().tolist()
                if not all(finite):
                    raise Diverged(
                        f"{part[finite.index(False)].source}: the loss is not finite at step {search.step}: choose a "
                        f"smaller learning rate (--set lr=...)."
                    )
                steps = done * search.projector.steps + search.step * len(part)
                log.progress(steps, f"{done + len(part)} of {len(self.pictures)} images, loss {float(loss.mean()):.4g}")

    def _stopped(self, number: int, done: int) -> None:
        raise Interrupted(
            f"stopped by {signal.Signals(number).name}: {done} of {len(self.pictures)} images are done in "
            f"{self.outdir}/, and the state is written: the same command goes on from there."
        )

    # --- what is written ---------------------------------------------------------------------------------------------

    def _write(self, search: Projection, part: Sequence[Picture], seconds: float) -> list[Record]:
        """The files of a batch's images."""
        made = self.model.pixels(search.images())
        stored = self.model.pixels(search.images(stored=True)) if len(search.variables) > 1 else None
        ws, losses, trail = search.codes(), search.losses, search.trail if self.film else None
        with torch.no_grad():
            apart = search.projector.perceptual.apart(to_unit(torch.from_numpy(made)).to(search.target), search.wanted)
        records = []
        for i, p in enumerate(part):
            home, target = folder(self.outdir / p.name, f"--outdir {self.outdir}"), p.read()
            steps = search.lengths[i]
            record: Record = {"name": p.name, "source": p.source} | self._numbers(target, made[i], ws[i])
            record |= {"perceptual": float(apart[i]), "steps": steps, "seconds": seconds / len(part)}
            if stored is not None:
                record["psnr_stored_noise"] = report.psnr(report.mean_squared(target, stored[i]))
                _keep_noise(home / "projected_noise.safetensors", search, i)
            about = self.about() | {"image": Path(p.source).name}
            save(target, home / "target.png", {"image": about["image"]})
            save(made[i], home / "proj.png", about)
            codes.save(home / "projected_w", ws[i : i + 1], about)
            if trail is not None:
                self._film(home / "film.webp", search, i, trail[i], target, about)
            text = json.dumps(record | {"losses": losses[:steps, i].tolist()})
            with whole(home / RECORD) as temporary:
                temporary.write_text(text, encoding="utf-8")
            records.append(self._record(p.name))
        return records

    def _numbers(self, target: Pixels, made: Pixels, ws: Tensor) -> Record:
        mse = report.mean_squared(target, made)
        far = float((ws - self.view.mean).norm())
        spreads = far / len(ws) ** 0.5 / self.view.spread if self.view.spread else 0.0
        return {
            "mse": mse,
            "psnr": report.psnr(mse),
            "ssim": report.ssim(target, made),
            "from_mean": far,
            "spreads": spreads,
        }

    def _film(self, path: Path, search: Projection, i: int, trail: Tensor, target: Pixels, about: Record) -> None:
        """Target beside the codes on the way, all with the noise of the end."""
        own = {name: t[i : i + 1].detach() for name, t in search.variables.items()}

        def frames() -> Iterator[Pixels]:
            for one in trail.to(self.view.mean.device):
                with torch.no_grad():
                    image = self.view.images(one[None], own).cpu()
                yield grid(np.stack([target, self.model.pixels(image)[0]]), 2, 128)

        film.write(path, frames(), len(trail), fps=FPS, loop=True, about={"image": about["image"]})

    def _record(self, name: str) -> Record:
        try:
            found: Record = json.loads((self.outdir / name / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DataError(
                f"{self.outdir / name}: the results of this image are gone: remove {self.outdir / STATE} to begin anew."
            ) from None
        return found

    def _finish(self, records: list[Record]) -> Record:
        """What shows all images together."""
        place = {record["name"]: record for record in records}
        ordered = [place[p.name] for p in self.pictures]
        triples = [
            report.triple(*(report.pixels(self.outdir / p.name / f"{which}.png") for which in ("target", "proj")))
            for p in self.pictures[: report.ROWS]
        ]
        report.contact(triples, self.outdir / "contact.png", self.about())
        report.curves({r["name"]: r.pop("losses") for r in ordered}, self.outdir / "losses.png")
        return report.write(self.outdir, self.about(), ordered, ["contact.png", "losses.png"])


def _keep_noise(path: Path, search: Projection, i: int) -> None:
    maps = {name: t[i : i + 1].detach().cpu().clone() for name, t in search.variables.items() if name != "latent"}
    with whole(path) as temporary:
        save_file(maps, temporary)


def _said(records: Sequence[Record]) -> str:
    """'PSNR 31.20 dB' of a few."""
    return f"PSNR {np.mean([record['psnr'] for record in records]):.2f} dB"


@dataclass(frozen=True)
class _State:
    """What an interrupted job continues from: which images are done, and how far the batch in work was."""

    plan: Record
    done: Sequence[str]
    seconds: float = 0.0
    tensors: Mapping[str, Tensor] | None = None

    def write(self, path: Path) -> None:
        says = json.dumps({"plan": self.plan, "done": list(self.done), "seconds": self.seconds})
        tensors = dict(self.tensors or {"none": torch.zeros(0)})
        try:
            with whole(path, synced=True) as temporary:
                save_file(tensors, temporary, metadata={KEY: says})
        except (OSError, SafetensorError) as err:
            reason = (err.strerror if isinstance(err, OSError) else None) or err
            raise CheckpointError(f"{path} cannot be written ({reason}): free space.") from None

    @classmethod
    def read(cls, path: Path, plan: Record) -> "_State":
        """The state of this very job, or an empty one. Raises UsageError for that of another."""
        if not path.exists():
            return cls(plan, [])
        cure = f"choose another --outdir, or remove {path} to begin anew"
        try:
            with safe_open(path, framework="pt") as file:
                says = json.loads((file.metadata() or {})[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys() if name != "none"}  # noqa: SIM118
            done, seconds = [str(name) for name in says["done"]], float(says["seconds"])
            other = [key for key in plan if says["plan"].get(key) != json.loads(json.dumps(plan[key]))]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            raise CheckpointError(f"{path} is damaged ({type(err).__name__}): {cure}.") from None
        if other:
            raise UsageError(f"{path} is the state of a projection with other {' and '.join(other)}: {cure}.")
        return cls(plan, done, seconds, tensors)
