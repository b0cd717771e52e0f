"""The networks that metrics look through: their graphs layer by layer, their resizes, and where weights come from.

The published weights are not at hand here, so the graphs are compared with a description of their own, and run with
random weights.
"""

import hashlib
import math
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, DataError, RecipeError
from ganzoo.nn import fixed, vgg
from ganzoo.nn.vgg import VGG, lpips_vector
from ganzoo.weights import Published
from ganzoo_metrics import inception
from ganzoo_metrics.conv_random import ConvRandom
from ganzoo_metrics.inception import Inception, InceptionGraph, mean_pool, tf1_bilinear
from ganzoo_metrics.vgg import VGG16, DenseVGG

# --- Inception: the description --------------------------------------------------------------------------------------

# block: {layer: (inputs, outputs, kernel, stride, padding)}; kernels are (height, width)
STEM = {
    "Conv2d_1a_3x3": (3, 32, (3, 3), 2, (0, 0)),
    "Conv2d_2a_3x3": (32, 32, (3, 3), 1, (0, 0)),
    "Conv2d_2b_3x3": (32, 64, (3, 3), 1, (1, 1)),
    "Conv2d_3b_1x1": (64, 80, (1, 1), 1, (0, 0)),
    "Conv2d_4a_3x3": (80, 192, (3, 3), 1, (0, 0)),
}


def block_a(inputs: int, pooled: int) -> dict[str, Any]:
    return {
        "branch1x1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch5x5_1": (inputs, 48, (1, 1), 1, (0, 0)),
        "branch5x5_2": (48, 64, (5, 5), 1, (2, 2)),
        "branch3x3dbl_1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (64, 96, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3": (96, 96, (3, 3), 1, (1, 1)),
        "branch_pool": (inputs, pooled, (1, 1), 1, (0, 0)),
    }


def block_b(inputs: int) -> dict[str, Any]:
    return {
        "branch3x3": (inputs, 384, (3, 3), 2, (0, 0)),
        "branch3x3dbl_1": (inputs, 64, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (64, 96, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3": (96, 96, (3, 3), 2, (0, 0)),
    }


def block_c(c7: int) -> dict[str, Any]:
    row, column = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
    return {
        "branch1x1": (768, 192, (1, 1), 1, (0, 0)),
        "branch7x7_1": (768, c7, (1, 1), 1, (0, 0)),
        "branch7x7_2": (c7, c7, *row),
        "branch7x7_3": (c7, 192, *column),
        "branch7x7dbl_1": (768, c7, (1, 1), 1, (0, 0)),
        "branch7x7dbl_2": (c7, c7, *column),
        "branch7x7dbl_3": (c7, c7, *row),
        "branch7x7dbl_4": (c7, c7, *column),
        "branch7x7dbl_5": (c7, 192, *row),
        "branch_pool": (768, 192, (1, 1), 1, (0, 0)),
    }


def block_d() -> dict[str, Any]:
    return {
        "branch3x3_1": (768, 192, (1, 1), 1, (0, 0)),
        "branch3x3_2": (192, 320, (3, 3), 2, (0, 0)),
        "branch7x7x3_1": (768, 192, (1, 1), 1, (0, 0)),
        "branch7x7x3_2": (192, 192, (1, 7), 1, (0, 3)),
        "branch7x7x3_3": (192, 192, (7, 1), 1, (3, 0)),
        "branch7x7x3_4": (192, 192, (3, 3), 2, (0, 0)),
    }


def block_e(inputs: int) -> dict[str, Any]:
    row, column = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
    return {
        "branch1x1": (inputs, 320, (1, 1), 1, (0, 0)),
        "branch3x3_1": (inputs, 384, (1, 1), 1, (0, 0)),
        "branch3x3_2a": (384, 384, *row),
        "branch3x3_2b": (384, 384, *column),
        "branch3x3dbl_1": (inputs, 448, (1, 1), 1, (0, 0)),
        "branch3x3dbl_2": (448, 384, (3, 3), 1, (1, 1)),
        "branch3x3dbl_3a": (384, 384, *row),
        "branch3x3dbl_3b": (384, 384, *column),
        "branch_pool": (inputs, 192, (1, 1), 1, (0, 0)),
    }


BLOCKS = {
    "Mixed_5b": block_a(192, 32),
    "Mixed_5c": block_a(256, 64),
    "Mixed_5d": block_a(288, 64),
    "Mixed_6a": block_b(288),
    **{name: block_c(c7) for name, c7 in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192))},
    "Mixed_7a": block_d(),
    "Mixed_7b": block_e(1280),
    "Mixed_7c": block_e(2048),
}
LAYERS = {**STEM, **{f"{block}.{name}": layer for block, layers in BLOCKS.items() for name, layer in layers.items()}}
# what each stage gives for an image of 299x299: channels and side
STAGES = {
    **{"Conv2d_1a_3x3": (32, 149), "Conv2d_2a_3x3": (32, 147), "Conv2d_2b_3x3": (64, 147)},
    **{"Conv2d_3b_1x1": (80, 73), "Conv2d_4a_3x3": (192, 71)},
    **{"Mixed_5b": (256, 35), "Mixed_5c": (288, 35), "Mixed_5d": (288, 35)},
    **{"Mixed_6a": (768, 17), "Mixed_6b": (768, 17), "Mixed_6c": (768, 17), "Mixed_6d": (768, 17)},
    **{"Mixed_6e": (768, 17), "Mixed_7a": (1280, 8), "Mixed_7b": (2048, 8), "Mixed_7c": (2048, 8)},
}


