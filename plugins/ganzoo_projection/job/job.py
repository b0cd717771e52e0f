"""A projection of many images: in batches, written image by image, resumable."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import CheckpointError, DataError, Diverged, UsageError
from ganzoo.io.files import ensure_folder
from ganzoo.io.log import Log
from ganzoo.io.resumable import State, StateFile, differences
from ganzoo.model import latent_files
from ganzoo.model.model import Model
from ganzoo.nn.pixels import to_unit
from ganzoo.recipe.node import Node
from ganzoo_projection.interfaces import FrozenGenerator, Projector
from ganzoo_projection.job.pictures import Picture, refuse_bad
from ganzoo_projection.job.report import Record
from ganzoo_projection.job.results import REPORT, Results, pixels_hash
from ganzoo_projection.search import Projection

STATE = "project.state.safetensors"
PLAN = ("digest", "options", "weights", "seed", "label", "batch", "film")  # fields of a report that decide its results
CURE = "choose another --outdir, or begin anew with --overwrite"
GLANCE = 0.2  # seconds between two readings of the loss, each of which waits for the device
FRAMES = 60  # frames of a film


@dataclass(frozen=True, kw_only=True)
class Job:
    """The projection of all images of one command.

    Args:
        model: makes the images
        generator: the model's, as projectors see it
        method: the projector, with its checked options
        pictures: the images
        outdir: folder in which each image gets a folder of its results
        batch: images that are searched for side by side
        film: whether each image gets a film of its search
        overwrite: whether files of other results are removed where these are written
    """

    model: Model
    generator: FrozenGenerator
    method: Node
    pictures: Sequence[Picture]
    outdir: Path
    batch: int
    film: bool = False
    overwrite: bool = False

    def _about(self) -> Record:
        """Description of the model and the method, in the files of each image."""
        options, label = self.method.dump(), self.generator.label
        growing = {"stage": self.model.unfinished} if self.model.unfinished else {}
        return {
            **latent_files.about(self.model),
            "checkpoint": self.model.path.name,
            "method": options["use"],
            "space": self.method.value("space") if self.generator.mapped else "z",
            "seed": self.generator.seed,
            "label": None if label is None else label[0].tolist(),
            "batch": self.batch,
            "options": options,
            **growing,
        }

    def run(self, log: Log, stop: Sequence[int] = ()) -> Record:
        """Project all images, and return the report. After a signal in `stop`: write the state, and raise Interrupted.

        An interrupted job continues where it was; a finished one shows its results.
        Raises DataError, UsageError, CheckpointError, Diverged.
        """
        projector: Projector = self.method.bind()(self.generator.shape.channels)  # first: its weights may be missing
        used = {"perceptual": projector.perceptual.name, "weights": projector.digest, "film": self.film}
        results = Results(self.outdir, self.model, self.generator, self._about(), used)
        state = self._state_file(results, log)
        ensure_folder(self.outdir, f"--outdir {self.outdir}")
        saved = self._saved(state, results)
        records = [results.record(name) for name in saved.progress["done"]]
        if len(records) == len(self.pictures):
            log.say(f"{self.outdir} holds these results already; --overwrite would begin anew.")
        elif records or saved.tensors:
            log.say(f"Continuing in {self.outdir}: {len(records)} of {len(self.pictures)} images are done.")
        remaining = [picture for picture in self.pictures if picture.name not in saved.progress["done"]]
        while remaining:
            batch, remaining = remaining[: self.batch], remaining[self.batch :]
            began = time.monotonic()
            search = self._search(projector, batch, saved.tensors)
            self._advance(search, batch, log, len(records), stop)
            seconds = saved.progress["seconds"] + time.monotonic() - began
            if stop:
                state.write(_progress(records, seconds), search.state())
                done = f"{len(records)} of {len(self.pictures)} images are done in {self.outdir}/"
                raise state.interrupted(stop[0], f"at step {search.step}: {done}")
            if not records:  # a search that failed has left earlier results as they were
                for path in results.existing(self.pictures):
                    path.unlink()
                state.write(_progress([]), {})  # from now on, the results in the folder are those of this job
            records += results.write(search, batch, seconds)
            state.write(_progress(records), {})
            saved = State(_progress(records), {})
            psnr = np.mean([record["psnr"] for record in records[-len(batch) :]])
            log.say(f"{len(records)} of {len(self.pictures)} images: PSNR {psnr:.2f} dB")
        report = results.finish(self.pictures, records)
        state.delete()
        return report

    def _state_file(self, results: Results, log: Log) -> StateFile:
        """The file of this job's state. Reads every image, so that a bad one is known before any work."""
        hashes, faults = {}, []
        for i, picture in enumerate(self.pictures):
            try:
                hashes[picture.name] = pixels_hash(picture.read())
            except DataError as err:
                faults.append(err)
            log.progress(0, f"reading image {i + 1} of {len(self.pictures)}")
        refuse_bad(faults)
        plan = {name: value for name, value in results.about_all.items() if name in PLAN} | {"images": hashes}
        path = self.outdir / STATE

        def conflict(names: Sequence[str]) -> UsageError:
            fault = f"is the state of a projection with other {' and '.join(names)}"
            return UsageError(fault, place=str(path), cure=CURE)

        return StateFile(path, plan, CURE, conflict)

    def _saved(self, state: StateFile, results: Results) -> State:
        """Return how far this job is. Raises UsageError where the results of another one are in the way."""
        try:
            saved = state.read() or (None if self.overwrite else self._finished(state.plan))
            if saved and all(map(results.record, saved.progress["done"])):
                return saved
        except (UsageError, CheckpointError, DataError):
            if not self.overwrite:
                raise
        if not self.overwrite and (existing := results.existing(self.pictures)):
            raise UsageError("is there already, and is not of this projection", place=str(existing[0]), cure=CURE)
        return State(_progress([]), {})

    def _finished(self, plan: Mapping[str, object]) -> State | None:
        """The state of this job at its end, from its report; None without a report.

        Raises UsageError for the report of another job.
        """
        try:
            report = json.loads((self.outdir / REPORT).read_text(encoding="utf-8"))
            images = {str(record["name"]): record.get("sha256") for record in report["images"]}
            differing = differences({**report, "images": images}, plan)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if differing:
            fault = f"holds the results of a projection with other {' and '.join(differing)}"
            raise UsageError(fault, place=str(self.outdir), cure=CURE)
        return State(_progress(report["images"]), {})

    def _search(self, projector: Projector, batch: Sequence[Picture], state: Mapping[str, Tensor]) -> Projection:
        target = to_unit(torch.from_numpy(np.stack([picture.read() for picture in batch])))
        search = Projection(self.generator, projector, target, FRAMES if self.film else 0)
        if state:
            search.restore(state)
        return search

    def _advance(self, search: Projection, batch: Sequence[Picture], log: Log, done: int, stop: Sequence[int]) -> None:
        """Search until the batch is done, or until there is a signal; `done` images are finished already.

        Raises Diverged.
        """
        last = time.monotonic()
        while not search.done and not stop:
            loss = search.advance()
            now = time.monotonic()
            if now - last > GLANCE or search.done:
                last = now
                finite = loss.isfinite().tolist()
                if not all(finite):
                    raise Diverged(
                        f"the loss is not finite at step {search.step}",
                        place=f"{batch[finite.index(False)].source}:",
                        cure="choose a smaller learning rate (--set lr=...)",
                    )
                steps = done * search.projector.steps + search.step * len(batch)
                images = f"{done + len(batch)} of {len(self.pictures)} images"
                log.progress(steps, f"{images}, loss {float(loss.mean()):.4g}")


def _progress(records: Sequence[Record], seconds: float = 0.0) -> Record:
    """How far a job is: names of the images that are done, and seconds spent on the batch in work."""
    return {"done": [record["name"] for record in records], "seconds": seconds}
