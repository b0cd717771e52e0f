"""True and false alarms of the watchdog, on short runs at 16x16, of which some are made to fail.

    python benchmarks/watchdog.py --outdir DIR [--photos ZIP] [--only WORD] [--save]
    python benchmarks/watchdog.py --judge RUN RUN ...      alarms of existing runs

--photos names a zip or folder of pictures for a second dataset and for the runs on few images. Runs that exist in DIR
are judged and not repeated.
"""

import argparse
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine import save

from ganzoo.errors import Diverged, Interrupted
from ganzoo.gan.watchdog import chance_loss, history, judge
from ganzoo.interfaces import Alarm
from ganzoo.io.log import read_json_lines
from ganzoo.model.restore import build_experiment
from ganzoo.recipe import load
from ganzoo.recipe import node as node_
from ganzoo.recipe.datasets import section
from ganzoo.recipe.source import load_yaml
from ganzoo.registry.lookup import registry
from ganzoo.runs import folder as rundir
from ganzoo.runs import run

COMMON = [
    "image.size=16",
    "generator.channel_base=512",
    "generator.channel_max=32",
    "discriminator.channel_base=512",
    "discriminator.channel_max=32",
    "training.batch=32",
    "training.tick_kimg=0.5",
    "training.snapshot_ticks=4",
    "training.precision=fp32",
    "training.keep_last=1",
    "training.keep_best=0",
    'metrics=[{"use": "swd", "num": 256}]',
]
FLAT = "growth=null"
GROWING = ["growth.train_kimg=2", "growth.fade_kimg=2"]
NO_PENALTY = "regularizers=[]"
FRAGILE = [NO_PENALTY, "discriminator.head.statistic=null", "training.betas=[0.9, 0.999]"]


@dataclass
class Case:
    """A run, and its fault; none for a healthy run."""

    recipe: str
    fault: str
    sets: list[str]
    data: str = "shapes"  # or "photos", or a number of them
    seed: int = 0
    kimg: float = 6
    note: str = ""

    @property
    def name(self) -> str:
        """Name of the case and of its folder."""
        what = self.fault or f"healthy {self.note}".strip()
        return f"{self.recipe.removesuffix('-tiny')}-{what}-{self.data}-{self.seed}".replace(" ", "_")


def cases() -> Iterator[Case]:
    """Runs with a fault, each with a healthy run for comparison."""
    sg2, sg, pro, msg = "stylegan2-tiny", "stylegan-tiny", "progan-tiny", "msggan-tiny"
    fragile = [*FRAGILE, "training.lr=0.01"]
    weak = 'regularizers=[{"use": "r1", "gamma": 3000, "every": 16}]'
    yield Case(sg2, "lr x 30", ["training.lr=0.075"], kimg=8)
    yield Case(sg2, "", [], kimg=8)
    yield Case(pro, "lr x 30", [FLAT, "training.lr=0.045"], kimg=12)
    yield Case(sg2, "G learns nothing", ["training.lr=1e-9", "training.d_lr=0.0025"], kimg=12)
    yield Case(msg, "G learns nothing", ["training.lr=1e-9", "training.d_lr=0.003"], kimg=11)
    yield Case(sg2, "D learns nothing", ["training.d_lr=1e-9"])
    yield Case(sg2, "two images", ["generator.z_dim=1"], kimg=5)
    yield Case(sg2, "two images", ["generator.z_dim=1"], "photos", kimg=5)
    yield Case(sg2, "fragile", fragile, kimg=12)
    yield Case(sg2, "G lr x 30", ["training.lr=0.075", "training.d_lr=0.0025"], kimg=12)
    yield Case(sg2, "D too weak", [weak], kimg=12)
    yield Case(msg, "", [])
    yield Case(sg2, "few images", [], "10", kimg=12)
    yield Case(msg, "lr x 30", ["training.lr=0.09"], kimg=12)
    yield Case(sg2, "one image", [], "1")
    yield Case(sg2, "fragile", fragile, "photos")
    yield Case(sg, "", [FLAT], "photos")
    yield Case(sg2, "", [], seed=1)
    yield Case(pro, "", [FLAT])
    yield Case(pro, "no penalty", [*GROWING, NO_PENALTY], kimg=8)
    yield Case(sg, "lr x 30", [FLAT, "training.lr=0.045"])
    yield Case(sg2, "", [], "photos", 1)
    yield Case(pro, "", [FLAT], "photos")
    yield Case(sg, "", [FLAT], seed=1)
    yield Case(sg2, "lr x 30", ["training.lr=0.075"], "photos", kimg=8)
    yield Case(sg2, "no penalty", [NO_PENALTY], kimg=12)
    yield Case(sg2, "", [], "photos", kimg=12)
    yield Case(msg, "", [], "photos", kimg=12)
    yield Case(pro, "", GROWING, kimg=12, note="growing")


