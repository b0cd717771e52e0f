"""Sliced Wasserstein distance: known values, a second implementation, and its own promises."""

import tempfile
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve

from ganzoo.errors import DataError
from ganzoo.interfaces.growth import Shape
from ganzoo.registry.component import described, options
from ganzoo_metrics import ganzoo_components
from ganzoo_metrics.swd import descriptors as descriptors_module
from ganzoo_metrics.swd import swd as swd_module
from ganzoo_metrics.swd.descriptors import DescriptorStore, extract_descriptors, normalize_descriptors
from ganzoo_metrics.swd.pyramid import laplacian_pyramid, pyr_down, pyr_up, pyramid_sizes
from ganzoo_metrics.swd.swd import SWD, WHICH, draw_directions, draw_positions, sliced_wasserstein


def images(
    n: int, channels: int = 3, size: tuple[int, int] = (32, 32), seed: int = 0, spread: float = 40
) -> torch.Tensor:
    """Smooth random uint8 images; spread is the contrast of their large parts."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, 5, 5, generator=draw) * spread + 128
    grain = torch.randn(n, channels, *size, generator=draw) * 6
    fine = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return (fine + grain).clamp(0, 255).to(torch.uint8)


def metric(size: tuple[int, int] = (32, 32), channels: int = 3, seed: int = 0, **given: int) -> SWD:
    small = {"num": 100, "patches_per_image": 16, "repeats": 2, "directions": 8}
    return SWD(Shape((size,), channels), seed, **{**small, **given})


def run(real: Sequence[torch.Tensor], fake: Sequence[torch.Tensor], seed: int = 0, **given: int) -> dict[str, float]:
    m = metric(tuple(real[0].shape[2:]), real[0].shape[1], seed, **given)
    for which, batches in zip(WHICH, (real, fake)):
        for batch in batches:
            m.update(batch, which)
    return m.compute()


class TestKnownValues:
    def test_pyramid_of_a_ramp(self):
        y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        fine, coarse = laplacian_pyramid(torch.stack([8 * x, 8 * y, 4 * (x + y)])[None])
        torch.testing.assert_close(fine[0, 0, 0, :6], torch.tensor([-8.5, -3, -0.75, 0, 0, 0]))
        assert fine.abs().mean().item() == pytest.approx(0.760010, abs=1e-6)
        torch.testing.assert_close(coarse[0, 0, 0, :4], torch.tensor([6.0, 16, 32, 48]))
        assert coarse.mean().item() == pytest.approx(120.3125)

    def test_impulse(self):
        x = torch.zeros(1, 1, 4, 4)
        x[..., 0, 0] = 64
        torch.testing.assert_close(pyr_down(x)[0, 0], torch.tensor([[9, 1.5], [1.5, 0.25]]))

    @pytest.mark.parametrize("size", [(8, 8), (7, 8), (9, 5)])
    def test_up_keeps_ones(self, size):
        coarse = torch.ones(1, 2, *((s + 1) // 2 for s in size))
        assert torch.equal(pyr_up(coarse, size), torch.ones(1, 2, *size))

    def test_shifted_gaussians(self):
        """A shift by .1 in each of 147 dimensions moves a unit projection by N(0, .1^2): E|.| = sqrt(2 / pi) * .1."""
        draw = torch.Generator().manual_seed(0)
        a, b = (torch.randn(16384, 147, generator=draw) for _ in range(2))
        assert sliced_wasserstein(a, b + 0.1, draw_directions(0, 0, 147, 512)) == pytest.approx(0.0826, rel=0.05)


class TestPureFunctions:
    @pytest.mark.parametrize("size", [(48, 64), (35, 70), (33, 16), (100, 37)])
    def test_pyramid_adds_up_to_the_image(self, size):
        x = images(2, 2, size).float()
        before = x.clone()
        levels = laplacian_pyramid(x)
        assert [tuple(level.shape[2:]) for level in levels] == pyramid_sizes(size)
        image = levels.pop()
        while levels:
            image = pyr_up(image, tuple(levels[-1].shape[2:])) + levels.pop()
        torch.testing.assert_close(image, x, atol=1e-4, rtol=0)
        assert torch.equal(x, before)

    def test_sizes(self):
        assert pyramid_sizes((256, 256)) == [(256, 256), (128, 128), (64, 64), (32, 32), (16, 16)]
        assert pyramid_sizes((35, 70)) == [(35, 70), (18, 35)]
        assert pyramid_sizes((12, 400)) == [(12, 400)]

    def test_descriptor_order(self):
        level = torch.arange(2 * 3 * 20 * 30.0).view(2, 3, 20, 30)
        y, x = torch.tensor([[3, 16], [5, 6]]), torch.tensor([[26, 3], [7, 8]])
        d = extract_descriptors(level, y, x).view(2, 2, 3, 7, 7)
        assert d[1, 0, 2, 0, 6] == level[1, 2, 5 + 3, 7 - 3]  # horizontal offset -3, vertical offset +3

    def test_equal_samples_have_distance_0(self):
        a = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
        dirs = draw_directions(0, 0, 12, 9)
        assert sliced_wasserstein(a, a[torch.randperm(50)], dirs) < 1e-6
        with pytest.raises(DataError, match=r"equally large samples, not \[50, 12\] and \[49, 12\]"):
            sliced_wasserstein(a, a[1:], dirs)

    def test_positions_reach_every_place_evenly(self):
        y, x = draw_positions(0, "real", 0, (16, 20), range(500), 128)
        for p, side in ((y, 16), (x, 20)):
            counts = torch.bincount(p.flatten(), minlength=side)
            assert counts[:3].sum() == counts[side - 3 :].sum() == 0
            inside = counts[3 : side - 3].double()
            assert (inside / inside.mean() - 1).abs().max() < 0.06
        assert np.corrcoef(y.flatten(), x.flatten())[0, 1] == pytest.approx(0, abs=0.02)

    def test_positions_belong_to_an_image(self):
        y, x = draw_positions(3, "fake", 1, (32, 32), range(10), 5)
        late_y, late_x = draw_positions(3, "fake", 1, (32, 32), range(7, 10), 5)
        assert torch.equal(y[7:], late_y) and torch.equal(x[7:], late_x)
        keys = ((4, "fake", 1), (3, "real", 1), (3, "fake", 0))
        others = [draw_positions(*key, (32, 32), range(10), 5)[0] for key in keys]
        assert not any(torch.equal(y, other) for other in others)

    def test_directions_are_unit_vectors(self):
        torch.testing.assert_close(draw_directions(1, 2, 147, 64).norm(dim=0), torch.ones(64))


def second_opinion(real: torch.Tensor, fake: torch.Tensor, seed: int, per_image: int, number: int) -> list[float]:
    """The definition again, patch by patch, in float64, on scipy's convolution."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    patches: dict[tuple[str, int], list[NDArray]] = {}
    for which, batch in zip(WHICH, (real, fake)):
        for i, image in enumerate(batch.numpy().astype(np.float64)):
            planes, level = list(image), 0
            while True:
                last = (min(planes[0].shape) + 1) // 2 < 16
                coarse = [convolve(p, kernel, mode="mirror")[::2, ::2] for p in planes]
                detail = planes
                if not last:
                    zeros = [np.zeros_like(p) for p in planes]
                    for z, c in zip(zeros, coarse):
                        z[::2, ::2] = c
                    detail = [p - 4 * convolve(z, kernel, mode="mirror") for p, z in zip(planes, zeros)]
                ys, xs = draw_positions(seed, which, level, planes[0].shape, range(i, i + 1), per_image)
                for y, x in zip(ys[0].tolist(), xs[0].tolist()):
                    patch = np.stack([d[y - 3 : y + 4, x - 3 : x + 4].T for d in detail])
                    patches.setdefault((which, level), []).append(patch)
                if last:
                    break
                planes, level = coarse, level + 1
    values = []
    for k in range(level + 1):
        dirs = draw_directions(seed, k, real.shape[1] * 49, number).double().numpy()
        done = [np.stack(patches[which, k]) for which in WHICH]
        done = [(d - d.mean((0, 2, 3), keepdims=True)) / d.std((0, 2, 3), keepdims=True) for d in done]
        a, b = (np.sort(d.reshape(len(d), -1) @ dirs, axis=0) for d in done)
        values.append(1000 * np.abs(a - b).mean())
    return [*values, float(np.mean(values))]


