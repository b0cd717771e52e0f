"""Motion of StyleGAN3's images: equivariance metrics against recorded values, their properties, `gz generate`."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PIL

import ganzoo
from alias_free import NETWORKS, recorded_generator
from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Generator, ProbeContext, Shape
from ganzoo_cli import main
from ganzoo_stylegan3 import motion
from ganzoo_stylegan3.equivariance import (
    EquivarianceR,
    EquivarianceT,
    decibels,
    moved_image,
    rotation_error,
    translation_error,
)
from reference import assert_close, load
from snapshots import untrained

SHAPE = Shape(((16, 16), (32, 32)), 3)
EXACTNESS = {"T": (74.5, 75.1, 41.8), "R": (107.1, 91.0, 95.6)}  # dB of whole and fractional translations, rotations


# --- recorded values -------------------------------------------------------------------------------------------------


def compare(name: str, moved: tuple[torch.Tensor, torch.Tensor], stride: int, mask_stride: int = 1) -> None:
    """Moved images of the recorded ones, and the mask, which is exact."""
    recorded = load("17_eq_ops")
    image, mask = moved
    assert_close(image[:1, :, ::stride, ::stride], recorded.tensors[f"out64/{name}/image"], 1e-9, name)
    assert torch.equal(mask[::mask_stride, ::mask_stride], recorded.tensors[f"out64/{name}/mask"][0, 0])


@pytest.mark.parametrize("index", range(4))
def test_translated_images(index: int) -> None:
    recorded = load("17_eq_ops")
    x, (dx, dy) = recorded["x"], (recorded["t"][index] * 64).tolist()
    compare(f"int{index}", motion.translated(x, round(dx), round(dy)), 4)
    compare(f"frac{index}", motion.fractionally_translated(x, dx, dy), 2)


@pytest.mark.parametrize("index", range(3))
def test_rotated_images(index: int) -> None:
    recorded = load("17_eq_ops")
    x, angle = recorded["x"], float(recorded["angle"][index])
    filtered = motion.oriented_filter(angle, 4) if index == 0 else motion.oriented_filter(-angle, 1)
    assert_close(torch.from_numpy(filtered), recorded.tensors[f"out64/filter{index}/up4"], 1e-9, "filter")
    compare(f"pseudo{index}", motion.pseudo_rotated(x, angle), 3)
    image, mask = motion.rotated(x, angle)
    compare(f"rot{index}", (image, mask), 7, 3)
    for name, value in (("sum", image), ("sumsq", image.square())):
        assert_close((value * mask).sum(), recorded.tensors[f"out64/rot{index}/{name}"], 1e-9, name)


@pytest.mark.parametrize("config", NETWORKS)
def test_recorded_equivariance(config: str) -> None:
    """Sums over known pixels, and the decibels of three draws; near float32's rounding by the order of magnitude."""
    recorded, values = load("17_eq_nets", torch.float32), {}
    G, case = recorded_generator(config, torch.float32)
    with torch.no_grad():
        ws = G.styles(case["z"])
        still = moved_image(G, G.finest, ws)
        for name in ("eqt_int", "eqt_frac", "eqr"):
            sums = []
            for i in range(3):
                shift, angle = recorded[f"{config}/t"][i].tolist(), float(recorded[f"{config}/angle"][i])
                error = partial(translation_error, shift=(shift[0], shift[1]), whole=name == "eqt_int")
                error = partial(rotation_error, angle=angle) if name == "eqr" else error
                sums.append(error(G, G.finest, ws, still=still))
                expected = [float(recorded.tensors[f"out/{config}/{name}/{key}{i}"]) for key in ("sq", "mask")]
                assert sums[-1][1] == expected[1]
                exact = 10 * math.log10(4 * expected[1] / expected[0]) > 90
                assert sums[-1][0] == pytest.approx(expected[0], rel=3 if exact else 1e-3)
            values[name] = decibels(*map(sum, zip(*sums)))
            psnr = float(recorded.tensors[f"out/{config}/{name}/psnr"])
            assert values[name] == pytest.approx(psnr, abs=6 if psnr > 90 else 0.01)
        image = moved_image(G, G.finest, ws, rotate=float(recorded[f"{config}/angle"][2]))[:1]
        assert_close(image, recorded.tensors[f"out/{config}/eqr/image2"], 5e-5, "image", 0.1)
    assert tuple(values.values()) == pytest.approx(EXACTNESS[config], abs=6 if config == "R" else 0.1)


# --- properties ------------------------------------------------------------------------------------------------------


