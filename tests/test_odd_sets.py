"""Archives and labels that lie: two labels of one image, numbers too large to keep, endless tars, paths that climb."""

import os
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commands import fails as fails
from ganzoo.errors import DataError
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.images import ImageSet
from ganzoo_data.tar import Tar
from pictures import encode, fill, pack, tarred


def image(value: int) -> bytes:
    return encode(np.full((8, 8, 3), value, np.uint8))


def labelled(path: Path, labels: str) -> ImageSet:
    files = {"a.png": image(1), "b.png": image(2), "dataset.json": f'{{"labels": [{labels}]}}'.encode()}
    return Zip((8, 8), 3, 2, path=pack(path / "set.zip", files))


def test_two_labels_of_one_image(tmp_path: Path) -> None:
    """The same label twice is one; two that differ are refused, also where the name is written otherwise."""
    twice = labelled(tmp_path, '["a.png", 1], ["b.png", 0], ["a.png", 1]')
    assert twice.label(0).tolist() == [0, 1]
    with pytest.raises(DataError, match=r"gives a\.png two labels, '1' and '0'"):
        labelled(tmp_path, '["a.png", 1], ["b.png", 0], [".\\\\a.png", 0]')


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", ["1e39", "-4e38", "NaN", "1e400"])
def test_labels_beyond_float32(value: str, tmp_path: Path) -> None:
    assert labelled(tmp_path, '["a.png", [3e38, 0]], ["b.png", 0]').label(0)[0] == np.float32(3e38)
    with pytest.raises(DataError, match=r"a\.png has the label"):
        labelled(tmp_path, f'["a.png", [{value}, 0]], ["b.png", 0]')


def test_paths_that_climb_stay_inside(tmp_path: Path) -> None:
    """As for unzip, 'a/../b' is 'b' and a leading '../' is none; such images are not hidden ones."""
    files = {"cats/../dogs/a.png": image(1), "../dogs/b.png": image(2), "cats/c.png": image(3)}
    for dataset in (
        Zip((8, 8), 3, 0, path=pack(tmp_path / "set.zip", files)),
        Tar((8, 8), 3, 0, path=tarred(tmp_path / "set.tar", files)),
    ):
        assert dataset.names == ["cats/c.png", "dogs/a.png", "dogs/b.png"]
        assert dataset.class_folders == ["cats", "dogs"]
        assert [dataset.image(i)[0, 0, 0] for i in range(3)] == [3, 1, 2]


def test_a_tar_of_zeros_takes_no_time(tmp_path: Path) -> None:
    path = tarred(tmp_path / "set.tar", {"a.png": image(1)})
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (32 << 20))
    assert len(Tar((8, 8), 3, 0, path=path)) == 1
    with path.open("ab") as file:
        file.truncate(20 << 30)
    start = time.monotonic()
    with pytest.raises(DataError, match="64 MiB of zeros after its end"):
        Tar((8, 8), 3, 0, path=path)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_is_not_read_as_large_as_it_claims(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 3 << 30
    path = tmp_path / "set.tar"
    path.write_bytes(info.tobuf())
    os.truncate(path, 4 << 30)
    tracemalloc.start()
    with pytest.raises(DataError, match="header of more than 16 MiB"):
        Tar((8, 8), 3, 0, path=path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_without_reading_at_a_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no os.pread; text mode, its default, would change bytes."""
    monkeypatch.delattr(os, "pread")
    files = {f"{i}.png": image(i) for i in range(5)}
    dataset = Tar((8, 8), 3, 0, path=tarred(tmp_path / "set.tar", files))
    assert [dataset.image(i)[0, 0, 0] for i in (3, 0, 4, 1, 2)] == [3, 0, 4, 1, 2]


def test_the_doctor_speaks_of_small_images_only_where_there_are_some(fails: Callable[..., str], tmp_path: Path) -> None:
    broken, small = fill(tmp_path / "broken", {"a.png": image(1)[:-30]}), fill(tmp_path / "small", {"a.png": image(1)})
    assert "upscale" not in fails(1, ["1 of 1 images", "repair or remove"], "data", "doctor", broken, "--size", "8x8")
    fails(1, ["1 of 1 images", "dataset.upscale=true"], "data", "doctor", small, "--size", "16x16")


def test_a_run_directory_is_no_set_of_images(tmp_path: Path) -> None:
    """Neither by itself nor as all that a folder holds; beside images it is left out."""
    fill(tmp_path / "runs", {"00000-a/reals.png": image(1), "00000-a/recipe.resolved.yaml": b"use: gan"})
    with pytest.raises(DataError, match="00000-a is a run directory"):
        Folder((8, 8), 3, 0, path=tmp_path / "runs" / "00000-a")
    with pytest.raises(DataError, match="no images but those of run directories"):
        Folder((8, 8), 3, 0, path=tmp_path / "runs")
    fill(tmp_path, {"photo.png": image(2)})
    assert Folder((8, 8), 3, 0, path=tmp_path).names == ["photo.png"]


def test_labels_of_a_file_beside_class_folders(tmp_path: Path) -> None:
    """The folders decide where they are asked for, and that the file is not read is said."""
    files = {"a/1.png": image(1), "b/2.png": image(2), "dataset.json": b'{"labels": [["a/1.png", 1], ["b/2.png", 0]]}'}
    path = fill(tmp_path, files)
    by_folder, by_file = (Folder((8, 8), 3, 2, path=path, labels=source) for source in ("folders", "file"))
    assert [by_folder.label(i).tolist() for i in (0, 1)] == [[1, 0], [0, 1]]
    assert [by_file.label(i).tolist() for i in (0, 1)] == [[0, 1], [1, 0]]
    assert by_folder.remarks() == ["classes are the folders 0 a, 1 b, and dataset.json is not read"]
