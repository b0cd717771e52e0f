"""Inception, the extractor of FID, KID and IS: its graph layer by layer, its resize, and its weights.

The published weights are not at hand here, so the graph is compared with a description of its own, and run with random
weights.
"""

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo.errors import CheckpointError
from ganzoo.nn.pixels import to_unit
from ganzoo.testing.extractors import check_extractor
from ganzoo_metrics.inception import Inception, InceptionGraph, mean_pool, tf1_bilinear
from inception_layers import BLOCKS, LAYERS, STEM
from weight_files import empty as empty
from weight_files import meta, torch_file

# --- Inception: the description --------------------------------------------------------------------------------------

# what each stage gives for an image of 299x299: channels and side
STAGES = {
    **{"Conv2d_1a_3x3": (32, 149), "Conv2d_2a_3x3": (32, 147), "Conv2d_2b_3x3": (64, 147)},
    **{"Conv2d_3b_1x1": (80, 73), "Conv2d_4a_3x3": (192, 71)},
    **{"Mixed_5b": (256, 35), "Mixed_5c": (288, 35), "Mixed_5d": (288, 35)},
    **{"Mixed_6a": (768, 17), "Mixed_6b": (768, 17), "Mixed_6c": (768, 17), "Mixed_6d": (768, 17)},
    **{"Mixed_6e": (768, 17), "Mixed_7a": (1280, 8), "Mixed_7b": (2048, 8), "Mixed_7c": (2048, 8)},
}


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
def inception(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Inception:
    monkeypatch.setenv("GZ_CACHE", str(stocked))
    return Inception(3)


def test_inception_computes_what_is_described(inception: Inception):
    """Random weights, two images that are no squares, float64: resize, range, every branch and its place, classes."""
    images = torch.randint(0, 256, (2, 3, 40, 64), generator=torch.Generator().manual_seed(3))
    got = inception.double()(images.double() / 127.5 - 1, Inception.outputs)
    resized = slow_bilinear(images.flatten(0, 1).double(), 299, 299).unflatten(0, (2, 3))
    pool = reference_inception((resized - 128) / 128, random_inception())
    assert float(pool.std()) > 0.01
    assert torch.allclose(got["pool"], pool, rtol=1e-9, atol=1e-9)
    weight, bias = (random_inception()[f"fc.{part}"].double() for part in ("weight", "bias"))
    assert torch.allclose(got["logits_unbiased"], pool @ weight.T, atol=1e-9)
    assert torch.allclose(got["logits"], pool @ weight.T + bias, atol=1e-9)


@pytest.mark.slow
def test_inception_conforms(inception: Inception):
    assert list(check_extractor(partial(Inception), Inception, (8, 12))) == []


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


# --- where weights come from -----------------------------------------------------------------------------------------


def test_a_torch_file_and_a_safetensors_copy_are_the_same_extractor(inception: Inception, tmp_path: Path):
    """In either of torch's formats, with the counters that newer versions of torch add."""
    counters = {f"{name}.bn.num_batches_tracked": torch.tensor(0) for name in LAYERS}
    images = to_unit(torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)))
    for old in (True, False):
        path = torch_file(tmp_path / f"{old}.pth", random_inception() | counters, old)
        other = Inception(3, weights=path)
        assert other.fingerprint("pool") == inception.fingerprint("pool")
        assert torch.equal(other(images, ["pool"])["pool"], inception(images, ["pool"])["pool"])
    state = random_inception()
    changed = torch_file(tmp_path / "changed.pth", {**state, "fc.bias": state["fc.bias"] + 1e-6})
    assert Inception(3, weights=changed).fingerprint("pool") != inception.fingerprint("pool")


def test_gray_images_are_repeated(inception: Inception):
    gray = to_unit(torch.randint(0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0)))
    repeated = inception(gray.repeat(1, 3, 1, 1), ["pool"])["pool"]
    assert torch.equal(Inception(1)(gray, ["pool"])["pool"], repeated)


def test_extractors_stay_in_evaluation_mode(inception: Inception):
    assert not any(m.training for m in inception.train().modules())
    assert not any(p.requires_grad for p in inception.parameters())


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
