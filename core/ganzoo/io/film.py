"""Animations: .webp, .gif, .mp4, or a folder of PNGs.

Frames are computed one after the other and handed to the writer, so a long film does not fill the memory. A .gif is the
exception: Pillow holds its frames, at a byte a pixel, until it has all of them.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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

LARGEST = {".webp": 16_383, ".gif": 65_535, ".mp4": 16_384}  # pixels a side that a format allows
GIF_FPS = 50  # frames a second; browsers slow down faster ones
IMAGE_DESCRIPTION = 0x010E  # number of a tag of EXIF


def check(path: Path, fps: int) -> str:
    """Return the suffix that names the format of a film, or "" for a folder.

    Raises UsageError where it cannot be written there.
    """
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


@dataclass(frozen=True)
class _Film:
    """A film that is being written; its fields are the arguments of `write`."""

    frames: Iterator[Pixels]
    count: int
    fps: int
    loop: bool
    about: Mapping[str, Any]


def write(path: Path, frames: Iterator[Pixels], count: int, *, fps: int, loop: bool, about: Mapping[str, Any]) -> None:
    """Write a film; a file takes its name only when it is complete.

    Args:
        path: its suffix names the format; a folder without one
        frames: uint8 [C, H, W], computed while they are written
        count: number of frames
        fps: frames a second
        loop: play again and again
        about: metadata

    Raises UsageError where the film cannot be written there, and ZooError where the encoder fails.
    """
    suffix = check(path, fps)
    if not suffix:
        ensure_folder(path, str(path))
        for i, frame in enumerate(frames):
            save(frame, path / f"frame{i:04d}.png", {**about, "frame": i, "fps": fps})
        return
    first = next(frames)
    width, height = picture(first).size
    if max(height, width) > LARGEST[suffix]:
        raise UsageError(
            f"{path}: a {suffix} has at most {LARGEST[suffix]:,} pixels a side, and {width:,}x{height:,} were asked "
            f"for: choose a smaller --grid, or a folder."
        )
    ensure_folder(path.parent, str(path))
    writer: Callable[[Path, _Film], None] = {".webp": _webp, ".gif": _gif, ".mp4": _mp4}[suffix]
    with atomic_write(path) as temporary:
        writer(temporary, _Film(chain([first], frames), count, fps, loop, about))


def durations(count: int, fps: int, unit: int) -> list[int]:
    """Milliseconds of each frame, in multiples of `unit`, whose sums never drift from the true times."""
    ends = [round(i * 1000 / (fps * unit)) * unit for i in range(count + 1)]
    return [b - a for a, b in zip(ends, ends[1:])]


def _opaque(frame: Pixels) -> PIL.Image:
    """A frame as RGB, on white where it is transparent."""
    image = picture(frame)
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = PIL.new("RGBA", image.size, "white")
    return PIL.alpha_composite(white, image).convert("RGB")


class _FrameSequence:
    """An image of several frames, of which one at a time is in memory.

    Pillow makes a list of `append_images` before it writes a .webp, and goes through the frames of each with `seek`.
    """

    def __init__(self, images: Iterator[PIL.Image], count: int) -> None:
        self.n_frames = count
        self._images = images
        self._index = -1

    def seek(self, index: int) -> None:
        """Go to the next frame, or stay at this one."""
        if index != self._index:
            self._image, self._index = next(self._images), index

    def tell(self) -> int:
        """Index of the current frame."""
        return self._index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


def _webp(path: Path, film: _Film) -> None:
    images = (image if image.mode == "RGBA" else image.convert("RGB") for image in map(picture, film.frames))
    first = next(images)
    exif = PIL.Exif()
    exif[IMAGE_DESCRIPTION] = json.dumps(film.about)
    first.save(
        path,
        format="WEBP",
        save_all=True,
        append_images=[_FrameSequence(images, film.count - 1)] if film.count > 1 else [],
        exif=exif.tobytes(),
        duration=durations(film.count, film.fps, 1),
        loop=0 if film.loop else 1,
        quality=90,
        method=4,
    )


def _gif(path: Path, film: _Film) -> None:
    images = map(_opaque, film.frames)
    next(images).save(
        path,
        format="GIF",
        save_all=True,
        append_images=images,
        comment=json.dumps(film.about).encode(),
        duration=durations(film.count, film.fps, 10),
        **({"loop": 0} if film.loop else {}),
    )


def _mp4(path: Path, film: _Film) -> None:
    """Write H.264 in 4:2:0, which every player and browser can show; its sides are even."""
    import av

    images = map(np.asarray, map(_opaque, film.frames))
    first = next(images)
    height, width = first.shape[:2]
    odd = height % 2, width % 2
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
            file.metadata["comment"] = json.dumps(film.about)
            stream = file.add_stream("libx264", rate=Fraction(film.fps), options={"crf": "16"})
            stream.pix_fmt = "yuv420p"
            stream.height, stream.width = height + odd[0], width + odd[1]
            for image in chain([first], images):
                rgb = np.pad(image, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
                file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            file.mux(stream.encode())
    except av.FFmpegError as err:
        raise ZooError(f"{path} cannot be written as a film ({err}): choose .webp or a folder.") from None