class TestMetric:
    @pytest.mark.parametrize(
        ("channels", "size"), [(3, (32, 32)), (1, (16, 40)), (4, (35, 70)), (5, (66, 33)), (2, (9, 7))]
    )
    def test_second_opinion(self, channels, size):
        real, fake = images(6, channels, size, 1), images(6, channels, size, 2, 25)
        got = run([real], [fake], seed=5)
        assert list(got) == [f"swd/{h}" for h, _ in pyramid_sizes(size)] + ["swd"]
        np.testing.assert_allclose(list(got.values()), second_opinion(real, fake, 5, 16, 16), rtol=1e-5)

    def test_batches_do_not_matter(self, monkeypatch):
        real, fake = images(40, 3, (35, 50), 1), images(40, 3, (35, 50), 2)
        whole = run([real], [fake])  # bit for bit
        monkeypatch.setattr(swd_module, "PIXELS", 3 * 35 * 50 * 4)
        split = run(real.split(7), [fake[:1], fake[1:33], fake[33:]])
        assert split == whole

    def test_spooled_is_the_same_as_in_memory(self, monkeypatch):
        real, fake = images(40, seed=1), images(40, seed=2)
        memory, temporary = metric(), tempfile.TemporaryFile
        monkeypatch.setattr(descriptors_module, "CHUNK_BYTES", 4 * 147 * 37)
        monkeypatch.setattr(swd_module, "MEMORY_BYTES", 0)
        monkeypatch.setattr(swd_module, "SKEW", 0)
        monkeypatch.setattr(swd_module, "PROJECTION_BYTES", 2 * 4 * 40 * 16 * 3)
        spooled, files = metric(), []
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **how: files.append(temporary(**how)) or files[-1])
        for m in (memory, spooled):
            m.update(real, "real")
            m.update(fake[:30], "fake")
            with pytest.raises(DataError):
                m.compute()
            m.update(fake[30:], "fake")
        monkeypatch.undo()
        assert len(files) == len(spooled.stores)  # the other one has none
        once = spooled.compute()
        assert once == spooled.compute()
        assert once == pytest.approx(memory.compute(), rel=1e-6)

    def test_store_equals_pure_functions(self, monkeypatch):
        monkeypatch.setattr(descriptors_module, "CHUNK_BYTES", 4 * 30 * 10)
        draw = torch.Generator().manual_seed(0)
        rows = torch.randn(64, 30, generator=draw) * 3 + 100
        store = DescriptorStore(2, 30)
        for part in rows.split(9):
            store.append(part)
        next(iter(store.chunks()))
        store.append(rows[:7])
        rows = torch.cat([rows, rows[:7]])
        np.testing.assert_array_equal(np.concatenate([c.copy() for c in store.chunks()]), rows)
        dirs, out = draw_directions(0, 0, 30, 5), np.empty((5, 71), np.float32)
        store.project(dirs, out)
        np.testing.assert_allclose(out, (normalize_descriptors(rows, 2) @ dirs).T, atol=1e-4)

    def test_seed_decides(self):
        real, fake = images(20, seed=1), images(20, seed=2)
        assert run([real], [fake]) == run([real], [fake])
        assert run([real], [fake]) != run([real], [fake], seed=1)

    def test_order_matters_no_more_than_the_seed(self):
        """Swapping images swaps the positions of their patches: another draw, not another distance."""
        real, fake = images(60, seed=1), images(60, seed=2, spread=10)
        given = {"patches_per_image": 64, "directions": 64}
        straight, turned = (run([real], [f], **given)["swd"] for f in (fake, fake.flip(0)))
        assert straight != turned
        assert straight == pytest.approx(turned, rel=0.1)

    def test_the_same_images_give_the_noise_floor(self):
        real, other = images(80, seed=1), images(80, seed=2)
        far = ((torch.rand(real.shape, generator=torch.Generator().manual_seed(0)) < 0.01) * 255).to(torch.uint8)
        same, floor, distance = (run([real], [fake])["swd"] for fake in (real, other, far))
        assert 0 < same < 1.2 * floor
        assert floor < 0.6 * distance

    def test_surplus_images_are_ignored(self):
        real, fake = images(20, seed=1), images(20, seed=2)
        assert run([real[:7], real[7:]], [fake], num=10) == run([real[:10]], [fake[:10]], num=10)

    def test_a_channel_without_contrast_says_nothing(self):
        real, fake = images(10, 4, seed=1), images(10, 4, seed=2)
        real[:, 3] = fake[:, 3] = 255
        assert all(np.isfinite(v) for v in run([real], [fake]).values())