def meta(make: Any) -> nn.Module:
    with torch.device("meta"):
        return make()


def test_inception_has_these_layers_and_no_others():
    found = {}
    for name, module in meta(InceptionGraph).named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            assert module.dilation == (1, 1)
            assert module.groups == 1
            stride = module.stride[0]
            assert module.stride == (stride, stride)
            shape = (module.in_channels, module.out_channels, module.kernel_size, stride, module.padding)
            found[name.removesuffix(".conv")] = shape
    assert found == LAYERS
    assert len(found) == 94


def described_state() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published state dict."""
    state: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (inputs, outputs, kernel, *_) in LAYERS.items():
        state[f"{name}.conv.weight"] = (outputs, inputs, *kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.bn.{part}"] = (outputs,)
    return state


def test_inceptions_state_and_its_number_of_parameters():
    net = meta(InceptionGraph)
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == described_state()
    parameters = sum(math.prod(s) for n, s in described_state().items() if "running" not in n)
    # 21,785,568 of the convolutions and norms, as other ports of the same network count them, and 1008 classes
    assert parameters == sum(p.numel() for p in net.parameters()) == 21_785_568 + 1008 * 2049 == 23_850_960


def test_inceptions_stages():
    net, found = meta(InceptionGraph), {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda m, args, out, name=name: found.__setitem__(name, tuple(out.shape)))
    assert net(torch.empty(2, 3, 299, 299, device="meta")).shape == (2, 2048)
    assert found == {name: (2, channels, side, side) for name, (channels, side) in STAGES.items()}


# --- Inception: run against an implementation that follows the description -------------------------------------------


@cache
def random_inception() -> dict[str, Tensor]:
    """Random weights under the published names, such that activations neither vanish nor explode."""
    draw, state = torch.Generator().manual_seed(0), {}
    for name, shape in described_state().items():
        if name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(shape, generator=draw) + 0.5
        elif len(shape) > 1:
            state[name] = torch.randn(shape, generator=draw) * math.sqrt(2 / math.prod(shape[1:]))
        else:
            state[name] = torch.randn(shape, generator=draw) * 0.1
    return state


def reference_conv(x: Tensor, name: str, state: dict[str, Tensor]) -> Tensor:
    _, _, _, stride, padding = LAYERS[name]
    x = F.conv2d(x, state[f"{name}.conv.weight"].double(), stride=stride, padding=padding)
    weight, bias, mean, var = (
        state[f"{name}.bn.{part}"].double()[:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return ((x - mean) / (var + 0.001).sqrt() * weight + bias).clamp(min=0)


def reference_mean(x: Tensor) -> Tensor:
    """Sum over 3x3 divided by the number of samples inside the map."""
    ones = torch.ones_like(x)
    total, count = (F.avg_pool2d(F.pad(v, (1, 1, 1, 1)), 3, stride=1) for v in (x, ones))
    return total / count


# block kind: branches in their order in the result; a branch is a chain of layers, "mean", "max" or "max/2"
KINDS: dict[str, list[list[str]]] = {
    "5": [["1x1"], ["5x5_1", "5x5_2"], ["3x3dbl_1", "3x3dbl_2", "3x3dbl_3"], ["mean", "_pool"]],
    "6a": [["3x3"], ["3x3dbl_1", "3x3dbl_2", "3x3dbl_3"], ["max/2"]],
    "6": [["1x1"], ["7x7_1", "7x7_2", "7x7_3"], [f"7x7dbl_{i}" for i in range(1, 6)], ["mean", "_pool"]],
    "7a": [["3x3_1", "3x3_2"], [f"7x7x3_{i}" for i in range(1, 5)], ["max/2"]],
    "7": [
        ["1x1"],
        *(["3x3_1", "3x3_2a"], ["3x3_1", "3x3_2b"]),
        *(["3x3dbl_1", "3x3dbl_2", "3x3dbl_3a"], ["3x3dbl_1", "3x3dbl_2", "3x3dbl_3b"]),
        ["pool", "_pool"],
    ],
}


def reference_block(x: Tensor, block: str, state: dict[str, Tensor]) -> Tensor:
    kind, parts = block.removeprefix("Mixed_"), []
    for chain in KINDS.get(kind, KINDS[kind[0]]):
        y = x
        for step in chain:
            step = step if step != "pool" else {"7b": "mean", "7c": "max"}[kind]
            if step == "mean":
                y = reference_mean(y)
            elif step == "max":
                y = F.max_pool2d(F.pad(y, (1, 1, 1, 1), value=-torch.inf), 3, stride=1)
            elif step == "max/2":
                y = F.max_pool2d(y, 3, stride=2)
            else:
                y = reference_conv(y, f"{block}.branch{step}", state)
        parts.append(y)
    return torch.cat(parts, dim=1)


def reference_inception(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    for name in STEM:
        if name in ("Conv2d_3b_1x1",):
            x = F.max_pool2d(x, 3, stride=2)
        x = reference_conv(x, name, state)
    x = F.max_pool2d(x, 3, stride=2)
    for block in BLOCKS:
        x = reference_block(x, block, state)
    return x.mean(dim=(2, 3))


@cache
def inception_file(folder: Path) -> Path:
    path = folder / "weights" / "inception.safetensors"
    path.parent.mkdir(parents=True)
    save_file(random_inception(), path)
    return path


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory that holds random weights for Inception."""
    folder = tmp_path_factory.mktemp("cache")
    inception_file(folder)
    return folder