def images(data: str, photos: Path | None, folder: Path) -> str | None:
    """Dataset of a case for `gz train --data`; None without photos."""
    if not data.isdecimal():
        return data if data == "shapes" else str(photos) if photos else None
    few = folder / f"images-{data}"
    if photos and not few.exists():
        few.mkdir(parents=True)
        with zipfile.ZipFile(photos) as archive:
            names = sorted(n for n in archive.namelist() if n.endswith((".png", ".jpg")))
            for name in names[:: len(names) // int(data)][: int(data)]:
                (few / Path(name).name).write_bytes(archive.read(name))
        for copy in range(1, 4 if data == "1" else 1):
            shutil.copy(next(few.iterdir()), few / f"copy-{copy}.png")
    return str(few) if photos else None


def train(case: Case, data: str, outdir: Path) -> str:
    """Train a case, and return how it ended."""
    chosen = [f"dataset.{key}={value}" for key, value in section(data, registry()).items()]
    common = [*COMMON, *chosen, f"training.kimg={case.kimg}", f"training.seed={case.seed}"]
    node = load(case.recipe, [*common, *case.sets])
    try:
        run.train(node, rundir.RunOptions(name=case.name, outdir=outdir / case.name, device="cpu", workers=1))
    except Diverged as err:
        return str(err)
    except Interrupted:
        shutil.rmtree(outdir / case.name)
        raise
    return ""


def alarms(folder: Path) -> list[Alarm]:
    """Alarms of a run, in order, with their ticks."""
    loaded = node_.parse(load_yaml(folder / "recipe.resolved.yaml"), registry())
    made = build_experiment(loaded)
    rows, known, found = history(folder, made.ranking), chance_loss(made.loss), []
    before: list[Alarm] = []
    for i in range(len(rows)):
        now = judge(rows[: i + 1], known)
        found += [(rows[i].kimg, alarm) for alarm in now if alarm not in before]
        before = now
    return found


def line(name: str, folder: Path, ended: str) -> dict[str, object]:
    """Format a row of the table."""
    found = alarms(folder)
    stats = read_json_lines(folder / "stats.jsonl")
    values = [row["results"]["swd"] for row in read_json_lines(folder / "metric-swd.jsonl")]
    first = f"{found[0][0]:.1f}  {found[0][1].kind}" if found else "-"
    others = ", ".join(f"{a.kind} {kimg:.1f}" for kimg, a in found[1:])
    swd = f"{values[0]:.0f} {min(values):.0f} {values[-1]:.0f}" if values else ""
    print(f"{name:<42}{stats[-1]['kimg'] if stats else 0:>6.1f}  {swd:<16}{first:<28}{others} {ended[:60]}", flush=True)
    return {
        "run": name,
        "kimg": stats[-1]["kimg"] if stats else 0,
        "alarms": [{"kimg": k, "kind": a.kind, "since_kimg": a.since_kimg, "sentence": a.sentence} for k, a in found],
        "swd": values,
        "ended": ended,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outdir", type=Path, default=Path("watchdog-runs"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--judge", nargs="*", type=Path, default=[])
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    print(f"{'run':<42}{'kimg':>6}  {'swd: 0 best end':<16}{'first alarm at kimg':<27}others, how it ended")
    if args.judge:
        return print(*(f"{len(line(str(f)[-41:], f, '')['alarms'])} alarms" for f in args.judge), sep="\n")
    rows = []
    for case in cases():
        data = images(case.data, args.photos, args.outdir)
        if args.only not in case.name or data is None:
            continue
        folders = sorted((args.outdir / case.name).glob("*/stats.jsonl"))
        ended = "" if folders else train(case, data, args.outdir)
        folders = sorted((args.outdir / case.name).glob("*/stats.jsonl"))
        if folders:
            rows.append({"fault": case.fault, **line(case.name, folders[0].parent, ended)})
    healthy, failing = ([r for r in rows if bool(r["fault"]) is bad] for bad in (False, True))
    print(f"failing: {sum(bool(r['alarms']) for r in failing)} of {len(failing)} noticed")
    print(f"healthy: {sum(bool(r['alarms']) for r in healthy)} of {len(healthy)} with a false alarm")
    return print(save("watchdog", {"runs": rows})) if args.save else None


if __name__ == "__main__":
    main()
