"""Sliced Wasserstein distance between patches of a Laplacian pyramid (arXiv:1710.10196, section 5).

Not the distance of other papers by that name, which slices whole images or features.
"""

import math
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Annotated, cast

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from ganzoo.errors import DataError
from ganzoo.interfaces.growth import Shape
from ganzoo.interfaces.metric import Metric, Which
from ganzoo.nn.arguments import require_batch
from ganzoo_metrics.swd.descriptors import DescriptorStore, Floats, Memory, cut_patches
from ganzoo_metrics.swd.pyramid import laplacian_pyramid, pyramid_sizes
from ganzoo_metrics.swd.wasserstein import wasserstein

MEMORY_BYTES = 2**30  # of descriptors and projections held at a time, all in all
PROJECTION_BYTES = 3 * 2**28  # of projections at most: 47 directions of 2 * 16,384 * 128 descriptors
DIRECTIONS = 128  # projected at a time where memory allows it; more are no faster
IMAGE_BYTES = 2**24  # of a set's images held in memory, before they go to a temporary file
SKEW = 1040  # unused numbers between rows of projections: rows a power of two apart would share their cache lines
PIXELS = 2**20  # values of images worked on at a time: the pyramid then stays in a core's cache
WHICH: tuple[Which, Which] = ("real", "fake")


