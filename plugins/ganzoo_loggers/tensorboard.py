"""A run in TensorBoard, written with the tensorboard package alone."""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image as PIL

from ganzoo.errors import PluginError
from ganzoo.interfaces import Logger
from ganzoo.interfaces.logger import numbers
from ganzoo.recipe.source import to_yaml

VERSION = "brain.Event:2"  # since which a session's start voids later steps of earlier files


class TensorBoard(Logger, name="tensorboard"):
    """Curves, samples and the recipe in TensorBoard: `tensorboard --logdir runs`. A step is one real image shown.

    Args:
        flush_seconds: numbers reach the disk at least so often
    """

    def __init__(self, *, flush_seconds: int = 30) -> None:
        if not find_spec("tensorboard"):
            raise PluginError(
                "the logger 'tensorboard' needs a package that is not installed: pip install 'ganzoo[tensorboard]'."
            )
        self.flush_seconds, self.step = flush_seconds, 0

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """A new event file. TensorBoard then shows nothing of earlier files that is later than `resumed_at_kimg`."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder), flush_secs=self.flush_seconds)
        self.step = round((resumed_at_kimg or 0) * 1000)
        first = 0 if resumed_at_kimg is None else self.step + 1
        self._event(first, file_version=VERSION)
        self._event(first, session_log=SessionLog(status=SessionLog.START))  # also of a new run: a later one then voids
        if resumed_at_kimg is None:
            self._text("recipe", "".join(f"    {line}\n" for line in to_yaml(dict(recipe)).splitlines()))

    def log(self, row: Mapping[str, Any]) -> None:
        """Scalars."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.step = round(row["kimg"] * 1000)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers(row).items()]
        self._event(self.step, summary=Summary(value=values))

    def picture(self, name: str, path: Path) -> None:
        """The PNG as it is."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        with PIL.open(path) as image:
            width, height, channels = *image.size, len(image.getbands())
        made = Summary.Image(width=width, height=height, colorspace=channels, encoded_image_string=path.read_bytes())
        self._event(self.step, summary=Summary(value=[Summary.Value(tag=name, image=made)]))

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()

    def _text(self, tag: str, markdown: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        text = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        about = create_summary_metadata(display_name=tag, description="")
        self._event(self.step, summary=Summary(value=[Summary.Value(tag=tag, tensor=text, metadata=about)]))

    def _event(self, step: int, **what: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, **what))
