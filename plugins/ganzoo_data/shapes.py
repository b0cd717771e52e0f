"""Shapes drawn on the fly: a dataset without files, for first runs and tests."""

import hashlib
import json
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from ganzoo.interfaces import Dataset
from ganzoo.types import Count, Size
from ganzoo_data.labels import LabelError

Floats = NDArray[np.float64]

CLASSES = ("circle", "square", "triangle", "star")
COLOURS = np.array([[214, 40, 57], [29, 98, 214], [24, 145, 72]])  # red, blue, green
BACKGROUND = np.array([244, 241, 232])
VERSION = 1  # part of the fingerprint; to be raised when the same options draw different pixels


def regular(corners: int, inner: float = 1.0) -> Floats:
    """Corners [N, 2] (x, y) of a regular polygon in the unit circle, or of a star for `inner` < 1, the first on top."""
    radii = np.array([1.0]) if inner == 1.0 else np.array([1.0, inner])
    n = corners * len(radii)
    angles = 2 * np.pi * np.arange(n) / n
    return np.tile(radii, corners)[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1)


# scaled so that all cover about the same area
POLYGONS = {
    "square": regular(4) @ np.array([[1.0, 1.0], [-1.0, 1.0]]) * 2**-0.5 * 1.1,
    "triangle": regular(3) * 1.3,
    "star": regular(5, inner=0.45) * 1.15,
}
RADIUS = 0.85  # of the circle, for about the same area


def distance(x: Floats, y: Floats, corners: Floats) -> Floats:
    """Signed distance [H, W] of points to a polygon's outline, negative inside.

    It is the least distance to an edge; a point is inside if a ray to +x crosses an odd number of edges.
    """
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0)):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ey:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
    result: Floats = np.where(inside, -1, 1) * np.sqrt(nearest)
    return result


class Shapes(Dataset, name="shapes"):
    """Circles, squares, triangles and stars in three colours, drawn on the fly without files.

    Images have any size. One channel is gray, four are RGB and coverage as alpha, other numbers repeat red, green and
    blue. Labels are the four classes circle, square, triangle, star.

    Args:
        count: number of images
        seed: seed of position, size, angle, shape and colour
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        label_length: int,
        /,
        *,
        count: Count = 10_000,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        if label_length not in (0, len(CLASSES)):
            raise LabelError(
                f"labels is {label_length}, shapes have {len(CLASSES)} classes ({', '.join(CLASSES)})",
                cures=[],
                labels=f"{len(CLASSES)} or 0",
            )
        self.size, self.channels, self.labels = (size[0], size[1]), channels, label_length
        self.count, self.seed = count, seed

    @property
    def title(self) -> str:
        """'shapes'."""
        return "shapes"

    def __len__(self) -> int:
        return self.count

    def _draws(self, index: int) -> Floats:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return np.random.default_rng((self.seed, index)).random(6)

    def shape(self, index: int) -> int:
        """Class of an image, an index into CLASSES."""
        return int(self._draws(index)[0] * len(CLASSES))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Draw an image: uint8 [C, H, W]."""
        draws = self._draws(index)
        colour = COLOURS[int(draws[1] * len(COLOURS))]
        coverage = self._coverage(CLASSES[self.shape(index)], draws[2:])
        rgb = BACKGROUND[:, None, None] * (1 - coverage) + colour[:, None, None] * coverage
        if self.channels == 1:
            planes = np.tensordot([0.299, 0.587, 0.114], rgb, 1)[None]
        elif self.channels == 4:
            planes = np.concatenate([rgb, 255 * coverage[None]])
        else:
            planes = rgb[np.arange(self.channels) % 3]
        return np.rint(planes).astype(np.uint8)

    def _coverage(self, name: str, jitter: Floats) -> Floats:
        """Fraction of each pixel [H, W] that the shape covers, for four draws in [0, 1): x, y, radius, rotation."""
        height, width = self.size
        shift = (jitter[:2] - 0.5) * 0.06  # ±3 % of the sides: the largest shape stays inside a square image
        radius = min(height, width) * (0.33 + 0.03 * jitter[2])
        angle = np.deg2rad(16 * (jitter[3] - 0.5))
        y, x = np.mgrid[:height, :width] + 0.5
        x, y = (x - width * (0.5 + shift[0])) / radius, (y - height * (0.5 + shift[1])) / radius
        x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        outside = np.hypot(x, y) - RADIUS if name == "circle" else distance(x, y, POLYGONS[name])  # in radii
        result: Floats = np.clip(0.5 - outside * radius, 0, 1)
        return result

    def label(self, index: int) -> NDArray[np.float32]:
        """One-hot class, [4], or [0] without labels."""
        return np.eye(1, self.labels, self.shape(index), dtype=np.float32)[0]

    def fingerprint(self) -> str:
        """sha256 of all that determines pixels and labels."""
        options = ["shapes", VERSION, self.size, self.channels, self.labels, self.count, self.seed]
        return hashlib.sha256(json.dumps(options).encode()).hexdigest()
