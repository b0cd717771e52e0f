"""A command alone."""

from pathlib import Path


def tally(ckpt: Path) -> None:
    """Count the numbers in a checkpoint."""
    from ganzoo.model import checkpoint

    print(sum(tensor.numel() for tensor in checkpoint.read(ckpt)[1].values()))
