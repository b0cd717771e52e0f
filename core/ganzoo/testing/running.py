"""How the parts of a run are tried."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image as PIL

from ganzoo.interfaces import Schedule


def check_logger(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """Takes rows and pictures of a new run, and of one that goes on, and leaves the run's files alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        PIL.new("RGB", size).save(folder / "fakes.png")
        for resumed in (None, 1.0):  # a new run, and one that goes on
            logger = make()
            logger.start(folder, {"title": "trial"}, resumed)
            logger.log({"kimg": 1.0, "level": 0, "waited": 0.5, "means": {"loss/g": 1.0}})
            logger.log({"kimg": 2.0, "metric": {"swd": 3.0}})
            logger.picture("fakes", folder / "fakes.png")
            logger.close()
        if not (folder / "fakes.png").exists():
            yield "takes away a picture that belongs to the run"


def check_experiment(make: "partial[Any]", cls: Any, size: tuple[int, int]) -> Iterator[str]:
    """Has networks that learn, and says how."""
    made = make()
    if not any(p.requires_grad for net in made.networks().values() for p in net.parameters()):
        yield "its networks() have nothing that could be trained"
    if not isinstance(made.training, Schedule):
        yield "its training is no Schedule"
