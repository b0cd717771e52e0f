"""Perceptual path length against recorded distances of NVlabs/stylegan2-ada-pytorch, and its own properties."""

import json
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganzoo.errors import DataError, RecipeError, UsageError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.vgg import VGG16
from ganzoo.interfaces import Extractor, Generator, ProbeContext, Shape, Stage
from ganzoo.registry.component import options
from ganzoo_import.formats import ada
from ganzoo_metrics import ppl
from ganzoo_metrics.ppl import PPL, cropped_and_shrunk, path_distances, path_ends, slerp, trimmed_mean
from reference import GOLDEN, Recorded, assert_close, experiment, load

NAME = "08_ppl"
CONFIGS = [(space, sampling, eps) for space in "zw" for sampling in ("full", "end") for eps in (1e-4, 1e-2)]
SMALL_D = {"channel_base": 32, "trunk": {"use": "plain", "down": "filtered"}, "head": "dense"}
CPU = torch.device("cpu")


# --- recorded outputs ------------------------------------------------------------------------------------------------


@cache
def recorded_generator(dtype: torch.dtype) -> tuple[Generator, Recorded]:
    recorded = load(NAME, dtype)
    meta = recorded.meta["constructor_kwargs"]
    tree = ada.generator_recipe(meta)
    G = experiment(meta["img_resolution"], tree, SMALL_D, dtype, image={"channels": meta["img_channels"]}).G
    noise = {k.removeprefix("in/noise/"): v for k, v in recorded.tensors.items() if k.startswith("in/noise/")}
    G.load_state_dict(ada.generator({**recorded.state(), **{k: v.to(dtype) for k, v in noise.items()}}, meta))
    return G, recorded


def measured(dtype: torch.dtype, space: Any, sampling: str, eps: float) -> tuple[Tensor, Recorded]:
    """Our distances for the recorded latents and noise, through the recorded stand-in for LPIPS."""
    G, recorded = recorded_generator(dtype)
    kernel, t = recorded["feature_kernel"], recorded["t"] * (sampling == "full")

    def features(images: Tensor) -> Tensor:
        return F.conv2d((cropped_and_shrunk(images, crop=False) + 1) / 2, kernel, stride=2, padding=1).flatten(1)

    z = recorded["z01"].chunk(2)
    with torch.no_grad(), G.noise("const"):
        ends = path_ends(G, Stage(2), (z[0], z[1]), t, None, space=space, epsilon=eps)
        return path_distances(G, Stage(2), ends, features, eps), recorded


@pytest.mark.parametrize(("space", "sampling", "eps"), CONFIGS)
def test_distances_in_float64(space: str, sampling: str, eps: float):
    """To 1e-9 in float64, and so is the value made of them."""
    ours, recorded = measured(torch.float64, space, sampling, eps)
    name = f"{space}_{sampling}_eps{eps:g}"
    assert_close(ours, recorded.tensors[f"out64/{name}/dist"], 1e-9, name)
    value = torch.tensor(trimmed_mean(ours.numpy()), dtype=torch.float64)
    assert_close(value, recorded.tensors[f"out64/{name}/ppl"], 1e-9, name)


@pytest.mark.parametrize(("space", "sampling", "eps"), CONFIGS)
def test_distances_in_float32(space: str, sampling: str, eps: float):
    """To 2e-4 with a step of 1e-2; a step of 1e-4 leaves one percent."""
    ours, recorded = measured(torch.float32, space, sampling, eps)
    name = f"{space}_{sampling}_eps{eps:g}"
    assert_close(ours, recorded.tensors[f"out64/{name}/dist"], 2e-4 if eps == 1e-2 else 1e-2, name)


def test_slerp_as_recorded():
    _, recorded = recorded_generator(torch.float64)
    z0, z1 = recorded["z01"].chunk(2)
    ours = slerp(z0, z1, recorded["t"][:, None])
    assert_close(ours, recorded.tensors["out64/slerp_t"], 1e-12, "slerp")
    assert_close(slerp(z0, z1, torch.zeros(24, 1)), F.normalize(z0), 1e-12, "its beginning")
    assert_close(slerp(z0, z1, torch.ones(24, 1)), F.normalize(z1), 1e-12, "its end")


def test_slerp_of_a_latent_and_itself_stays():
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(slerp(z, z, torch.full((3, 1), 0.3)), F.normalize(z), atol=1e-3)


def test_percentiles_as_recorded():
    with np.load(GOLDEN / "08_ppl_percentile.npz") as file:
        assert json.loads(str(file["__meta__"]))["seed"] == 814
        assert trimmed_mean(file["dist"]) == pytest.approx(float(file["mean"]), rel=1e-12)


