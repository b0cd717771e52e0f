"""Seconds of the listing commands, and until `gz train` has taken its first step.

    python benchmarks/startup.py [--repeats 5] [--save]

The listing commands should not import torch, and take less than 0.5 s. `gz train stylegan2-tiny --data shapes
--metrics none` should take its first step within 6 s, without the import of torch, which is listed separately, as is
the import of torch._dynamo by torch's optimizers at their first use. Seconds are wall-clock time; processor seconds
stand beside them, for a machine with other load.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

from machine import save

COMMANDS = [
    ["--help"],
    ["train", "--help"],
    ["recipe", "list"],
    ["components", "list"],
    ["plugins", "list"],
    ["--version"],
]

# run with the arguments of `gz`: prints [seconds, processor seconds] of each stage
FIRST_STEP = """
import json, os, time

def now():
    return time.perf_counter(), time.process_time()

times = [("", now())]
import torch
times.append(("torch", now()))
import torch._dynamo
times.append(("torch._dynamo", now()))
import ganzoo_cli
from ganzoo.trainer import Trainer
times.append(("ganzoo", now()))
step = Trainer.step

def first(self, *given):
    times.append(("built", now()))
    step(self, *given)
    times.append(("step", now()))
    print(json.dumps({b: [y - x for x, y in zip(s, t)] for (a, s), (b, t) in zip(times, times[1:])}), flush=True)
    os._exit(0)

Trainer.step = first
ganzoo_cli.main()
"""
TRAIN = ["train", "stylegan2-tiny", "--data", "shapes", "--metrics", "none", "--device", "cpu"]
GOAL = 6.0
STAGES = {
    "torch": "import torch",
    "torch._dynamo": "import torch._dynamo",
    "ganzoo": "import ganzoo_cli and ganzoo.trainer",
    "built": "recipe, networks, data, first files",
    "step": "the step",
    "beyond torch": "all but 'import torch'",
}


def run(code: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *code], check=True, capture_output=True)
    return time.perf_counter() - start


def first_step(repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of the stages until the first step of `gz train`."""
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="ganzoo-startup-") as folder:
            command = [sys.executable, "-c", FIRST_STEP, *TRAIN, "--outdir", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    middle = {
        stage: {
            clock: statistics.median(one[stage][i] for one in found)
            for i, clock in enumerate(("seconds", "cpu_seconds"))
        }
        for stage in found[0]
    }
    beyond = [[sum(one[stage][i] for stage in one if stage != "torch") for one in found] for i in range(2)]
    middle["beyond torch"] = {
        "seconds": statistics.median(beyond[0]),
        "cpu_seconds": statistics.median(beyond[1]),
        "spread": max(beyond[0]) - min(beyond[0]),
    }
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    bare = statistics.median(run(["-c", "pass"]) for _ in range(args.repeats))
    torch = statistics.median(run(["-c", "import torch"]) for _ in range(3))
    print(f"python alone {bare:.2f} s, with torch {torch:.2f} s")
    rows = {}
    for command in COMMANDS:
        times = [run(["-m", "ganzoo_cli", *command]) for _ in range(args.repeats)]
        code = f"import atexit, sys; sys.argv[1:] = {command!r}\n"
        code += "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        seen = subprocess.run(
            [sys.executable, "-c", f"{code}import ganzoo_cli; ganzoo_cli.main()"], capture_output=True, text=True
        ).stderr
        rows[" ".join(command)] = {
            "seconds": statistics.median(times),
            "spread": max(times) - min(times),
            "torch": "True" in seen,
        }
        print(
            f"gz {' '.join(command):<18} {statistics.median(times):.2f} s (spread "
            f"{max(times) - min(times):.2f}), torch imported: {'True' in seen}"
        )
    stages = first_step(min(args.repeats, 3))
    print(f"gz {' '.join(TRAIN[:-2])}, to its first step: goal {GOAL:g} s beyond torch's import")
    for stage, row in stages.items():
        print(f"  {STAGES[stage]:<40} {row['seconds']:.2f} s ({row['cpu_seconds']:.2f} of the processor)")
    if args.save:
        print(save("startup", {"python": bare, "torch": torch, "commands": rows, "first_step": stages}))


if __name__ == "__main__":
    main()
