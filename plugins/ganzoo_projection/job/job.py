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

from ganzoo.errors import CheckpointError, DataError, Diverged, Interrupted, UsageError
from ganzoo.io import film
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.io.images import Pixels, grid, save
from ganzoo.io.log import Log
from ganzoo.model import latent_files
from ganzoo.model.model import Model
from ganzoo.nn.pixels import to_unit
from ganzoo.recipe.node import Node
from ganzoo_projection.interfaces import FrozenGenerator, Projector
from ganzoo_projection.job import report, similarity
from ganzoo_projection.job.pictures import Picture, refuse_bad
from ganzoo_projection.job.report import Record
from ganzoo_projection.search import Projection

STATE, KEY, RECORD = "project.state.safetensors", "ganzoo-projection", "projection.json"
HOME = (  # what is written of an image
    *(f"{which}.{suffix}" for which in ("target", "proj") for suffix in ("png", "npy")),
    *("projected_w.npz", "projected_w.safetensors", "projected_noise.safetensors", "film.webp", RECORD),
)
PLAN = ("digest", "options", "weights", "seed", "label", "batch", "film")  # of a report: what decides its results
REPORTS = ("report.json", "report.html", "contact.png", "contact.npy", "losses.png", "stress.png")
CURE = "choose another --outdir, or begin anew with --overwrite"
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
        overwrite: whether files of other results are removed where these are written
    """

    model: Model
    view: FrozenGenerator
    chosen: Node
    pictures: Sequence[Picture]
    outdir: Path
    batch: int
    film: bool = False
    overwrite: bool = False

    def about(self) -> Record:
        """What reports say of all images."""
        options = self.chosen.dump()
        space = self.chosen.value("space") if self.view.mapped else "z"
        growing = {"stage": self.model.unfinished} if self.model.unfinished else {}
        return {
            **latent_files.about(self.model),
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

        An interrupted job goes on where it was, a finished one shows what it has.
        Raises DataError, UsageError, CheckpointError, Diverged.
        """
        projector: Projector = self.chosen.bind()(self.view.shape.channels)  # first: its weights may be missing
        plan = self._plan(projector, log)
        ensure_folder(self.outdir, f"--outdir {self.outdir}")
        before = self._before(plan)
        records = [self._record(name) for name in before.done]
        if len(before.done) == len(self.pictures):
            log.say(f"{self.outdir} holds these results already; --overwrite would begin anew.")
        elif before.done or before.tensors:
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
            if not records:  # a search that failed has left former results as they were
                for path in self._there():
                    path.unlink()
                _State(plan, []).write(self.outdir / STATE)  # from now on, what is there is ours
            records += self._write(search, part, took)
            _State(plan, [record["name"] for record in records]).write(self.outdir / STATE)
            before = _State(plan, [])
            log.say(f"{len(records)} of {len(self.pictures)} images: {_said(records[-len(part) :])}")
        found = self._finish(records, projector)
        (self.outdir / STATE).unlink(missing_ok=True)
        return found

    def _plan(self, projector: Projector, log: Log) -> Record:
        """What must be the same where a job goes on. Reads every image, so that a bad one is known before any work."""
        hashes, faults = {}, []
        for i, p in enumerate(self.pictures):
            try:
                hashes[p.name] = _hash(p.read())
            except DataError as err:
                faults.append(err)
            log.progress(0, f"reading image {i + 1} of {len(self.pictures)}")
        refuse_bad(faults)
        return {key: value for key, value in self._all(projector).items() if key in PLAN} | {"images": hashes}

    def _all(self, projector: Projector) -> Record:
        """What the report says of all images."""
        how = {"perceptual": projector.perceptual.name, "weights": projector.digest, "film": self.film}
        return self.about() | how

    def _before(self, plan: Record) -> "_State":
        """What is done already. Raises UsageError where the results of something else are in the way."""
        state, finished = self.outdir / STATE, self.outdir / "report.json"
        found = None
        try:
            if state.exists():
                found = _State.read(state, plan)
            elif finished.exists() and not self.overwrite:
                found = _State.of_report(finished, plan)
            if found and all(map(self._record, found.done)):
                return found
        except (UsageError, CheckpointError, DataError):
            if not self.overwrite:
                raise
        if not self.overwrite and (there := self._there()):
            raise UsageError(f"{there[0]} is there already, and is not of this projection: {CURE}.")
        return _State(plan, [])

    def _there(self) -> list[Path]:
        """Files with the names that are going to be written."""
        places = [self.outdir / name for name in REPORTS]
        places += [self.outdir / p.name / name for p in self.pictures for name in HOME]
        return [path for path in places if path.is_file()]

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
            distance = search.projector.perceptual.distance(
                to_unit(torch.from_numpy(made)).to(search.target), search.wanted
            )
        records = []
        for i, p in enumerate(part):
            home, target = ensure_folder(self.outdir / p.name, f"--outdir {self.outdir}"), p.read()
            steps = search.lengths[i]
            record: Record = {"name": p.name, "source": p.source, "sha256": _hash(target)}
            record |= self._numbers(target, made[i], ws[i])
            record |= {"perceptual": float(distance[i]), "steps": steps, "seconds": seconds / len(part)}
            if stored is not None:
                record["psnr_stored_noise"] = similarity.psnr(similarity.mean_squared(target, stored[i]))
                _keep_noise(home / "projected_noise.safetensors", search, i)
            about = self.about() | {"image": Path(p.source).name}
            save(target, home / "target.png", {"image": about["image"]})
            save(made[i], home / "proj.png", about)
            latent_files.save(home / "projected_w", ws[i : i + 1], about)
            if trail is not None:
                self._film(home / "film.webp", search, i, trail[i], target, about)
            text = json.dumps(record | {"losses": losses[:steps, i].tolist()})
            with atomic_write(home / RECORD) as temporary:
                temporary.write_text(text, encoding="utf-8")
            records.append(self._record(p.name))
        return records

    def _numbers(self, target: Pixels, made: Pixels, ws: Tensor) -> Record:
        mse = similarity.mean_squared(target, made)
        far = float((ws - self.view.mean).norm())
        spreads = far / len(ws) ** 0.5 / self.view.spread if self.view.spread else 0.0
        return {
            "mse": mse,
            "psnr": similarity.psnr(mse),
            "ssim": similarity.ssim(target, made),
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
        home = self.outdir / name
        try:
            found: Record = json.loads((home / RECORD).read_text(encoding="utf-8"))
            whole_ones = all((home / f"{which}.png").is_file() for which in ("target", "proj"))
        except (OSError, ValueError):
            whole_ones = False
        if not whole_ones:
            raise DataError(f"{home}: results of this image are gone: begin anew with --overwrite.")
        return found

    def _finish(self, records: list[Record], projector: Projector) -> Record:
        """What shows all images together."""
        place = {record["name"]: record for record in records}
        ordered = [place[p.name] for p in self.pictures]
        triples = [
            report.triple(*(report.pixels(self.outdir / p.name / f"{which}.png") for which in ("target", "proj")))
            for p in self.pictures[: report.ROWS]
        ]
        report.contact(triples, self.outdir / "contact.png", self.about())
        report.curves({r["name"]: r.pop("losses") for r in ordered}, self.outdir / "losses.png")
        return report.write(self.outdir, self._all(projector), ordered, ["contact.png", "losses.png"])


def _hash(image: Pixels) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def _keep_noise(path: Path, search: Projection, i: int) -> None:
    maps = {name: t[i : i + 1].detach().cpu().clone() for name, t in search.variables.items() if name != "latent"}
    with atomic_write(path) as temporary:
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
            with atomic_write(path, synced=True) as temporary:
                save_file(tensors, temporary, metadata={KEY: says})
        except (OSError, SafetensorError) as err:
            reason = (err.strerror if isinstance(err, OSError) else None) or err
            raise CheckpointError(f"{path} cannot be written ({reason}): free space.") from None

    @classmethod
    def read(cls, path: Path, plan: Record) -> "_State":
        """The state of this very job. Raises UsageError for that of another, CheckpointError for a damaged one."""
        try:
            with safe_open(path, framework="pt") as file:
                says = json.loads((file.metadata() or {})[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys() if name != "none"}  # noqa: SIM118
            done, seconds = [str(name) for name in says["done"]], float(says["seconds"])
            other = _other(says["plan"], plan)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            raise CheckpointError(f"{path} is damaged ({type(err).__name__}): {CURE}.") from None
        if other:
            raise UsageError(f"{path} is the state of a projection with other {' and '.join(other)}: {CURE}.")
        return cls(plan, done, seconds, tensors)

    @classmethod
    def of_report(cls, path: Path, plan: Record) -> "_State | None":
        """The end of this very job, or None where the file is no report. Raises UsageError for that of another."""
        try:
            says = json.loads(path.read_text(encoding="utf-8"))
            images = {str(record["name"]): record.get("sha256") for record in says["images"]}
            other = _other({**says, "images": images}, plan)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if other:
            raise UsageError(
                f"{path.parent} holds the results of a projection with other {' and '.join(other)}: {CURE}."
            )
        return cls(plan, list(images))


def _other(says: Mapping[str, object], plan: Record) -> list[str]:
    """What of a plan is not as in a file."""
    return [key for key in plan if says.get(key) != json.loads(json.dumps(plan[key]))]
