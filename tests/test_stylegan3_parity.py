"""StyleGAN3's networks against outputs recorded from NVlabs/stylegan3, and the published sizes of its networks.

In float64 to 1e-9 of the largest value, in float32 to what rounding allows.
"""

import copy
import math
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch
from torch import Tensor

from alias_free import NETWORKS, recorded_generator
from foreign import outputs_of
from ganzoo.errors import RecipeError
from ganzoo.gan.gan import Gan
from ganzoo.recipe.loading import load as load_recipe
from ganzoo_stylegan3.bands import Band, resample
from ganzoo_stylegan3.filters import attenuation, bessel_j1, kaiser_beta, low_pass, separable
from ganzoo_stylegan3.generator import AliasFreeSynthesis, filtered_lrelu, modulated_conv2d
from ganzoo_stylegan3.layer_table import Design, channels_at
from reference import assert_close, load

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
CONFIGS = pytest.mark.parametrize("config", NETWORKS)


# --- recorded outputs ------------------------------------------------------------------------------------------------


@PRECISIONS
@CONFIGS
def test_generator(config: str, dtype: torch.dtype) -> None:
    """Styles, every layer, images: plain, truncated, truncated in some layers, moved by the user."""
    G, recorded = recorded_generator(config, dtype)
    synthesis, names = G.synthesis, ["input", *recorded.meta["layer_names"]]
    with torch.no_grad():
        ws = G.styles(recorded["z"])
        recorded.check("ws", ws)
        assert ws.shape[1] == G.num_ws == recorded.meta["num_ws"] == 16
        with outputs_of(dict(zip(names, [synthesis.input, *synthesis.layers]))) as layers:
            recorded.check("image", G.synthesize(ws)[-1])
        for name in names:
            assert list(layers[name].shape) == recorded.meta["layer_output_shapes"][name]
            recorded.check(f"layer_rms/{name}", layers[name].square().mean().sqrt())
            if f"layer/{name}" in recorded:
                recorded.check(f"layer/{name}", layers[name][:1])
        recorded.check("ws_psi0.6", G.truncate(ws, 0.6))
        recorded.check("ws_psi0.6_cut", G.truncate(ws, 0.6, recorded.meta["truncation_cutoff"]))
        recorded.check("image_psi0.6", G.synthesize(G.truncate(ws, 0.6))[-1])
        synthesis.input.transform.copy_(recorded["user_transform"])
        moved = G.synthesize(ws)[-1]
        synthesis.input.transform.copy_(torch.eye(3))
        recorded.check("image_user_transform", moved)


@PRECISIONS
@CONFIGS
def test_moving_statistics_follow_the_discriminators_phase(config: str, dtype: torch.dtype) -> None:
    """The mean style and the mean squares of all layers' inputs; in the generator's phase none of them moves."""
    G, recorded = recorded_generator(config, dtype)
    G = copy.deepcopy(G).train()
    before = {name: buffer.clone() for name, buffer in G.named_buffers()}
    with torch.no_grad():
        G.set_phase("g")
        G(recorded["z"])
        assert all(torch.equal(buffer, before[name]) for name, buffer in G.named_buffers())
        G.set_phase("d")
        G(recorded["z"])
    recorded.check("w_avg_after_update", G.w_mean)
    for name, layer in zip(recorded.meta["layer_names"], G.synthesis.layers):
        recorded.check(f"magnitude_ema_after_update/{name}", layer.magnitude_ema)


def axis_band(taps: Tensor, up: int, down: int, padding: list[int], size: int, gain: float) -> Band:
    """The resampling of an axis: pad, filter by a true convolution, keep every down-th."""
    out = (size * up + sum(padding) - len(taps)) // down + 1
    return Band(tuple((taps * gain).tolist()), up, down, padding[0], size, out)


@pytest.mark.parametrize("case", load("11_sg3_ops").meta["filtered_lrelu_cases"], ids=lambda case: f"f{case['i']}")
def test_filtered_lrelu(case: dict[str, Any]) -> None:
    """Output and gradient, with filters of any kind and unequal padding."""
    recorded = load("11_sg3_ops")
    name, up, down, (left, right, top, bottom) = f"f{case['i']}", case["up"], case["down"], case["padding"]
    options = {"gain": math.sqrt(2), "slope": 0.2, "clamp": None} | case["kwargs"]
    fu, fd = (recorded[f"{name}/{f}"] if case[f] else torch.ones(1, dtype=torch.float64) for f in ("fu", "fd"))
    if not options.pop("flip_filter", False):
        fu, fd = fu.flip(0), fd.flip(list(range(fd.ndim)))
    x = recorded[f"{name}/x"].requires_grad_()
    gain = up * math.sqrt(options.pop("gain"))
    bands = tuple(
        axis_band(fu, up, 1, pad, size, gain) for pad, size in zip(([top, bottom], [left, right]), x.shape[2:])
    )
    halves = [
        tuple(axis_band(torch.from_numpy(f.copy()), 1, down, [0, 0], band.out, 1.0) for f, band in zip(pair, bands))
        for pair in separable(fd.numpy(), 1e-15)
    ]
    y = filtered_lrelu(x + recorded[f"{name}/b"][:, None, None], bands, halves, **options)
    recorded.check(f"{name}/y", y)
    direction = torch.arange(y.numel(), dtype=torch.float64).cos().reshape(y.shape)
    recorded.check(f"{name}/dx", torch.autograd.grad((y * direction).sum(), x)[0])