def measured(metric: Any, G: Generator, rank: int = 0, world: int = 1) -> Any:
    labels = partial(torch.zeros, 0)
    metric.probe(ProbeContext(G, G.finest, torch.device("cpu"), labels=labels, rank=rank, world=world))
    return metric


def test_metrics_tell_configurations_apart() -> None:
    """T is equivariant under translation, R under rotation too, and what moves at random is not."""
    values = {}
    for config in NETWORKS:
        G, _ = recorded_generator(config, torch.float32)
        metrics = [EquivarianceT(SHAPE, 0, num=4, batch=2), EquivarianceR(SHAPE, 0, num=4, batch=2)]
        values |= {(config, m.primary): m.compute()[m.primary] for m in (measured(m, G) for m in metrics)}
    assert values["T", "eqt_int"] > 50 and values["R", "eqt_int"] > 90 and values["R", "eqr"] > 80
    assert values["T", "eqr"] < 45
    assert EquivarianceT(SHAPE, 0, whole=False).primary == "eqt_frac"


def test_shares_of_processes_and_batches() -> None:
    """Two processes' shares give one's sums; a sample's motion is that of its batch, and the last batch is smaller."""
    G, _ = recorded_generator("T", torch.float32)
    whole = measured(EquivarianceT(SHAPE, 5, num=5, batch=2), G)
    shares = [measured(EquivarianceT(SHAPE, 5, num=5, batch=2), G, rank, 2) for rank in range(2)]
    merged = EquivarianceT(SHAPE, 5, num=5, batch=2)
    for share in shares:
        merged.merge("fake", share.state("fake"))
    assert sorted(whole.sums) == [0, 1, 2] and [sorted(share.sums) for share in shares] == [[0, 2], [1]]
    assert merged.compute() == whole.compute()
    with pytest.raises(DataError, match="give a checkpoint"):
        EquivarianceR(SHAPE, 0).compute()


def test_a_generator_moves_its_images_and_comes_back() -> None:
    """A quarter turn is exact for pixels; the buffer is as before, after an error too."""
    G, recorded = recorded_generator("R", torch.float32)
    with torch.no_grad():
        ws = G.styles(recorded["z"][:1])
        still, turned = moved_image(G, G.finest, ws), moved_image(G, G.finest, ws, rotate=math.pi / 2)
    assert (turned.rot90(-1, (2, 3)) - still)[..., 4:-4, 4:-4].abs().max() < 1e-3 * still.abs().max()
    with pytest.raises(ZeroDivisionError), G.moved((0.1, 0.0), 0.3):
        assert not torch.equal(G.transform, torch.eye(3))
        raise ZeroDivisionError
    assert torch.equal(G.transform, torch.eye(3))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("motion")
    small = ["image.size=16", "generator.channel_base=256", "generator.channel_max=16"]
    return {name: untrained(folder, f"{name}-tiny", *small) for name in ("stylegan3-t", "stylegan2")}


def test_generate_moves_pictures(snapshots: dict[str, Path], tmp_path: Path) -> None:
    """By whole pixels, so that what was in the picture is found again elsewhere; the file tells of it."""
    words = ["generate", str(snapshots["stylegan3-t"]), "--seeds", "3", "--outdir", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--translate", "-0.25,0.5", "--rotate", "0"]) == 0
    plain, moved = (PIL.open(tmp_path / name) for name in ("seed0003.png", "seed0003-1.png"))
    a, b = np.asarray(plain, float), np.asarray(moved, float)
    assert np.abs(b[10:, 2:10] - a[2:8, 6:14]).max() <= 2 < np.abs(b - a).max()
    assert json.loads(moved.text["translate"]) == [-0.25, 0.5]


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("stylegan2", ["--rotate", "10"], "--rotate: the generator of "),
        ("stylegan3-t", ["--translate", "1"], "--translate 1: write two shares"),
        ("stylegan3-t", ["--rotate", "nan"], "--rotate nan: give a number of degrees"),
    ],
)
def test_generate_refuses_what_cannot_be_moved(
    name: str, flags: list[str], words: str, snapshots: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    assert main(["generate", str(snapshots[name]), *flags, "--outdir", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_what_cannot_be_moved_is_refused_by_metrics_too(snapshots: dict[str, Path]) -> None:
    model = ganzoo.load(snapshots["stylegan2"])
    with pytest.raises(UsageError, match="eqt moves the generator's images"):
        measured(EquivarianceT(SHAPE, 0, num=1), model.G)
    with pytest.raises(UsageError, match="cannot move its images"), model.G.moved((0.1, 0.1)):
        pass
