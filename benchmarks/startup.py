"""Seconds until the listing commands answer, and whether they imported torch: they should not, and take under 0.5 s.

python benchmarks/startup.py [--save]
"""

import argparse
import statistics
import subprocess
import sys
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


def run(code: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *code], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    bare = statistics.median(run(["-c", "pass"]) for _ in range(5))
    torch = statistics.median(run(["-c", "import torch"]) for _ in range(3))
    print(f"python alone {bare:.2f} s, with torch {torch:.2f} s")
    rows = {}
    for command in COMMANDS:
        times = [run(["-m", "ganzoo_cli", *command]) for _ in range(5)]
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
    if args.save:
        print(save("startup", {"python": bare, "torch": torch, "commands": rows}))


if __name__ == "__main__":
    main()
