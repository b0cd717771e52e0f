"""Try all combinations of components: each is refused by a rule, or trains. Prints the number of each.

    python benchmarks/mix.py              all combinations: some 20 minutes on one core
    python benchmarks/mix.py --every 5    check the rules on all, train each fifth of those that pass

Combinations are over the kinds in AXES; the others (norm, noise, mapping, statistic) are drawn for each combination.
Writes benchmarks/results/mix.json.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from test_mix import breaking, problem, reachable, refusal  # noqa: E402

AXES = ("layer", "block", "synthesis", "stem", "to_rgb", "trunk", "down", "growth", "loss", "regularizer")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="train each N-th mix that no rule refuses")
    every: int = parser.parse_args().every
    torch.set_num_threads(1)
    choices, started = reachable(), time.monotonic()
    rules: Counter[str] = Counter()
    total = refused = trained = 0
    failed: list[str] = []
    for names in product(*(choices[kind] for kind in AXES)):
        draw = random.Random(total)
        mix = {kind: draw.choice(options) for kind, options in choices.items()} | dict(zip(AXES, names))
        total += 1
        if refusal(mix):
            refused += 1
            rules.update(breaking(mix))
        elif draw.randrange(every) == 0:
            trained += 1
            if fault := problem(mix):
                failed.append(f"{mix}: {fault}")
                print(failed[-1], flush=True)
        if total % 1000 == 0:
            print(f"{total} mixes, {trained} trained, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    found = {
        "axes": {kind: choices[kind] for kind in AXES},
        "mixes": total,
        "refused": refused,
        "refused_by_rule": dict(rules.most_common()),
        "accepted": total - refused,
        "trained": trained,
        "failed": failed,
        "seconds": round(time.monotonic() - started),
        "torch": torch.__version__,
    }
    (HERE / "results" / "mix.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{total} mixes: {refused} refused, {total - refused} accepted; {trained} were trained, {len(failed)} failed")
    print("refused by (a mix may break several):", ", ".join(f"{rule} {count}" for rule, count in rules.most_common()))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