def test_percentiles_are_rounded_outwards_to_samples():
    """Of 0 to 199 with one outlier on either side: position 1.99 rounds down to the second, 197.01 up."""
    values = np.arange(200.0)
    values[[0, 199]] = -1e9, 1e9
    assert trimmed_mean(values[::-1].copy()) == pytest.approx(np.arange(1, 199).mean())
    assert trimmed_mean(np.array([3.0])) == 3.0


# --- what is compared ------------------------------------------------------------------------------------------------


def test_crop_keeps_rows_3_to_7_and_columns_2_to_6_eighths():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    seen = (cropped_and_shrunk(torch.stack([y, x])[None] / 127.5 - 1, crop=True)[0] + 1) * 127.5
    assert seen.shape == (2, 8, 8)
    assert seen[0, :, 0].round().tolist() == list(range(6, 14))
    assert seen[1, 0].round().tolist() == list(range(4, 12))


@pytest.mark.parametrize(
    ("side", "crop", "shrink", "expected"),
    [
        *((1024, True, "ada", 128), (1024, True, "tf", 256), (1024, False, "ada", 256), (1024, False, "tf", 256)),
        *((512, True, "ada", 128), (512, True, "tf", 256), (256, True, "ada", 128), (64, False, "tf", 64)),
    ],
)
def test_large_images_are_averaged(side: int, crop: bool, shrink: Any, expected: int):
    """The two published rules differ for cropped images only."""
    assert cropped_and_shrunk(torch.zeros(1, 1, side, side), crop, shrink).shape == (1, 1, expected, expected)


def test_averaging_is_by_boxes():
    images = torch.rand(1, 3, 1024, 512, dtype=torch.float64) * 2 - 1
    seen = cropped_and_shrunk(images, crop=False)
    assert seen.shape == (1, 3, 256, 128)
    assert seen[0, 1, 5, 7] == pytest.approx(float(images[0, 1, 20:24, 28:32].mean()))


# --- the probe -------------------------------------------------------------------------------------------------------


class _Line(Generator, name="_line"):
    """Image = a linear function of w, plus noise of known maps; w = 3 z. Its PPL has a closed form."""

    def __init__(self, labels: int = 0, channels: int = 3, size: int = 16):
        super().__init__()
        self.shape, self.labels, self.z_dim, self.num_ws = Shape(((8, 8), (size, size)), channels), labels, 4, 2
        draw = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(channels * size * size, 4, generator=draw) / 20)
        self.seen: list[Tensor] = []

    def styles(self, z: Tensor, label: Tensor | None = None, stage: Stage | None = None) -> Tensor:
        if label is not None:
            self.seen.append(label)
        return (3 * z)[:, None].expand(-1, 2, -1)

    def synthesize(self, ws: Tensor, stage: Stage | None = None) -> tuple[Tensor, ...]:
        return ((ws[:, 0] @ self.weight.T).unflatten(1, (self.shape.channels, *self.shape.size)),)


class _Pixels(Extractor, name="_pixels"):
    """The images themselves."""

    outputs: ClassVar[tuple[str, ...]] = ("lpips",)

    def forward(self, images: Tensor, outputs: Any) -> dict[str, Tensor]:
        self.prepare(outputs)
        return {"lpips": images.flatten(1)}


def labels(count: int, salt: int) -> Tensor:
    return torch.eye(5)[torch.arange(count) % 5]


def probed(G: Generator, extractor: Extractor, at: tuple[int, int] = (0, 1), **given: Any) -> PPL:
    metric = PPL(G.shape, 3, **{"num": 7, "extractor": lambda channels: extractor, "precision": "fp64", **given})
    metric.probe(ProbeContext(G, Stage(1), CPU, labels, extractor, *at, _silent))
    return metric


def value(metric: PPL) -> float:
    (only,) = metric.compute().values()
    return only


def _silent(what: str, done: int, total: int) -> None:
    assert what == "ppl"
    assert 0 < done <= total


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_a_linear_generator_has_a_closed_form(sampling: Any):
    """In w the image moves by eps (b - a) A: the distance is |(b - a) A|^2 wherever the step is taken."""
    G = _Line()
    got = probed(G, _Pixels(), sampling=sampling, num=50).found
    for i, distance in got.items():
        _, (a, b) = ppl.draw_pair(3, i, 4)
        expected = np.square(3 * (b - a) @ G.weight.detach().double().numpy().T).sum()
        assert distance == pytest.approx(expected, rel=1e-6)


