"""This process's place among those that torchrun started, by its environment. Imports no torch: the CLI asks too."""

import os


def is_distributed() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def is_first() -> bool:
    """Whether this process is the one that writes files and logs; known before the process group exists."""
    return not is_distributed() or os.environ["RANK"] == "0"


def restarts() -> int:
    """Return how often torchrun has started these processes anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