@pytest.fixture
def looking(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Inception:
    monkeypatch.setenv("GZ_CACHE", str(stocked))
    return Inception(3)


def test_inception_computes_what_is_described(looking: Inception):
    """Random weights, two images that are no squares, float64: resize, range, every branch and its place, classes."""
    images = torch.randint(0, 256, (2, 3, 40, 64), generator=torch.Generator().manual_seed(3))
    got = looking.double()(images.double())
    resized = slow_bilinear(images.flatten(0, 1).double(), 299, 299).unflatten(0, (2, 3))
    pool = reference_inception((resized - 128) / 128, random_inception())
    assert float(pool.std()) > 0.01
    assert torch.allclose(got["pool"], pool, rtol=1e-9, atol=1e-9)
    weight, bias = (random_inception()[f"fc.{part}"].double() for part in ("weight", "bias"))
    assert torch.allclose(got["logits_unbiased"], pool @ weight.T, atol=1e-9)
    assert torch.allclose(got["logits"], pool @ weight.T + bias, atol=1e-9)


def test_mean_pool_leaves_the_padding_out():
    """Of ones it is one everywhere; with the padding counted, corners would be 4/9 and edges 6/9."""
    assert torch.equal(mean_pool(torch.ones(1, 2, 5, 7)), torch.ones(1, 2, 5, 7))
    ramp = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert mean_pool(ramp)[0, 0].tolist() == [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]


# --- TensorFlow 1's resize -------------------------------------------------------------------------------------------


def slow_bilinear(image: Tensor, height: int, width: int) -> Tensor:
    """[C, H, W] float64, pixel by pixel."""
    pixels = image.numpy()
    c, h, w = pixels.shape
    out = np.empty((c, height, width))
    for i in range(height):
        y = i * (h / height)
        top, bottom = math.floor(y), min(math.floor(y) + 1, h - 1)
        for j in range(width):
            x = j * (w / width)
            left, right = math.floor(x), min(math.floor(x) + 1, w - 1)
            upper = pixels[:, top, left] * (1 - (x - left)) + pixels[:, top, right] * (x - left)
            lower = pixels[:, bottom, left] * (1 - (x - left)) + pixels[:, bottom, right] * (x - left)
            out[:, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return torch.from_numpy(out)


@pytest.mark.parametrize(
    ("size", "new"), [((5, 7), (11, 13)), ((32, 32), (29, 31)), ((9, 4), (9, 8)), ((1, 1), (3, 2))]
)
def test_resize_against_a_loop(size: tuple[int, int], new: tuple[int, int]):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    slow = torch.stack([slow_bilinear(each, *new) for each in image])
    assert torch.allclose(tf1_bilinear(image, new), slow, atol=1e-10)
    assert torch.allclose(tf1_bilinear(image.float(), new).double(), slow, atol=1e-3)


def test_resize_is_neither_of_torchs():
    """Doubling 0, 1, 2: no half-pixel shift, corners not aligned, the last sample repeated."""
    ramp = torch.arange(3.0).expand(1, 1, 3, 3)
    assert tf1_bilinear(ramp, (3, 6))[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2]
    assert not torch.equal(tf1_bilinear(ramp, (6, 6)), F.interpolate(ramp, (6, 6), mode="bilinear"))
    assert not torch.equal(tf1_bilinear(ramp, (6, 6)), F.interpolate(ramp, (6, 6), mode="bilinear", align_corners=True))


def test_resize_to_the_same_size_changes_nothing():
    image = torch.rand(1, 3, 299, 299)
    assert tf1_bilinear(image, (299, 299)) is image


# --- VGG -------------------------------------------------------------------------------------------------------------

VGG_CONVS = {
    **{0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)},
    **{17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}
VGG_POOLS = (4, 9, 16, 23, 30)


def vgg_state(dense: bool) -> dict[str, tuple[int, ...]]:
    state: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in VGG_CONVS.items():
        state |= {f"features.{i}.weight": (outputs, inputs, 3, 3), f"features.{i}.bias": (outputs,)}
    if dense:
        state |= {"classifier.0.weight": (4096, 25088), "classifier.0.bias": (4096,)}
        state |= {"classifier.3.weight": (4096, 4096), "classifier.3.bias": (4096,)}
    return state


def test_vggs_layers_and_its_number_of_parameters():
    net = meta(DenseVGG)
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == vgg_state(dense=True)
    for i, layer in enumerate(net.features):
        if i in VGG_CONVS:
            assert (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
        elif i in VGG_POOLS:
            assert (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0)
        else:
            assert isinstance(layer, nn.ReLU)
    fc8 = 4096 * 1000 + 1000  # the published file has it; no metric needs it
    assert sum(p.numel() for p in net.parameters()) + fc8 == 138_357_544


def test_vggs_stages():
    net = meta(DenseVGG)
    x = torch.empty(2, 3, 224, 224, device="meta")
    shapes = [tuple(m.shape[1:]) for m in net(x, vgg.LPIPS_TAPS).values()]
    assert shapes == [(64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14)]
    assert net.features(x).shape == (2, 512, 7, 7)
    assert net.dense(x).shape == (2, 4096)


@cache
def random_vgg(dense: bool = False) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in vgg_state(dense).items():
        scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        state[name] = torch.randn(shape, generator=draw) * scale
    return state


def linear(prefix: str = "lin{}.model.1.weight") -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(2)
    widths = (64, 128, 256, 512, 512)
    return {prefix.format(i): torch.rand(1, width, 1, 1, generator=draw) for i, width in enumerate(widths)}


def torch_file(path: Path, state: dict[str, Tensor], old: bool = True) -> Path:
    """As torch.save writes it, in the format of the published files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=not old)
    return path


# --- VGG by its layers' names ----------------------------------------------------------------------------------------

VGG19_CONVS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
VGG19_NAMES = [f"conv{b}_{i}" for b, n in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 4)) for i in range(1, n + 1)]


def reference_vgg(x: Tensor, net: VGG, taps: list[str], reflect: bool, average: bool) -> dict[str, Tensor]:
    """VGG-19 by hand: pads, convolves without padding, clamps, pools."""
    state, found = net.state_dict(), {}
    for i, name in list(zip(VGG19_CONVS, VGG19_NAMES))[: len(state) // 2]:
        if name.endswith("_1") and name != "conv1_1":
            x = F.avg_pool2d(x, 2) if average else F.max_pool2d(x, 2)
            found[f"pool{int(name[4]) - 1}"] = x
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect") if reflect else F.pad(x, (1, 1, 1, 1))
        found[name] = F.conv2d(padded, state[f"features.{i}.weight"], state[f"features.{i}.bias"])
        found[name.replace("conv", "relu")] = x = found[name].clamp(min=0)
    return {tap: found[tap] for tap in taps}


@pytest.mark.parametrize(("padding", "pool"), [("zeros", "max"), ("reflect", "average")])
def test_vgg19_layer_by_layer(padding: Any, pool: Any):
    """Of each tap what the paper calls so, in the order asked for: a convolution's output is not its ReLU's."""
    torch.manual_seed(0)
    net, x = VGG(19, last="relu4_1", padding=padding, pool=pool).double(), torch.randn(1, 3, 24, 20).double()
    for taps in (["relu4_1", "conv1_1", "relu1_1", "pool2", "conv4_1"], ["relu2_1", "conv3_4"], []):
        found = net(x, taps)
        expected = reference_vgg(x, net, taps, padding == "reflect", pool == "average")
        assert list(found) == taps
        assert all(torch.allclose(found[tap], expected[tap], atol=1e-12) for tap in taps)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(net(x, ["conv1_1", "relu2_1"]).values()), x, fast_mode=True)


def test_vggs_sizes():
    """arXiv:1409.1556, table 2, less the dense layers; AdaIN's encoder is 3,505,740 with a 1x1 convolution in front."""
    count = {d: sum(p.numel() for p in meta(lambda d=d: VGG(d)).parameters()) for d in (16, 19)}
    dense = 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert count == {16: 138_357_544 - dense, 19: 143_667_240 - dense}
    assert sum(p.numel() for p in meta(lambda: VGG(19, last="relu4_1")).parameters()) == 3_505_740 - (3 * 3 + 3)


def test_vgg_computes_no_further_than_asked():
    net, ran = VGG(16), []
    for i, module in enumerate(net.features):
        module.register_forward_hook(lambda m, args, out, i=i: ran.append(i))
    net(torch.zeros(1, 3, 4, 4), ["conv2_1"])
    assert max(ran) == 5
    with pytest.raises(DataError, match="VGG-16 needs images of 4x4 pixels at least: 3x4 is too small"):
        net(torch.zeros(1, 3, 4, 3), ["relu3_1"])
    with pytest.raises(RecipeError, match=r"VGG-16 has no layer 'relu3_4' here\. Choose one of conv1_1, relu1_1"):
        net(torch.zeros(1, 3, 4, 4), ["relu3_4"])
    with pytest.raises(RecipeError, match="VGG-16 has no layer 'relu6'"):
        VGG(16, last="relu6")


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("tap", ["conv1_1", "pool1", "relu2_2", "pool3", "relu4_1"])
def test_the_least_size_is_the_least(padding: Any, tap: str):
    """One pixel less than is asked for, and torch itself would refuse."""
    net = VGG(19, last="relu4_1", padding=padding)
    side = net.least([tap])
    assert net(torch.zeros(1, 3, side, side), [tap])[tap].numel()
    net.least = lambda taps: 0  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 3, side - 1, side), [tap])


def test_vgg_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The whole published file suits a network that ends early; it is frozen; sentences say what needs it."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    state = random_vgg() | {"classifier.0.weight": torch.zeros(2), "classifier.6.bias": torch.zeros(2)}
    path = torch_file(tmp_path / "any.pth", state)
    net = vgg.load(16, path, noun="style transfer", name="gatys", last="relu2_1", padding="reflect", pool="average")
    assert list(net.state_dict()) == [f"features.{i}.{p}" for i in (0, 2, 5) for p in ("weight", "bias")]
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(
        CheckpointError, match=r"the style transfer 'gatys' needs weights .* style transfer's option 'w"
    ):
        vgg.load(19, noun="style transfer", name="gatys")
    with pytest.raises(CheckpointError, match=r"has an unknown features\.17\..* 'gatys' takes vgg19-dcbb9e9d\.pth"):
        vgg.load(19, path, noun="style transfer", name="gatys", last="relu3_4")


def test_imagenets_mean_and_deviation():
    """Those of torchvision's weights, for images in [0, 1], to the three digits in which LPIPS writes them."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x = torch.rand(2, 3, 5, 4) * 2 - 1
    assert torch.allclose(vgg.imagenet(x), (x / 2 + 0.5 - mean) / std, atol=1e-5)


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    fc8 = {"classifier.6.weight": torch.zeros(1000, 2), "classifier.6.bias": torch.zeros(1000)}
    others = {"classifier.0.weight": torch.zeros(3), **fc8}  # which LPIPS does not need
    return torch_file(folder / "vgg.pth", random_vgg() | others), torch_file(folder / "lpips.pth", linear())


def reference_lpips(a: Tensor, b: Tensor) -> Tensor:
    """Distance of images [N, 3, H, W] in 0 to 255, as LPIPS's paper and its published code define it, float64."""
    maps = []
    for x in (a, b):
        x = x / 255 * 2 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (x - shift.double()[:, None, None]) / scale.double()[:, None, None]
        found = []
        for i in range(30):
            if i in VGG_CONVS:
                weight, bias = (random_vgg()[f"features.{i}.{part}"].double() for part in ("weight", "bias"))
                x = F.conv2d(x, weight, bias, padding=1)
            elif i in VGG_POOLS:
                x = F.max_pool2d(x, 2)
            else:
                x = x.clamp(min=0)
            if i in (3, 8, 15, 22, 29):
                found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        maps.append(found)
    weights = [t.double() for t in linear().values()]
    return sum(((p - q).square() * w).sum(dim=1).mean(dim=(1, 2)) for p, q, w in zip(*maps, weights))


def test_squared_distance_is_lpips(lpips_files: tuple[Path, Path]):
    weights, lins = lpips_files
    eye = VGG16(3, output="lpips", weights=weights, lpips=lins).double()
    a, b = torch.rand(2, 2, 3, 24, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    found = eye(torch.cat([a, b]))
    assert list(found) == ["lpips"]
    one, two = found["lpips"].chunk(2)
    assert torch.allclose((one - two).square().sum(dim=1), reference_lpips(a, b), rtol=1e-6)
    assert float((one - one).abs().max()) == 0


def test_lpips_can_be_differentiated(lpips_files: tuple[Path, Path]):
    """Projection descends it; a black image has vectors of length 0."""
    eye = VGG16(3, output="lpips", weights=lpips_files[0], lpips=lpips_files[1])
    image = torch.zeros(1, 3, 16, 16, requires_grad=True)
    eye(image)["lpips"].square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert lpips_vector([torch.zeros(1, 2, 1, 1)], [torch.ones(2)]).tolist() == [[0, 0]]


def test_linear_weights_may_lie_in_the_same_file(lpips_files: tuple[Path, Path], tmp_path: Path):
    both = tmp_path / "both.safetensors"
    save_file(random_vgg() | {k: t.flatten() for k, t in linear("lin{}").items()}, both)
    images = torch.rand(1, 3, 16, 16) * 255
    apart = VGG16(3, output="lpips", weights=lpips_files[0], lpips=lpips_files[1])
    together = VGG16(3, output="lpips", weights=both)
    assert torch.equal(together(images)["lpips"], apart(images)["lpips"])
    assert together.fingerprint == apart.fingerprint


@pytest.mark.parametrize(
    ("lins", "sentence"),
    [
        ({}, "does not hold LPIPS's five weight vectors"),
        ({k: t for k, t in linear().items() if "lin3" not in k}, "does not hold LPIPS's five weight vectors"),
        (
            {**linear(), "lin0.model.1.weight": torch.ones(1, 32, 1, 1)},
            "lin0 to lin4 of 64, 128, 256, 512, 512 channels",
        ),
        ({**linear(), "lin2.model.1.weight": -torch.ones(1, 256, 1, 1)}, "are not negative, and some of these are"),
    ],
)
def test_wrong_linear_weights(lins: dict[str, Tensor], sentence: str, lpips_files: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(CheckpointError, match=sentence):
        VGG16(3, output="lpips", weights=lpips_files[0], lpips=torch_file(tmp_path / "lins.pth", lins))


def test_images_too_small_for_vgg(lpips_files: tuple[Path, Path]):
    eye = VGG16(3, output="lpips", weights=lpips_files[0], lpips=lpips_files[1])
    with pytest.raises(DataError, match="20x12 is too small"):
        eye(torch.zeros(1, 3, 12, 20))


@pytest.mark.slow
def test_fc2_of_vgg(tmp_path: Path):
    """The published layout with its fc8, torch's own resizes, both dense layers with their ReLUs."""
    state = random_vgg(dense=True)
    fc8 = {"classifier.6.weight": torch.zeros(1000, 4096), "classifier.6.bias": torch.zeros(1000)}
    path = torch_file(tmp_path / "all.pth", state | fc8, old=False)
    images = torch.randint(0, 256, (2, 3, 48, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    prints = set()
    for resize, antialias in (("bilinear", False), ("antialias", True), ("pool", None)):
        eye = VGG16(3, weights=path, resize=resize)
        prints.add(eye.fingerprint)
        x = images.float()
        if antialias is not None:
            x = F.interpolate(x, (224, 224), mode="bilinear", antialias=antialias)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (x / 255 - mean[:, None, None]) / std[:, None, None]
        for i in range(31):
            if i in VGG_CONVS:
                x = F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)
            else:
                x = F.max_pool2d(x, 2) if i in VGG_POOLS else x.relu()
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        for i in (0, 3):
            x = F.linear(x, state[f"classifier.{i}.weight"], state[f"classifier.{i}.bias"]).relu()
        assert torch.allclose(eye(images)["fc2"], x, atol=1e-3 * float(x.abs().max()))
    assert len(prints) == 3  # another resize is another extractor


# --- conv-random -----------------------------------------------------------------------------------------------------

MASK = 2**64 - 1


def philox(key: int, counter: int) -> list[int]:
    """Philox4x64-10 (Salmon et al., 2011): four 64-bit numbers of a counter, in plain integers."""
    c, k = [counter & MASK, counter >> 64, 0, 0], [key & MASK, key >> 64]
    for _ in range(10):
        high, low = divmod(c[0] * 0xD2E7470EE14C6C93, 2**64)
        high2, low2 = divmod(c[2] * 0xCA5A826395121157, 2**64)
        c = [high2 ^ c[1] ^ k[0], low2, high ^ c[3] ^ k[1], low]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def test_conv_randoms_weights_are_the_same_everywhere():
    """Computed anew in plain integers, and their hash."""
    shapes = {"conv0": (16, 3, 3, 3), "conv1": (32, 16, 3, 3), "conv2": (64, 32, 3, 3), "dense": (128, 256)}
    shapes["classes"] = (32, 64)
    total = sum(math.prod(shape) for shape in shapes.values())
    bits = [number for block in range(1, -(-total // 4) + 1) for number in philox(0x67616E7A6F6F, block)]
    hashed, start, net = hashlib.sha256(), 0, ConvRandom(3)
    for name, shape in shapes.items():
        part = bits[start : start + math.prod(shape)]
        start += len(part)
        bound = math.sqrt(6 / math.prod(shape[1:]))
        weights = np.array([np.float32(((r >> 11) / 2**52 - 1) * bound) for r in part], np.float32).reshape(shape)
        assert np.array_equal(net.state_dict()[name].numpy(), weights)
        hashed.update(weights.tobytes())
    assert list(net.state_dict()) == list(shapes)
    assert hashed.hexdigest() == "c170c17cc979515125ebd99b021997083c5cecbf73d17aaf9e0aa642d0f851b6"
    assert net.fingerprint == ConvRandom(3).fingerprint != ConvRandom(1).fingerprint


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 48)])
def test_conv_random_takes_any_image(channels: int, size: tuple[int, int]):
    images = torch.randint(0, 256, (5, channels, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    net = ConvRandom(channels)
    found = net(images)
    assert tuple(found) == ConvRandom.taps
    assert [found[tap].shape for tap in ("pool", "fc2", "logits_unbiased")] == [(5, 64), (5, 128), (5, 32)]
    for tap, features in found.items():
        assert features.dtype == torch.float32
        assert torch.allclose(net(images[2:3])[tap], features[2:3], rtol=1e-4, atol=1e-5)
        assert torch.equal(net(images.float())[tap], features)
        spread = features.std(dim=0).mean() / features.abs().mean()
        assert spread > 0.02, f"{tap} hardly tells images apart"


def test_conv_random_needs_eight_pixels():
    with pytest.raises(DataError, match="at least 8x8 pixels, not 16x7"):
        ConvRandom(3)(torch.zeros(1, 3, 7, 16))


def test_conv_randoms_lpips_is_bounded():
    """Three layers of unit vectors: no squared distance exceeds 3 * 2, at whatever size."""
    for side in (8, 100):
        one, two = ConvRandom(3)(torch.rand(2, 3, side, side) * 255)["lpips"]
        assert 0 < float((one - two).square().sum()) < 6


def test_random_convolutions_are_conv_randoms():
    """Elsewhere the same weights, and no use of numbers that conv-random draws after them."""
    x = torch.rand(2, 4, 13, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    net, eye = fixed.RandomConvs(4), ConvRandom(4)
    for name, weight in net.state_dict().items():
        assert torch.equal(weight, eye.state_dict()[name])
        assert not weight.requires_grad
    maps = net.maps(x)
    expected, inputs = [], x.double()
    for i in range(3):
        inputs = F.conv2d(inputs, net.get_buffer(f"conv{i}").double(), padding=1).clamp(min=0)
        expected.append(inputs)
        inputs = F.avg_pool2d(inputs, 2)
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 13, 10), (32, 6, 5), (64, 3, 2)]
    assert all(torch.allclose(m.double(), e, atol=1e-5) for m, e in zip(maps, expected))
    with pytest.raises(DataError, match="at least 4x4 pixels, not 9x3"):
        net.maps(torch.zeros(1, 4, 3, 9))


# --- where weights come from -----------------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights of a cache directory that does not exist yet."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_a_torch_file_and_a_safetensors_copy_are_the_same_extractor(looking: Inception, tmp_path: Path):
    """In either of torch's formats, with the counters that newer versions of torch add."""
    counters = {f"{name}.bn.num_batches_tracked": torch.tensor(0) for name in LAYERS}
    images = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for old in (True, False):
        path = torch_file(tmp_path / f"{old}.pth", random_inception() | counters, old)
        other = Inception(3, weights=path)
        assert other.fingerprint == looking.fingerprint
        assert torch.equal(other(images)["pool"], looking(images)["pool"])
    state = random_inception()
    changed = torch_file(tmp_path / "changed.pth", {**state, "fc.bias": state["fc.bias"] + 1e-6})
    assert Inception(3, weights=changed).fingerprint != looking.fingerprint


def test_gray_images_are_repeated(looking: Inception):
    gray = torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(Inception(1)(gray)["pool"], looking(gray.repeat(1, 3, 1, 1))["pool"])


def test_extractors_stay_in_evaluation_mode(looking: Inception):
    assert not any(m.training for m in looking.train().modules())
    assert not any(p.requires_grad for p in looking.parameters())


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_not_for_trained_networks(channels: int):
    for make in (Inception, VGG16):
        with pytest.raises(RecipeError, match=f"these have {channels} channels.*Choose 'conv-random'"):
            make(channels)


def test_missing_weights(empty: Path, lpips_files: tuple[Path, Path]):
    """Which file, where, which option, and how to get it."""
    cases: list[tuple[Any, dict[str, Any], str, str]] = [
        (Inception, {}, inception.WEIGHTS.file, inception.URL),
        (VGG16, {}, vgg.FILES[16].file, "torchvision.models.vgg16"),
        (VGG16, {"output": "lpips", "weights": lpips_files[0]}, vgg.LINEAR.file, vgg.LINEAR_URL),
    ]
    for make, given, file, how in cases:
        with pytest.raises(CheckpointError) as caught:
            make(3, **given)
        for part in (f"{file} is not in {empty}", str(empty / file), how, "option"):
            assert part in str(caught.value)
    with pytest.raises(CheckpointError, match=r"there is no file /nowhere/w\.pth"):
        Inception(3, weights=Path("/nowhere/w.pth"))


def test_the_published_file_is_known_by_its_hash(empty: Path):
    """Another file under its name is refused; under another name it is one's own."""
    path = torch_file(empty / inception.WEIGHTS.file, {"fc.bias": torch.zeros(3)})
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"begins with {found[:8]}, not with 6726825d. Fetch it anew"):
        Inception(3)
    own = torch_file(empty / "own.pth", {"fc.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"has fc.bias of shape \[3\] instead of \[1008\]"):
        Inception(3, weights=own)
    with pytest.raises(CheckpointError, match="not with 00112233"):
        Inception(3, weights=own, sha256="00112233")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fc.bias": None}, "it lacks fc.bias. 'inception' takes pt_inception"),
        ({"fc.bias": None, "last.bias": torch.zeros(1008)}, "it has an unknown last.bias, lacks fc.bias"),
        ({"fc.bias": torch.zeros(1000)}, r"it has fc.bias of shape \[1000\] instead of \[1008\]"),
        ({"fc.bias": torch.full((1008,), torch.nan)}, "fc.bias holds values that are not finite"),
        ({"AuxLogits.fc.bias": torch.zeros(1000)}, "has an unknown AuxLogits.fc.bias"),
    ],
)
def test_wrong_contents(empty: Path, change: dict[str, Tensor | None], sentence: str):
    state = {n: t for n, t in (random_inception() | change).items() if t is not None}
    empty.mkdir(parents=True)
    save_file(state, empty / "inception.safetensors")
    with pytest.raises(CheckpointError, match=sentence):
        Inception(3)


def test_many_faults_are_not_all_listed(empty: Path):
    with pytest.raises(CheckpointError, match=r"and \d\d\d more"):
        Inception(3, weights=torch_file(empty / "vgg.pth", random_vgg()))


def test_files_that_are_no_state_dict(empty: Path):
    empty.mkdir(parents=True)
    torch.save([torch.zeros(3)], empty / "list.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        Inception(3, weights=empty / "list.pth")
    (empty / "text.pth").write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="neither a file of torch"):
        Inception(3, weights=empty / "text.pth")
    whole = torch_file(empty / "whole.pth", random_vgg()).read_bytes()
    (empty / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.pth: it is cut off or damaged"):
        Inception(3, weights=empty / "cut.pth")


def test_a_pickle_is_never_executed(empty: Path):
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (empty / "executed",))

    empty.mkdir(parents=True)
    torch.save({"fc.bias": Evil()}, empty / "evil.pth")
    with pytest.raises(CheckpointError):
        Inception(3, weights=empty / "evil.pth")
    assert not (empty / "executed").exists()


# --- fetching --------------------------------------------------------------------------------------------------------


class Server:
    """An address on this machine that gives some bytes."""

    def __init__(self, content: bytes, cut: int = 0) -> None:
        import http.server
        import threading

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + cut))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights.pth"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def published(url: str, sha256: str):
    return Published("mine.pth", "mine.safetensors", sha256, "Put it to {path}.", url)


def test_fetching_brings_the_right_bytes_or_says_what_belongs_where(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    content, seen = bytes(range(256)) * 9000, []
    server, right = Server(content), hashlib.sha256(content).hexdigest()

    def progress(what, done, total):
        seen.append((done, total))

    with pytest.raises(CheckpointError, match=r"nothing was fetched\. Put it to .*weights/mine\.pth"):
        published(server.url, right).fetch(True, progress)
    assert not seen
    with pytest.raises(CheckpointError, match=r"not 00000000\. Put it to"):
        published(server.url, "00000000").fetch(False, progress)
    with pytest.raises(CheckpointError, match=r"could not be fetched"):
        published(Server(content, cut=5).url, right).fetch(False, progress)
    with pytest.raises(CheckpointError, match=r"could not be fetched to .* Put it to"):
        published("http://127.0.0.1:9/none", right).fetch(False, progress)
    assert list((tmp_path / "weights").iterdir()) == []
    path = published(server.url, right[:8]).fetch(False, progress)
    assert path.read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    server.server.shutdown()
    assert published(server.url, right).fetch(False, progress) == path  # it is there: nothing is asked
    with pytest.raises(CheckpointError, match="needs no file of weights"):
        ConvRandom.fetch(False, progress)


def test_fetch_on_the_command_line_says_what_belongs_where(tmp_path, monkeypatch, capsys):
    from ganzoo_cli import main

    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    for words in (["inception", "--offline"], ["vgg16", "--offline"], ["conv-random"]):
        assert main(["metrics", "fetch", *words]) == 1
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert str(tmp_path / "weights") in err or "needs no file" in err
