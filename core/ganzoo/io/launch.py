"""What torchrun says of this process, in its environment. Needs no torch, so that the command line may ask too."""

import os


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def first() -> bool:
    """Whether this process is the one that writes and speaks, also before they have met."""
    return not launched() or os.environ["RANK"] == "0"


def restarts() -> int:
    """How often torchrun has started these processes anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
