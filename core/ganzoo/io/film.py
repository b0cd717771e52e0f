"""Frames to an animation: .webp, .gif, .mp4, or a folder of PNGs.

Frames are made one after the other and handed to the writer, so a long film does not fill the memory. A .gif is the
exception: Pillow holds its frames, at a byte a pixel, until all are known.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from ganzoo.errors import UsageError, ZooError
from ganzoo.io.files import atomic_write, ensure_folder
from ganzoo.io.images import Pixels, picture, save

Frames = Sequence[Pixels] | Iterator[Pixels]
About = Mapping[str, Any]
LARGEST = {".webp": 16_383, ".gif": 65_535, ".mp4": 16_384}  # pixels of a side
GIF_FPS = 50  # browsers slow down what is faster


def check(path: Path, fps: int) -> str:
    """The suffix that says how a film is written, or "" for a folder. Raises UsageError where it cannot be."""
    if path.is_dir() or not path.suffix:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file: name a folder, or a film that ends in {', '.join(LARGEST)}.")
        if path.exists() and any(path.iterdir()):
            raise UsageError(f"{path} is a folder that is not empty: name a new one, or remove what is in it.")
        return ""
    suffix = path.suffix.lower()
    if suffix not in LARGEST:
        raise UsageError(f"{path}: '{path.suffix}' cannot be written: choose {', '.join(LARGEST)}, or a folder.")
    if suffix == ".mp4" and find_spec("av") is None:
        raise UsageError(f"{path}: .mp4 needs the package av: pip install 'ganzoo[video]', or choose .webp.")
    if suffix == ".gif" and fps > GIF_FPS:
        raise UsageError(f"--fps {fps}: a .gif shows at most {GIF_FPS} frames a second: choose fewer, or .webp.")
    return suffix


def write(path: Path, frames: Iterator[Pixels], count: int, *, fps: int, loop: bool, about: About) -> None:
    """Write `count` frames, uint8 [C, H, W]; a file takes its name only when it is whole.

    Args:
        path: its suffix says how; a folder without
        frames: made while they are written
        count: how many there are
        fps: frames a second
        loop: play again and again
        about: metadata
    """
    suffix = check(path, fps)
    if not suffix:
        ensure_folder(path, str(path))
        for i, frame in enumerate(frames):
            save(frame, path / f"frame{i:04d}.png", {**about, "frame": i, "fps": fps})
        return
    first = next(frames)
    height, width = np.asarray(picture(first)).shape[:2]
    if max(height, width) > LARGEST[suffix]:
        raise UsageError(
            f"{path}: a {suffix} has at most {LARGEST[suffix]:,} pixels a side, and {width:,}x{height:,} were asked "
            f"for: choose a smaller --grid, or a folder."
        )
    ensure_folder(path.parent, str(path))
    writer: Callable[..., None] = {".webp": _webp, ".gif": _gif, ".mp4": _mp4}[suffix]
    with atomic_write(path) as temporary:
        writer(temporary, first, frames, count, fps, loop, about)


def durations(count: int, fps: int, unit: int) -> list[int]:
    """Milliseconds of each frame, in multiples of `unit`, whose sums never drift from the true times."""
    ends = [round(i * 1000 / (fps * unit)) * unit for i in range(count + 1)]
    return [b - a for a, b in zip(ends, ends[1:])]


def _opaque(frame: Pixels) -> PIL.Image:
    """RGB; what is transparent shows white."""
    made = picture(frame)
    if made.mode != "RGBA":
        return made.convert("RGB")
    white = PIL.new("RGBA", made.size, "white")
    return PIL.alpha_composite(white, made).convert("RGB")


class _Film(PIL.Image):
    """A picture of several frames, which Pillow's writers seek one by one; only one is in memory."""

    n_frames = 1

    @classmethod
    def of(cls, first: PIL.Image, rest: Iterator[PIL.Image], count: int) -> "_Film":
        film = cls()
        film.__dict__.update(first.copy().__dict__)
        film.first, film.rest, film.n_frames, film.at = first, rest, count, 0
        return film

    first: PIL.Image
    rest: Iterator[PIL.Image]
    at: int

    def seek(self, frame: int) -> None:
        """Forwards by one frame, or back to the first."""
        if frame != self.at:
            self.paste(next(self.rest) if frame else self.first)
            self.at = frame

    def tell(self) -> int:
        return self.at


def _webp(path: Path, first: Pixels, rest: Iterator[Pixels], count: int, fps: int, loop: bool, about: About) -> None:
    def shown(frame: Pixels) -> PIL.Image:
        made = picture(frame)
        return made if made.mode == "RGBA" else made.convert("RGB")

    exif = PIL.Exif()
    exif[0x010E] = json.dumps(about)  # ImageDescription
    film = _Film.of(shown(first), map(shown, rest), count)
    how = {"duration": durations(count, fps, 1), "loop": 0 if loop else 1, "quality": 90, "method": 4}
    film.save(path, format="WEBP", save_all=True, exif=exif.tobytes(), **how)


def _gif(path: Path, first: Pixels, rest: Iterator[Pixels], count: int, fps: int, loop: bool, about: About) -> None:
    how: dict[str, Any] = {"duration": durations(count, fps, 10)} | ({"loop": 0} if loop else {})
    _opaque(first).save(
        path, format="GIF", save_all=True, append_images=map(_opaque, rest), comment=json.dumps(about).encode(), **how
    )


def _mp4(path: Path, first: Pixels, rest: Iterator[Pixels], count: int, fps: int, loop: bool, about: About) -> None:
    """H.264 as every player and browser takes it: 4:2:0, so sides are even."""
    import av

    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
            file.metadata["comment"] = json.dumps(about)
            stream = file.add_stream("libx264", rate=Fraction(fps), options={"crf": "16"})
            stream.pix_fmt = "yuv420p"
            height, width = np.asarray(_opaque(first)).shape[:2]
            stream.height, stream.width = height + height % 2, width + width % 2
            for frame in chain([first], rest):
                rgb = np.pad(np.asarray(_opaque(frame)), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            file.mux(stream.encode())
    except av.FFmpegError as err:
        raise ZooError(f"{path} cannot be written as a film ({err}): choose .webp or a folder.") from None
