"""A run's event files for TensorBoard, written by the tensorboard package."""

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

VERSION = "brain.Event:2"  # first version in which a session's start discards later steps of earlier files


class TensorBoard(Logger, name="tensorboard"):
    """Curves, samples and the recipe for TensorBoard, viewed by `tensorboard --logdir runs`.

    A step is one real image shown to the discriminator.

    Args:
        flush_seconds: longest time in seconds until statistics reach the disk
    """

    def __init__(self, *, flush_seconds: int = 30) -> None:
        if not find_spec("tensorboard"):
            raise PluginError(
                "the logger 'tensorboard' needs a package that is not installed: pip install 'ganzoo[tensorboard]'."
            )
        self.flush_seconds, self.step = flush_seconds, 0

    def start(self, folder: Path, recipe: Mapping[str, Any], resumed_at_kimg: float | None) -> None:
        """Begin an event file; TensorBoard then hides what earlier files hold after `resumed_at_kimg`."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder), flush_secs=self.flush_seconds)
        self.step = round((resumed_at_kimg or 0) * 1000)
        first = 0 if resumed_at_kimg is None else self.step + 1
        self._event(first, file_version=VERSION)
        self._event(first, session_log=SessionLog(status=SessionLog.START))  # a resumed run's START needs this one
        if resumed_at_kimg is None:
            self._text("recipe", "".join(f"    {line}\n" for line in to_yaml(dict(recipe)).splitlines()))

    def log(self, row: Mapping[str, Any]) -> None:
        """Write a row's numbers as scalars."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.step = round(row["kimg"] * 1000)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers(row).items()]
        self._event(self.step, summary=Summary(value=values))

    def picture(self, name: str, path: Path) -> None:
        """Write a PNG file unchanged."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        with PIL.open(path) as image:
            width, height, channels = *image.size, len(image.getbands())
        png = Summary.Image(width=width, height=height, colorspace=channels, encoded_image_string=path.read_bytes())
        self._event(self.step, summary=Summary(value=[Summary.Value(tag=name, image=png)]))

    def close(self) -> None:
        """Flush what is in memory to the disk."""
        self.writer.close()

    def _text(self, tag: str, markdown: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        text = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        metadata = create_summary_metadata(display_name=tag, description="")
        self._event(self.step, summary=Summary(value=[Summary.Value(tag=tag, tensor=text, metadata=metadata)]))

    def _event(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, **content))
