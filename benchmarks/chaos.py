"""Kill a small training run at random moments, repeatedly, and compare its result with an undisturbed run's.

    python benchmarks/chaos.py --kills 50 --seed 0

Each process of the run gets SIGKILL after a random time; the next one continues with `resume auto`. After each kill
every file of weights or state must be complete. At the end all tensors must equal those of a run without kills.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

OVERRIDES = [
    "image.size=16",
    "generator.channel_base=128",
    "generator.channel_max=8",
    "discriminator.channel_base=128",
    "discriminator.channel_max=8",
    "dataset={use: shapes, count: 200}",
    "metrics=[]",
    "training.batch=4",
    "training.precision=fp32",
    "training.snapshot_ticks=1",
    "training.keep_last=2",
]


def life(outdir: str, images: int, tick: int) -> None:
    """Train to the end, unless this process is killed."""
    import torch

    from ganzoo.recipe import load
    from ganzoo.runs import folder as rundir
    from ganzoo.runs import run

    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (until the process ends)
    torch.set_num_threads(1)
    times = [f"training.kimg={images / 1000}", f"training.tick_kimg={tick / 1000}"]
    node = load("stylegan2-tiny", [*OVERRIDES, *times])
    run.train(node, rundir.RunOptions(outdir=Path(outdir), resume="auto", workers=1, device="cpu"))


def final(outdir: Path, images: int):
    """Load the tensors of the newest state, which must be the final one."""
    from ganzoo.model import checkpoint
    from ganzoo.runs.folder import newest

    (folder,) = outdir.iterdir()
    head, tensors = checkpoint.read(newest(folder, "state")[0])
    assert head.images == images, f"ended at {head.images} of {images} images"
    return tensors


def whole(outdir: Path) -> int:
    """Check every file of a run; return their number."""
    from ganzoo.model import checkpoint

    files = list(outdir.glob("*/*.safetensors"))
    for file in files:
        checkpoint.read(file)
    return len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--tick", type=int, default=8, help="images between states")
    args = parser.parse_args()

    import matplotlib.pyplot  # noqa: F401 (before forking: a life should train, not import)
    import torch

    import ganzoo.runs.run  # noqa: F401
    from ganzoo.registry import lookup

    torch.set_num_threads(1)
    lookup.registry()
    fork, rng = multiprocessing.get_context("fork"), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, wild = Path(folder) / "calm", Path(folder) / "wild"
        began = time.monotonic()
        undisturbed = fork.Process(target=life, args=(str(calm), args.images, args.tick))
        undisturbed.start()
        undisturbed.join()
        took = time.monotonic() - began
        killed = checked = early = 0
        while killed < args.kills:
            process = fork.Process(target=life, args=(str(wild), args.images, args.tick))
            process.start()
            process.join(rng.uniform(0.0, 2.5 * took / args.kills))
            if process.exitcode is not None:  # the end was reached: begin another run, kills are still due
                early += 1
                shutil.rmtree(wild)
                continue
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
            checked += whole(wild) if wild.exists() else 0
        last = fork.Process(target=life, args=(str(wild), args.images, args.tick))
        last.start()
        last.join()
        one, other = final(calm, args.images), final(wild, args.images)
        assert one.keys() == other.keys()
        differing = [name for name in one if not torch.equal(one[name], other[name])]
        print(f"{killed} kills, {early} runs that ended before one; {checked} files found whole; ", end="")
        print(f"{len(one)} tensors at {args.images} images: {len(differing)} differ from the undisturbed run")
        return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
