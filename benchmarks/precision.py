"""SWD over kimg of the same training in bfloat16 and in float32, with three seeds each.

    python benchmarks/precision.py --data PHOTOS.zip --outdir DIR [--recipe stylegan2-tiny] [--kimg 30] [--seeds 3]
                                   [--picture FILE.png] [--save]

`gz train` runs are made one after the other; those that exist in DIR are not repeated. The seed determines weights,
latents and the order of the data, so that a pair of runs differs in rounding only, which makes them diverge as another
seed would. The difference of the two means is therefore given in standard errors, from the spread of seeds at the same
kimg.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import save

from ganzoo.io.log import read_json_lines

KINDS = ("fp32", "bf16")
COLOURS = {"fp32": "tab:blue", "bf16": "tab:orange"}
RECIPE = """\
title: {kind}, seed {seed}
extends: {recipe}
growth: null
dataset: {{use: {use}, path: {data}, background: white}}
training: {{kimg: {kimg}, batch: 16, ema_kimg: 2, tick_kimg: 1, snapshot_ticks: 3, keep_last: 1, keep_best: 0,
           precision: {kind}, seed: {seed}}}
metrics:
  - {{use: swd, num: 2048}}
"""

Curve = list[tuple[float, float]]


def curve(folder: Path, **given: Any) -> Curve:
    """[(kimg, SWD), ...] of a run, which is trained first if it does not exist."""
    if not any(folder.glob("*/metric-swd.jsonl")):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recipe.yaml"
        path.write_text(RECIPE.format(**given), encoding="utf-8")
        command = [sys.executable, "-m", "ganzoo_cli", "train", str(path), "--outdir", str(folder), "--watchdog", "off"]
        subprocess.run(command, check=True)
    rows = read_json_lines(next(folder.glob("*/metric-swd.jsonl")))
    if rows[-1]["kimg"] < given["kimg"]:
        raise SystemExit(f"{folder}: its run ended at {rows[-1]['kimg']} kimg: remove it, or resume it.")
    return [(row["kimg"], row["results"]["swd"]) for row in rows]


def compared(curves: dict[str, list[Curve]]) -> list[dict[str, float]]:
    """Means at each kimg, the spread of seeds, and the difference in standard errors."""
    rows = []
    for points in zip(*(zip(*curves[kind], strict=True) for kind in KINDS), strict=True):
        (a, b), kimg = ([swd for _, swd in of] for of in points), points[0][0][0]
        spread = math.sqrt((statistics.variance(a) + statistics.variance(b)) / 2)
        difference = statistics.mean(b) - statistics.mean(a)
        rows.append({"kimg": kimg, "fp32": statistics.mean(a), "bf16": statistics.mean(b), "spread": spread})
        rows[-1]["standard_errors"] = difference / (spread * math.sqrt(2 / len(a))) if spread else 0.0
    return rows


def draw(curves: dict[str, list[Curve]], title: str, picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for kind in KINDS:
        for i, points in enumerate(curves[kind]):
            axis.plot(*zip(*points), color=COLOURS[kind], linewidth=0.8, label=None if i else f"{kind}, a seed each")
        means = [(points[0][0], statistics.mean(swd for _, swd in points)) for points in zip(*curves[kind])]
        axis.plot(*zip(*means), color=COLOURS[kind], linewidth=2.5, label=f"{kind}, their mean")
    axis.set_title(title)
    axis.set_xlabel("kimg")
    axis.set_ylabel("SWD")
    axis.set_ylim(bottom=0)
    axis.legend()
    figure.savefig(picture, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--outdir", type=Path, required=True)
    parser.add_argument("--recipe", default="stylegan2-tiny")
    parser.add_argument("--kimg", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    use, data = "folder" if args.data.is_dir() else "zip", json.dumps(str(args.data.absolute()))
    curves: dict[str, list[Curve]] = {kind: [] for kind in KINDS}
    for seed in range(args.seeds):
        for kind in KINDS:
            given = {"recipe": args.recipe, "use": use, "data": data, "kimg": args.kimg, "kind": kind, "seed": seed}
            curves[kind].append(curve(args.outdir / f"{args.recipe}-{kind}-{seed}", **given))
    rows = compared(curves)
    print(f"{'kimg':>6}{'fp32':>9}{'bf16':>9}{'spread of seeds':>17}{'standard errors apart':>23}")
    for row in rows:
        apart = f"{row['standard_errors']:+.1f}"
        print(f"{row['kimg']:6.0f}{row['fp32']:9.1f}{row['bf16']:9.1f}{row['spread']:17.1f}{apart:>23}")
    if args.picture:
        draw(curves, f"{args.recipe}, {args.seeds} seeds each", args.picture)
    if args.save:
        print(save(f"precision-{args.recipe}", {"curves": curves, "rows": rows}))


if __name__ == "__main__":
    main()