def test_on_the_sphere_the_step_is_an_angle():
    """A step of eps along the great circle between a and b has length eps times their angle."""
    G = _Line(channels=1, size=16)
    G.weight.data = torch.eye(256, 4)
    for radius, factor in (("unit", 1.0), ("gaussian", 4.0)):
        for i, distance in probed(G, _Pixels(), space="z", sampling="full", radius=radius).found.items():
            _, (a, b) = ppl.draw_pair(3, i, 4)
            angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            assert distance == pytest.approx(factor * 9 * angle**2, rel=1e-6)


def test_batches_and_processes_change_nothing(monkeypatch: pytest.MonkeyPatch):
    G, _ = recorded_generator(torch.float32)
    whole = probed(G, ConvRandom(3))
    monkeypatch.setattr(ppl, "MOST", 2)
    assert value(probed(G, ConvRandom(3))) == pytest.approx(value(whole), rel=1e-7)
    merged = PPL(G.shape, 3, num=7)
    for rank in range(3):
        share = probed(G, ConvRandom(3), at=(rank, 3))
        assert sorted(share.found) == list(range(rank, 7, 3))
        merged.merge("fake", share.state("fake"))
        merged.merge("real", share.state("real"))
    assert value(merged) == pytest.approx(value(whole), rel=1e-7)


def test_noise_is_a_pairs_own_and_the_same_at_both_ends():
    """A strong noise, which would dominate 1 / eps^2 if it differed, changes the value by little."""
    G, _ = recorded_generator(torch.float32)
    one, two = probed(G, ConvRandom(3)).found, probed(G, ConvRandom(3), epsilon=1e-3).found
    assert max(one.values()) < 1e4
    assert [one[i] for i in one] == pytest.approx([two[i] for i in two], rel=0.05)


def test_precision():
    """float32 comes near float64, and the generator and network given are left in float32."""
    G, extractor = recorded_generator(torch.float32)[0], ConvRandom(3)
    exact = probed(G, extractor, epsilon=1e-2)
    rough = probed(G, extractor, epsilon=1e-2, precision="fp32")
    assert value(rough) == pytest.approx(value(exact), rel=1e-3)
    assert value(rough) != value(exact)
    assert next(G.parameters()).dtype == torch.float32
    assert extractor.get_buffer("dense").dtype == torch.float32


def test_both_ends_have_the_samples_label():
    G = _Line(labels=5)
    probed(G, _Pixels(), at=(1, 2), precision="fp32")  # float64 would ask a copy
    assert [label.argmax(dim=1).tolist() for label in G.seen] == [[1, 3, 0]] * 2  # samples 1, 3, 5; both latents


def test_published_names():
    fields = options(PPL).model_fields
    assert set(PPL.aliases) == {"ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend", "ppl2_wend"}
    assert all(set(given) <= set(fields) for given in PPL.aliases.values())
    assert {name for name, given in PPL.aliases.items() if given["crop"]} == set(PPL.aliases) - {"ppl2_wend"}
    defaults = {name: fields[name].default for name in ("space", "sampling", "crop", "epsilon", "num")}
    assert defaults == {"space": "w", "sampling": "end", "crop": False, "epsilon": 1e-4, "num": 50_000}


# --- sentences -------------------------------------------------------------------------------------------------------


def test_two_sets_of_images_have_no_path():
    with pytest.raises(DataError, match="give a checkpoint"):
        PPL(_Line().shape, 0).compute()


def test_images_that_are_not_finite():
    G = _Line()
    G.weight.data[0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        probed(G, _Pixels()).compute()


def test_a_network_without_the_output():
    class Blind(_Pixels, name="_blind"):
        outputs: ClassVar[tuple[str, ...]] = ("fc2",)

    with pytest.raises(RecipeError, match=r"no output 'lpips', which ppl compares; it has fc2"):
        PPL(_Line().shape, 0, extractor=Blind)
    with pytest.raises(RecipeError, match=r"no output 'lpips'. Choose one of fc2"):
        probed(_Line(), Blind())


def test_no_float64_on_mps():
    metric = PPL(_Line().shape, 0, precision="fp64")
    with pytest.raises(UsageError, match="fp64 is not possible on mps"):
        metric.probe(ProbeContext(_Line(), Stage(1), torch.device("mps"), labels, _Pixels(), progress=_silent))


def test_by_default_it_compares_lpips_of_vgg16():
    metric = PPL(_Line().shape, 0)
    assert (metric.extractor, metric.output) == (VGG16, "lpips")
    metric.found = {0: 1.0}
    assert metric.compute() == {"ppl": 1.0}


@pytest.mark.parametrize("make", [ConvRandom, partial(ConvRandom)])
def test_through_another_network_it_has_another_name(make: Any):
    metric = PPL(_Line().shape, 0, extractor=make)
    metric.found = {0: 1.0}
    assert metric.compute() == {"path_length/conv-random": 1.0}
    assert metric.primary == "path_length/conv-random"