@pytest.mark.parametrize("case", load("11_sg3_ops").meta["modconv_cases"], ids=lambda case: f"m{case['i']}")
def test_modulated_convolution(case: dict[str, Any]) -> None:
    recorded = load("11_sg3_ops")
    name = f"m{case['i']}"
    gain = recorded[f"{name}/input_gain"] if f"in/{name}/input_gain" in recorded.tensors else None
    x, w, s = (recorded[f"{name}/{key}"] for key in "xws")
    y = modulated_conv2d(x, w, s, padding=case["padding"], demodulate=case["demodulate"], gain=gain)
    recorded.check(f"{name}/y", y)


def test_derivatives_to_the_second_order() -> None:
    """By finite differences: filters, leaky ReLU and limit; blocks of large matrices and their adjoints."""
    layer = Design(kernel=1, radial=True).table(32, [2] * 14, 3)[4]
    torch.manual_seed(0)
    x = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    up = Band(tuple(2 * f for f in layer.up_filter()), 2, 1, 4, 5, 14)
    down = [Band(band[0].taps, 1, 2, 0, 14, 2) for band in layer.down_bands(1e-12)]

    def function(x: Tensor) -> Tensor:
        return filtered_lrelu(x * 3, (up, up), [(band, band) for band in down], clamp=0.8)

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize(("up", "down"), [(4, 1), (1, 2)])
def test_blocks_and_adjoint_of_a_large_matrix(up: int, down: int) -> None:
    """The blocks of a matrix against a filter that is applied in one piece, and their adjoint against its meaning."""
    taps = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    long = Band(tuple(taps.tolist()), up, down, -3, 300, (300 * up - 3 - 12) // down + 1)
    single = Band((1.0,), 1, 1, 0, 2, 2)
    x = torch.randn(2, 3, 300, 2, dtype=torch.float64)
    y = resample(x, (long, single))
    spread = torch.zeros(2, 3, 300 * up, 2, dtype=torch.float64)
    spread[:, :, ::up] = x
    expected = torch.nn.functional.conv2d(spread[:, :, 3:], taps.expand(3, 1, 1, -1).mT, stride=(down, 1), groups=3)
    assert_close(y, expected, 1e-12, "blocks")
    g = torch.randn_like(y)
    assert torch.allclose((y * g).sum(), (x * resample(g, (long, single), True)).sum(), rtol=1e-12)


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(5))
def test_designed_filters(index: int) -> None:
    """Recorded ones, to the last bit of float32; separable ones against scipy's design too."""
    recorded = load("11_sg3_ops")
    design = recorded.meta["designs"][index]
    ours = low_pass(design["numtaps"], design["cutoff"], design["width"], design["fs"], design["radial"])
    assert torch.equal(torch.from_numpy(ours).float(), recorded.tensors[f"out/design{index}"])
    if not design["radial"]:
        theirs = scipy.signal.firwin(**{k: v for k, v in design.items() if k != "radial"})
        assert np.array_equal(ours.astype(np.float32), theirs.astype(np.float32))


def test_a_filters_numbers() -> None:
    """Those of the layers of 16 samples a side, and the parts of a radial filter."""
    assert attenuation(12, 12, 32) == pytest.approx(67.17295, abs=1e-5)
    assert kaiser_beta(67.17295) == pytest.approx(6.443719, abs=1e-6)
    half = [0.0007919, 0.01001832, 0.03894952, 0.09241279, 0.15652562, 0.20130185]
    assert low_pass(12, 2.0, 12.0, 32).tolist() == pytest.approx(half + half[::-1], abs=1e-8)
    x = np.linspace(0.01, 40, 500)
    assert np.abs(bessel_j1(x) - scipy.special.j1(x)).max() < 1e-14
    radial = low_pass(12, 5.3, 6.1, 32, True)
    assert np.allclose(radial, np.rot90(radial), atol=1e-8)
    parts = separable(radial, 1e-7)
    assert len(parts) <= 5
    assert np.abs(sum(np.outer(*pair) for pair in parts) - radial).max() < 2e-7 * radial.max()


# --- sizes -----------------------------------------------------------------------------------------------------------