def row_distances(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Wasserstein-1 distance of one-dimensional samples, row by row: mean |sort(a) - sort(b)|.

    Args:
        a: float32 [K, N]; overwritten
        b: float32 [K, N]; overwritten

    Returns:
        float64 [K]
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy lets go of the interpreter lock
        return np.array(list(pool.map(wasserstein, a, b)))


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Mean over directions of the Wasserstein-1 distance between the projections of two equally large samples.

    Args:
        a: float32 [N, D]
        b: float32 [N, D]
        directions: float32 [D, K], unit columns

    Returns:
        The distance, at least 0.

    Raises:
        DataError: the samples are empty or of different shapes
    """
    if a.shape != b.shape or not len(a):
        raise DataError(
            f"the sliced Wasserstein distance compares equally large samples, not {list(a.shape)} and {list(b.shape)}."
        )
    return float(row_distances((directions.T @ a.T).numpy(), (directions.T @ b.T).numpy()).mean())


def draw_positions(
    seed: int, which: Which, level: int, size: tuple[int, int], images: range, per_image: int, patch: int = 7
) -> tuple[Tensor, Tensor]:
    """Centres of patches, uniform where the patch lies inside; an image's depend on its number, not on its batch.

    A counter-based generator, one counter a patch, makes that possible without a loop over images.

    Args:
        seed: the metric's seed
        which: "real" or "fake"; they get positions of their own
        level: of the pyramid, 0 the finest
        size: (height, width) of that level, at least patch each
        images: numbers of consecutive images
        per_image: patches of each image
        patch: side of a patch

    Returns:
        y and x, int64 [len(images), per_image]
    """
    counters = np.random.Philox(np.random.SeedSequence([seed, WHICH.index(which), level]))
    counters.advance(images.start * per_image)
    raw = counters.random_raw(4 * len(images) * per_image).reshape(len(images), per_image, 4)  # four a counter
    spans = np.array(size, np.uint64) - np.uint64(patch - 1)
    corners = ((raw[..., :2] >> np.uint64(32)) * spans >> np.uint64(32)).astype(np.int64)
    y, x = torch.from_numpy(corners + patch // 2).unbind(2)
    return y, x


def draw_directions(seed: int, level: int, width: int, number: int) -> Tensor:
    """Uniform random unit vectors, float32 [width, number]: Gaussian, then normalised."""
    normal = np.random.default_rng([seed, len(WHICH), level]).standard_normal((width, number), np.float32)
    return torch.from_numpy(normal / np.linalg.norm(normal, axis=0))


class SWD(Metric, name="swd", paper="arXiv:1710.10196"):
    """Sliced Wasserstein distance, times 1000: patches of real and of generated images compared at each scale.

    Scales are height x width and its halves while the shorter side is at least 16 pixels. Real and fake images are
    normalised apart. Positions and directions are drawn from the seed; image i of a set always has the same patches, so
    results do not depend on batches, and depend on order only in that image i and image j may swap their positions.
    Real and fake positions differ, so a set compared with itself gives not 0 but the noise floor. This floor, and every
    value, falls with the number of patches: compare only runs of equal `num` and `patches_per_image`.

    Memory stays below 2 GB. Descriptors that do not fit wait in temporary files, of 4 * patch^2 * channels *
    patches_per_image * num bytes for each set and scale, and so do the images, which another process may ask for (19 GB
    in all for 16,384 RGB images of 256 x 256, 0.3 GB of it in memory; TMPDIR says where).

    Args:
        num: number of images of each set; further ones are ignored, and fewer do if both sets have equally many
        patches_per_image: patches cut out of each image at each scale
        patch: side of a patch in pixels
        repeats: how often `directions` directions are drawn
        directions: random directions of one repeat, on which the patches are projected
    """

    primary = "swd"
    paired = True
    cacheable = False  # the descriptors are many times as large as the images

    def __init__(
        self,
        shape: Shape,
        seed: int,
        /,
        *,
        num: Annotated[int, Ge(1)] = 16384,
        patches_per_image: Annotated[int, Ge(1)] = 128,
        patch: Annotated[int, Ge(1)] = 7,
        repeats: Annotated[int, Ge(1)] = 4,
        directions: Annotated[int, Ge(1)] = 128,
    ) -> None:
        super().__init__(shape, seed, num=num, num_real=num)
        self.patches_per_image, self.patch = patches_per_image, patch
        self.repeats, self.directions = repeats, directions
        self.projections = repeats * directions  # directions in all
        self.width = shape.channels * patch**2
        self.sizes = pyramid_sizes(shape.size)
        if any(min(size) < patch for size in self.sizes):
            h, w = self.sizes[-1]
            raise DataError(
                f"a patch of {patch}x{patch} pixels does not fit into images of {h}x{w}, which SWD "
                f"compares; set patch to at most {min(h, w)}."
            )
        self.seen: dict[Which, int] = dict.fromkeys(WHICH, 0)
        self.stores: dict[tuple[Which, int], DescriptorStore] = {}
        self.memory = Memory(MEMORY_BYTES - 2 * 4 * self._block(num) * (num * patches_per_image + SKEW))
        self._images: dict[Which, IO[bytes]] = {}

    def _block(self, images: int) -> int:
        """Number of directions on which so many images of both sets are projected at a time."""
        fitting = PROJECTION_BYTES // (2 * 4 * (images * self.patches_per_image + SKEW))
        return max(1, min(self.projections, DIRECTIONS, fitting))

    def update(self, images: Tensor, which: Which) -> None:
        """Take in uint8 images [N, C, H, W] of the metric's shape. Image i of a set has its own patch positions.

        Raises:
            DataError: another dtype or shape; no space for temporary files (what was taken in is then dropped)
        """
        require_batch(images, f"the metric '{self.name}'")
        wanted = [self.shape.channels, *self.shape.size]
        if images.dtype != torch.uint8 or list(images.shape[1:]) != wanted:
            raise DataError(
                f"SWD takes uint8 images of shape [N, {', '.join(map(str, wanted))}], "
                f"not {str(images.dtype).removeprefix('torch.')} {list(images.shape)}."
            )
        images = images[: self.num - self.seen[which]]
        try:
            for part in torch.split(images, max(1, PIXELS // math.prod(wanted))) if len(images) else ():
                self._take(part, which)
        except OSError as err:
            raise self._no_space(err) from err
        except BaseException:
            self.close()
            raise

    def _take(self, images: Tensor, which: Which) -> None:
        first = self.seen[which]
        numbers = range(first, first + len(images))
        turned = images.mT.contiguous()  # descriptors run along columns, so columns should be together in memory
        for level, (x, size) in enumerate(zip(laplacian_pyramid(turned.float()), self.sizes)):
            at = draw_positions(self.seed, which, level, size, numbers, self.patches_per_image, self.patch)
            rows, cols = (p.to(x.device) for p in at)
            if (which, level) not in self.stores:
                self.stores[which, level] = DescriptorStore(self.shape.channels, self.width, self.memory)
            self.stores[which, level].append(cut_patches(x, cols, rows, self.patch))
        if which not in self._images:
            spool = tempfile.SpooledTemporaryFile(IMAGE_BYTES, prefix="ganzoo-swd-")  # noqa: SIM115 - closed by close()
            self._images[which] = cast(IO[bytes], spool)
        self._images[which].seek(0, os.SEEK_END)
        self._images[which].write(images.cpu().contiguous().numpy().data)
        self.seen[which] += len(images)

    def state(self, which: Which) -> dict[str, Tensor]:
        """{"images": uint8 [N, C, H, W]}: patches depend on an image's place in its set, so nothing less will do."""
        shape = (self.seen[which], self.shape.channels, *self.shape.size)
        if which not in self._images:
            return {"images": torch.empty(shape, dtype=torch.uint8)}
        self._images[which].seek(0)
        return {"images": torch.frombuffer(bytearray(self._images[which].read()), dtype=torch.uint8).view(shape)}

    def merge(self, which: Which, state: Mapping[str, Tensor]) -> None:
        """Take in the images that follow, and cut their patches anew.

        Raises:
            DataError: another dtype or shape; no space for temporary files (what was taken in is then dropped)
        """
        self.update(state["images"], which)

    def compute(self) -> dict[str, float]:
        """{"swd/<height>": 1000 * distance} for each scale, fine to coarse, and their average as "swd".

        May be called again, and images may be added in between.

        Raises:
            DataError: no images, unequally many real and fake ones, no contrast, an unreadable temporary file
        """
        real, fake = (self.seen[which] for which in WHICH)
        if real != fake or not real:
            raise DataError(
                "SWD compares equally many real and fake images, at least one each; "
                f"it was given {real} real and {fake} fake ones."
            )
        self._check_contrast()
        samples = real * self.patches_per_image
        projections: Floats = np.empty((2, self._block(real), samples + SKEW), np.float32)[..., :samples]
        try:
            values = {f"swd/{h}": 1e3 * self._distance(level, projections) for level, (h, _) in enumerate(self.sizes)}
        except OSError as err:
            raise self._no_space(err) from err
        return {**values, "swd": sum(values.values()) / len(values)}

    def _distance(self, level: int, projections: Floats) -> float:
        """Sliced Wasserstein distance at a level, K directions at a time; `projections` [2, K, N] is working space."""
        total = 0.0
        directions = draw_directions(self.seed, level, self.width, self.projections)
        for some in torch.split(directions, projections.shape[1], dim=1):
            used = projections[:, : some.shape[1]]
            for which, out in zip(WHICH, used):
                self.stores[which, level].project(some, out)
            total += float(row_distances(*used).sum())
        return total / self.projections

    def _check_contrast(self) -> None:
        for (which, level), store in self.stores.items():
            if not store.moments()[1].any():
                h, w = self.sizes[level]
                raise DataError(
                    f"SWD is not defined: at {h}x{w} the {which} images have no contrast, "
                    "so their patches cannot be normalised."
                )

    def _no_space(self, err: OSError) -> DataError:
        self.close()
        image = math.prod((self.shape.channels, *self.shape.size))
        need = (4 * self.width * self.patches_per_image * len(self.sizes) + image) * self.num * len(WHICH) / 1e9
        folder = tempfile.tempdir or "the temporary folder"
        return DataError(
            f"SWD could not use temporary files in {folder} ({err.strerror or err}); "
            f"set TMPDIR to a folder with {need:.3g} GB of space, or num to fewer images."
        )

    def close(self) -> None:
        """Drop what was taken in, and its temporary files. Happens by itself when the metric is let go of, or fails."""
        for close in [kept.close for kept in self.stores.values()] + [kept.close for kept in self._images.values()]:
            with suppress(OSError):  # closing flushes, which fails again on a full disk
                close()
        self.stores.clear()
        self._images.clear()
        self.seen = dict.fromkeys(WHICH, 0)
