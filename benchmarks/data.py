"""Images per second from a dataset on one thread: a folder, a zip, tar shards, files of `gz data pack`, raw arrays.

    python benchmarks/data.py                 64x64 and 256x256, some minutes
    python benchmarks/data.py --size 64       one size
    python benchmarks/data.py --images 100    fewer

Images resemble photographs (smooth, with grain). `source` are PNGs of twice the size, which must be fitted; `png` have
the right size and are written by Pillow; `packed` are written by `gz data pack` from the source. `npy` in a zip and a
plain array (`raw`) show the rate without decoding. Files are in the system's cache. On a machine with other load,
compare rates per second of processor time only.
"""

import argparse
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganzoo.interfaces import Dataset
from ganzoo_data import pack
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.tar import Tar

Pixels = NDArray[np.uint8]


def photograph(index: int, side: int) -> Image.Image:
    """Draw smooth colours with grain, so that a PNG is about as large as a photograph's."""
    rng = np.random.default_rng(index)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    grain = np.asarray(coarse, np.float64) + rng.normal(0, 4, (side, side, 3))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def sources(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    for i in range(count):
        photograph(i, side).save(folder / f"{i:06d}.png")
    return folder


def archives(folder: Path) -> tuple[Path, Path]:
    """Write the files of a folder as a stored zip, and as four tar shards."""
    archive, shards = folder.with_suffix(".zip"), folder.with_name(f"{folder.name}-shards")
    shards.mkdir()
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(archive, "w") as z:
        for file in files:
            z.write(file, file.name)
    for k in range(4):
        with tarfile.open(shards / f"{k:03d}.tar", "w") as t:
            for file in files[k::4]:
                t.add(file, file.name)
    return archive, shards


class Raw:
    """All pixels in one array on disk, without decoding and checks: an upper bound of the rate."""

    def __init__(self, path: Path) -> None:
        self.pixels: Pixels = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Pixels:
        return np.array(self.pixels[index])


def raw_forms(dataset: Dataset, folder: Path) -> tuple[Path, Path]:
    """Write the fitted images as .npy files in a zip, and as one array."""
    whole, archive = folder / "raw.npy", folder / "npy.zip"
    pixels = np.stack([dataset.image(i) for i in range(len(dataset))])
    np.save(whole, pixels)
    with zipfile.ZipFile(archive, "w") as z:
        for i, image in enumerate(pixels):
            with z.open(f"{i:06d}.npy", "w") as file:
                np.save(file, np.ascontiguousarray(image.transpose(1, 2, 0)))
    return archive, whole


def measured(form: str, make: Callable[[], Any], paths: Iterable[Path], repeats: int) -> dict[str, Any]:
    """Median rate of one thread over passes in random order, after a warm-up pass."""
    began = time.perf_counter()
    dataset = make()
    opened = time.perf_counter() - began
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    cpu = time.process_time()
    seconds = machine.seconds(lambda: [dataset.image(i) for i in order], repeats)
    cpu = (time.process_time() - cpu) / (repeats + 1)
    size = sum(f.stat().st_size for path in paths for f in ([path] if path.is_file() else path.iterdir()))
    row = {"form": form, "images_per_second": round(len(order) / seconds), "megabytes": round(size / 1e6, 1)}
    row |= {"images_per_cpu_second": round(len(order) / cpu), "open_seconds": round(opened, 4)}
    return row | {"load": round(os.getloadavg()[0], 2)}


def rows_of(side: int, count: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    size = (side, side)
    large, png = sources(folder / "large", count, 2 * side), sources(folder / "png", count, side)
    png_zip, png_tar = archives(png)
    fitted = Folder(size, 3, 0, path=large)
    packed_zip, packed_tar = folder / "packed.zip", folder / "packed.tar"
    began = time.perf_counter()
    pack.write(fitted, packed_zip)
    packing = time.perf_counter() - began
    pack.write(fitted, packed_tar)
    npy_zip, raw = raw_forms(fitted, folder)
    forms: list[tuple[str, Callable[[], Any], list[Path]]] = [
        ("source, folder", lambda: Folder(size, 3, 0, path=large), [large]),
        ("png, folder", lambda: Folder(size, 3, 0, path=png), [png]),
        ("png, zip", lambda: Zip(size, 3, 0, path=png_zip), [png_zip]),
        ("png, four tars", lambda: Tar(size, 3, 0, path=png_tar), [png_tar]),
        ("packed zip", lambda: Zip(size, 3, 0, path=packed_zip), [packed_zip]),
        ("packed tar", lambda: Tar(size, 3, 0, path=packed_tar), [packed_tar]),
        ("npy in a zip", lambda: Zip(size, 3, 0, path=npy_zip), [npy_zip]),
        ("raw array", lambda: Raw(raw), [raw]),
    ]
    rows = [{"side": side, **measured(form, make, paths, repeats)} for form, make, paths in forms]
    rows[0]["packing_images_per_second"] = round(count / packing)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, action="append", help="side of the images; repeatable")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for side in args.size or [64, 256]:
        folder = Path(tempfile.mkdtemp(prefix="ganzoo-data-"))
        try:
            found = rows_of(side, args.images, args.repeats, folder)
        finally:
            shutil.rmtree(folder)
        for row in found:
            rate, cpu = row["images_per_second"], row["images_per_cpu_second"]
            print(
                f"{side:4d}  {row['form']:16s} {rate:7,d}/s  {cpu:7,d}/cpu s  {row['megabytes']:8.1f} MB"
                f"  open {row['open_seconds']:.3f} s  load {row['load']}"
            )
        rows += found
    print(machine.save("data", {"images": args.images, "threads": 1, "rows": rows}))


if __name__ == "__main__":
    main()