SIZES = {  # image size: size of each layer's maps, before the image
    32: [36] * 5 + [52] * 8 + [32],
    64: [36] * 4 + [52] * 4 + [84] * 5 + [64],
    128: [36] * 3 + [52] * 3 + [84] * 3 + [148] * 4 + [128],
    256: [36] * 3 + [52] * 2 + [84] * 2 + [148] * 3 + [276] * 3 + [256],
    512: [36] * 2 + [52] * 2 + [84] * 2 + [148] * 2 + [276] * 2 + [532] * 3 + [512],
    1024: [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024],
}
CHANNELS = {  # of T
    32: [512] * 14,
    64: [512] * 14,
    128: [512] * 10 + [456, 342, 256, 256],
    256: [512] * 9 + [362, 256, 181, 128, 128],
    512: [512] * 7 + [483, 323, 215, 144, 96, 64, 64],
    1024: [512] * 7 + [323, 203, 128, 81, 51, 32, 32],
}
CHANNELS_R_1024 = [1024] * 7 + [645, 406, 256, 161, 102, 64, 64]
PADDING = {"T": {"same": (9, 8), "double": (-6, -9), "last": (-11, -12)}}
PADDING["R"] = {"same": (11, 10), "double": (-2, -5), "last": (-9, -10)}
PARAMETERS = {  # image size: T and R, then both with half of the channels in fine layers
    32: (37_768_199, 24_153_095, 37_768_199, 24_153_095),
    64: (37_768_199, 24_153_095, 32_300_555, 21_076_940),
    128: (32_833_523, 21_366_701, 27_034_685, 18_019_940),
    256: (28_472_133, 18_816_387, 23_320_443, 15_779_565),
    512: (24_873_519, 16_665_594, 20_418_155, 14_008_547),
    1024: (22_313_167, 15_093_151, 18_144_449, 12_616_713),
}


@pytest.mark.parametrize("size", SIZES)
def test_layer_table(size: int) -> None:
    """Sizes, channels, factors, taps and padding of each layer, of both configurations."""
    plan = [((4 << level, 4 << level), min(32768 // (4 << level), 512)) for level in range(size.bit_length() - 2)]
    for config, kernel in (("T", 3), ("R", 1)):
        design = Design(kernel=kernel, radial=config == "R")
        channels = channels_at(plan, [signal.cutoff for signal in design.signals(size)[:-1]])
        table = design.table(size, channels, 3)
        assert [spec.target.size for spec in table] == [*SIZES[size], size]
        assert channels == CHANNELS[size]
        for i, spec in enumerate(table[:14]):
            doubled = spec.target.rate == 2 * spec.source.rate
            assert (spec.up, spec.down, spec.taps(spec.up), spec.taps(spec.down)) == (
                (4, 2, 24, 12) if doubled else (2, 2, 12, 12)
            )
            assert spec.padding == PADDING[config]["last" if i == 13 else "double" if doubled else "same"]
            assert (low_pass(12, 5, 5, 32, spec.radial).ndim == 2) == (config == "R" and i < 12)
        image = table[14]
        assert (image.up, image.down, image.taps(1), image.padding, image.kernel) == (1, 1, 1, (0, 0), 1)


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters(size: int) -> None:
    """Of the shipped recipes, changed to other sizes and widths where there is none; no memory is needed."""
    counts = []
    for base in (32768, 16384):
        for config, factor in (("t", 1), ("r", 2)):
            shipped = f"stylegan3-{config}-{size}" if size >= 128 else f"stylegan3-{config}-1024"
            changes = [f"image.size={size}", f"generator.channel_base={base * factor}"]
            with torch.device("meta"):
                gan: Gan = load_recipe(shipped, changes).bind()()
            counts.append(sum(p.numel() for p in gan.G.parameters()))
            channels = [layer.weight.shape[0] for layer in gan.G.synthesis.layers][:-1]
            assert (size, config, base) != (1024, "r", 32768) or channels == CHANNELS_R_1024
    assert tuple(counts) == PARAMETERS[size]


def test_channels_of_other_plans() -> None:
    """Interpolated between sizes, those of a size exactly; one level alone; a rule whose corner lies between sizes."""
    plan = [((4, 4), 40), ((8, 8), 30), ((16, 16), 50)]
    assert channels_at(plan, [1.0, 2.0, 4.0, 4 * math.sqrt(2), 8.0]) == [40, 40, 30, 39, 50]
    assert channels_at([((4, 4), 7)], [2.0, 2.0]) == [7, 7]
    ours = channels_at([((4 << i, 4 << i), min(512 // (4 << i), 24)) for i in range(4)], [8.0, 11.0, 16.0])
    assert ours == [24, round(256 / 11), 16]


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((48, 32), {}, "image.size"),
        ((24, 24), {}, "not 24x24"),
        ((16, 16), {"channels": (4, 4)}, "names 2 layers of 14"),
        ((16, 16), {"critical": 14}, "14 of 14"),
    ],
)
def test_what_cannot_be_built_is_refused(size: tuple[int, int], options: dict[str, Any], words: str) -> None:
    plan = [((size[0] // 2, size[1] // 2), 4), (size, 4)]
    with pytest.raises(RecipeError, match=words):
        AliasFreeSynthesis(plan, 8, 3, **options)
