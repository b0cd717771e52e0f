"""Drawn shapes, the order of images and their batches, and the choice of a dataset."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganzoo.errors import DataError, UsageError
from ganzoo.nn.pixels import to_uint8, to_unit
from ganzoo.recipe.datasets import dataset_for
from ganzoo.registry.component import described, options
from ganzoo.registry.lookup import Registry
from ganzoo.training.labels import class_labels, labels_at
from ganzoo.training.loader import Loader, mirrored, order
from ganzoo_data.archive import Zip
from ganzoo_data.folder import Folder
from ganzoo_data.shapes import CLASSES, Shapes
from ganzoo_data.tar import Tar
from pictures import fill

# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (20, 48), (5, 3)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_shapes_of_any_size(size: tuple[int, int], channels: int) -> None:
    a, b = Shapes(size, channels, 4, count=50), Shapes(size, channels, 0, count=50)
    for i in (0, 49):
        assert a.image(i).shape == (channels, *size) and a.image(i).dtype == np.uint8
        assert np.array_equal(a.image(i), b.image(i))
    assert not np.array_equal(a.image(0), Shapes(size, channels, 4, seed=1).image(0)) and b.label(3).shape == (0,)


def test_shapes_are_what_their_labels_say() -> None:
    data = Shapes((128, 128), 4, 4, count=80)
    assert data.check() == [] and data.title == "shapes" and len(data) == 80
    for i in range(len(data)):
        alpha = data.image(i)[3] / 255
        rows, columns = np.nonzero(alpha > 0.5)
        assert 0.1 < alpha.mean() < 0.5 and rows.min() > 0 and columns.max() < 127
        z = (columns - columns.mean()) + 1j * (rows - rows.mean())
        symmetry = {k: abs((z**k).sum()) / (abs(z) ** k).sum() for k in (3, 4, 5)}  # k-fold symmetric moments
        best = max(symmetry, key=symmetry.__getitem__)
        shape = {3: "triangle", 4: "square", 5: "star"}[best] if symmetry[best] > 0.1 else "circle"
        assert shape == CLASSES[int(data.label(i).argmax())], symmetry
    with pytest.raises(IndexError):
        data.image(80)


def test_shapes_fingerprint() -> None:
    sets = [
        Shapes((8, 8), 3, 0),
        Shapes((8, 8), 3, 4),
        Shapes((8, 8), 1, 0),
        Shapes((8, 4), 3, 0),
        Shapes((8, 8), 3, 0, seed=1),
        Shapes((8, 8), 3, 0, count=5),
    ]
    assert len({s.fingerprint() for s in sets}) == 6 and Shapes((8, 8), 3, 0).fingerprint() == sets[0].fingerprint()


# --- order and batches -----------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(-5, 2**70), st.integers(0, 5))
def test_each_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    indices = order(n, seed, epoch * n, n)
    assert indices.dtype == np.int64 and sorted(indices) == list(range(n))


@given(st.integers(1, 20), st.integers(0, 9), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 100))
def test_any_split_into_batches_draws_the_same(n: int, seed: int, counts: list[int], start: int) -> None:
    starts = start + np.cumsum([0, *counts])
    for draw in (lambda p, c: order(n, seed, p, c), lambda p, c: mirrored(seed, p, c)):
        parts = [draw(int(p), c) for p, c in zip(starts, counts)]
        assert np.array_equal(np.concatenate([*parts, draw(start, 0)]), draw(start, sum(counts)))


def test_epochs_and_flips_are_random() -> None:
    assert not np.array_equal(order(100, 0, 0, 100), order(100, 0, 100, 100))
    assert not np.array_equal(order(100, 0, 0, 100), order(100, 1, 0, 100))
    for seed in (0, 1, -1, 2**80):
        flips = mirrored(seed, 0, 40_000)
        again = flips[:-1] == flips[1:]
        assert abs(flips.mean() - 0.5) < 0.02 and abs(again.mean() - 0.5) < 0.02
    assert abs((mirrored(0, 0, 40_000) == mirrored(1, 0, 40_000)).mean() - 0.5) < 0.02
    with pytest.raises(ValueError):
        order(0, 0, 0, 1)


@pytest.mark.parametrize("workers, cache", [(0, 1 << 30), (1, 0), (4, 0), (4, 1 << 30), (2, 8 * 8 * 3 * 20)])
def test_batches_depend_on_seed_position_and_count_alone(workers: int, cache: int) -> None:
    data = Shapes((8, 8), 3, 4, count=20)
    flips = mirrored(5, 0, 70)
    drawn = order(20, 5, 0, 70)
    images = np.stack([data.image(i)[..., ::-1] if f else data.image(i) for i, f in zip(drawn.tolist(), flips)])
    with Loader(data, seed=5, mirror=True, workers=workers, cache_bytes=cache) as loader:
        for position, count in [(0, 7), (7, 7), (14, 30), (44, 7), (3, 0), (0, 70), (30, 9)]:
            got, labels = loader.batch(position, count, following=position + 2 * count if count == 9 else None)
            assert got.dtype == torch.uint8 and labels.dtype == torch.float32
            assert np.array_equal(got, images[position : position + count])
            assert torch.equal(labels, labels_at(data, drawn[position : position + count]))
        assert loader.waited > 0


class Counted(Shapes, name="counted"):
    """Shapes that count how often each is read, and raise at one of them."""

    bad = -1

    def image(self, index: int) -> np.ndarray:
        self.__dict__.setdefault("read", []).append(index)
        if index == self.bad:
            raise DataError("x.png is bad.")
        return super().image(index)


def test_a_cached_dataset_is_read_once() -> None:
    data = Counted((8, 8), 3, 0, count=12)
    with Loader(data, seed=0, workers=1) as loader:
        for p in range(0, 120, 6):
            loader.batch(p, 6)
    assert sorted(data.__dict__["read"]) == list(range(12))


def test_an_error_reaches_the_caller_and_the_next_batch_still_comes() -> None:
    data = Counted((8, 8), 3, 0, count=12)
    data.bad = int(order(12, 0, 6, 1)[0])
    with Loader(data, seed=0, workers=2) as loader:
        assert len(loader.batch(0, 6)[0]) == 6
        for _ in range(2):
            with pytest.raises(DataError):
                loader.batch(6, 6)
        assert len(loader.batch(0, 6)[0]) == 6


def test_pixels_to_unit_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(every)
    assert unit.dtype == torch.float32 and unit[0] == -1 and unit[-1] == 1 and torch.equal(to_uint8(unit), every)
    assert to_uint8(torch.tensor([-9.0, 9.0, 0.0, 0.5 / 127.5, -0.6 / 127.5])).tolist() == [0, 255, 128, 128, 127]
    assert torch.equal(to_uint8(unit.to(torch.bfloat16)), to_uint8(unit.to(torch.bfloat16).double()))


def test_class_labels_are_as_frequent_as_in_the_data() -> None:
    data = Shapes((8, 8), 3, 4, count=40)
    drawn = class_labels(data, 4000, torch.Generator().manual_seed(1))
    expected = labels_at(data, range(40)).mean(0)
    assert drawn.shape == (4000, 4) and (drawn.mean(0) - expected).abs().max() < 0.03
    assert torch.equal(drawn, class_labels(data, 4000, torch.Generator().manual_seed(1)))
    assert class_labels(Shapes((8, 8), 3, 0), 5, torch.Generator()).shape == (5, 0)


# --- components ------------------------------------------------------------------------------------------------------


def filled() -> Registry:
    registry = Registry()
    for cls in (Folder, Shapes, Tar, Zip):
        registry.add(cls, "data")
    return registry


def test_source_chooses_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    (tmp_path / "plain").mkdir()
    fill(tmp_path, {"shards/a.tar": b"", "both/a.tar": b"", "both/a.png": b"", "gz/a.tar.gz": b""})
    wanted = {"shapes": Shapes, "./shapes": Folder, "plain": Folder, "a/none": Folder, "~/x": Folder}
    wanted |= {"x.zip": Zip, "a/B.ZIP": Zip, "x.tar": Tar, "a/B.TAR": Tar, "a-{0..9}.tar": Tar, "./x.tar.gz": Tar}
    wanted |= {"shards": Tar, "./shards": Tar, "gz": Tar, "both": Folder}
    assert {s: dataset_for(s, filled()) for s in wanted} == wanted
    for typo in ("plian", "", "folder"):
        with pytest.raises(UsageError, match=rf"'{typo}'.*folder.*shapes.*tar.*zip") as caught:
            dataset_for(typo, filled())
        assert ". " not in str(caught.value)
    with pytest.raises(UsageError, match="none is installed"):
        dataset_for("x", Registry())


def test_options_are_typed_and_described() -> None:
    for cls in (Folder, Shapes, Tar, Zip):
        assert set(options(cls).model_fields) == set(described(cls))
    assert options(Zip).model_validate_json('{"path": "~/a.zip", "fit": "fit"}').model_dump()["path"] == Path("~/a.zip")
    for bad in ('{"path": "x", "fit": "stretch"}', '{"fit": "crop"}', '{"path": "x", "filter": "bicubic"}'):
        with pytest.raises(ValueError):
            options(Folder).model_validate_json(bad)