class TestSentences:
    @pytest.mark.parametrize(("real", "fake"), [(5, 4), (0, 3), (0, 0)])
    def test_counts(self, real, fake):
        with pytest.raises(DataError, match=f"given {real} real and {fake} fake ones"):
            run([images(5)[:real]], [images(5)[:fake]])

    def test_no_contrast(self):
        with pytest.raises(DataError, match="at 32x32 the fake images have no contrast"):
            run([images(3)], [torch.full((3, 3, 32, 32), 77, dtype=torch.uint8)])

    def test_small_images(self):
        with pytest.raises(DataError, match=r"a patch of 7x7 pixels does not fit into images of 6x40.* at most 6"):
            metric((6, 40))
        assert list(run([images(3, size=(8, 8))], [images(3, size=(8, 8), seed=1)])) == ["swd/8", "swd"]

    @pytest.mark.parametrize("wrong", [images(2).float(), images(2, 1), images(2, 3, (16, 32)), images(2)[0]])
    def test_foreign_images(self, wrong):
        with pytest.raises(DataError, match=r"takes uint8 images of shape \[N, 3, 32, 32\], not"):
            metric().update(wrong, "real")

    def test_full_disk(self, monkeypatch):
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(descriptors_module, "CHUNK_BYTES", 4 * 147 * 10)
        monkeypatch.setattr(swd_module, "MEMORY_BYTES", 0)
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: SimpleNamespace(seek=max, write=full, close=full))
        m = metric()
        with pytest.raises(DataError, match=r"No space left on device\); set TMPDIR to a folder with .* GB"):
            m.update(images(5), "real")
        assert not m.stores and m.seen["real"] == 0


def test_component():
    cls = ganzoo_components()[0]
    assert (cls.kind, cls.name, cls.primary) == ("metric", "swd", "swd")
    fields = options(cls).model_fields
    assert set(fields) == {"num", "patches_per_image", "patch", "repeats", "directions"} <= set(described(cls))
    for name in fields:
        with pytest.raises(ValueError, match="greater than or equal to 1"):
            options(cls)(**{name: 0})
