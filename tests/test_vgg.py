"""VGG, an extractor: its graph layer by layer, LPIPS, fc2, and its weights.

The published weights are not at hand here, so it runs with random ones.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, DataError, RecipeError
from ganzoo.extractors.vgg import VGG16
from ganzoo.foreign import lpips, vgg
from ganzoo.foreign.lpips import lpips_vector
from ganzoo.foreign.vgg import VGG, DenseVGG
from ganzoo.nn.pixels import to_unit
from ganzoo_metrics import inception
from ganzoo_metrics.inception import Inception
from weight_files import empty as empty
from weight_files import meta, torch_file

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
    shapes = [tuple(m.shape[1:]) for m in net(x, lpips.LAYERS).values()]
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
    extractor = VGG16(3, weights=weights, lpips=lins).double()
    a, b = torch.rand(2, 2, 3, 24, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    found = extractor(torch.cat([a, b]) / 127.5 - 1, ["lpips"])
    assert list(found) == ["lpips"]
    one, two = found["lpips"].chunk(2)
    assert torch.allclose((one - two).square().sum(dim=1), reference_lpips(a, b), rtol=1e-6)
    assert float((one - one).abs().max()) == 0


def test_lpips_can_be_differentiated(lpips_files: tuple[Path, Path]):
    """Projection descends it; a black image has vectors of length 0."""
    extractor = VGG16(3, weights=lpips_files[0], lpips=lpips_files[1])
    image = torch.full((1, 3, 16, 16), -1.0, requires_grad=True)
    extractor(image, ["lpips"])["lpips"].square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert lpips_vector([torch.zeros(1, 2, 1, 1)], [torch.ones(2)]).tolist() == [[0, 0]]


def test_linear_weights_may_lie_in_the_same_file(lpips_files: tuple[Path, Path], tmp_path: Path):
    both = tmp_path / "both.safetensors"
    save_file(random_vgg() | {k: t.flatten() for k, t in linear("lin{}").items()}, both)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    apart = VGG16(3, weights=lpips_files[0], lpips=lpips_files[1])
    together = VGG16(3, weights=both)
    assert torch.equal(together(images, ["lpips"])["lpips"], apart(images, ["lpips"])["lpips"])
    assert together.fingerprint("lpips") == apart.fingerprint("lpips")


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
        VGG16(3, weights=lpips_files[0], lpips=torch_file(tmp_path / "lins.pth", lins)).prepare(["lpips"])


def test_images_too_small_for_vgg(lpips_files: tuple[Path, Path]):
    extractor = VGG16(3, weights=lpips_files[0], lpips=lpips_files[1])
    with pytest.raises(DataError, match="20x12 is too small"):
        extractor(torch.zeros(1, 3, 12, 20), ["lpips"])


@pytest.mark.slow
def test_fc2_of_vgg(tmp_path: Path):
    """The published layout with its fc8, torch's own resizes, both dense layers with their ReLUs."""
    state = random_vgg(dense=True)
    fc8 = {"classifier.6.weight": torch.zeros(1000, 4096), "classifier.6.bias": torch.zeros(1000)}
    path = torch_file(tmp_path / "all.pth", state | fc8, old=False)
    images = torch.randint(0, 256, (2, 3, 48, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    prints = set()
    for resize, antialias in (("bilinear", False), ("antialias", True), ("pool", None)):
        extractor = VGG16(3, weights=path, resize=resize)
        prints.add(extractor.fingerprint("fc2"))
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
        assert torch.allclose(extractor(to_unit(images), ["fc2"])["fc2"], x, atol=1e-3 * float(x.abs().max()))
    assert len(prints) == 3  # another resize is another extractor


# --- where weights come from -----------------------------------------------------------------------------------------


def test_missing_weights(empty: Path, lpips_files: tuple[Path, Path]):
    """Which file, where, which option, and how to get it."""
    cases: list[tuple[Any, dict[str, Any], str, str]] = [
        (Inception, {}, inception.WEIGHTS.file, inception.URL),
        (VGG16, {}, vgg.FILES[16].file, "https://download.pytorch.org/models/vgg16-397923af.pth"),
        (VGG16, {"weights": lpips_files[0]}, lpips.LINEAR.file, lpips.LINEAR_URL),
    ]
    for make, given, file, how in cases:
        with pytest.raises(CheckpointError) as caught:
            make(3, **given).prepare(["lpips"])
        for part in (f"{file} is not in {empty}", str(empty / file), how, "option"):
            assert part in str(caught.value)
    with pytest.raises(CheckpointError, match=r"there is no file /nowhere/w\.pth"):
        Inception(3, weights=Path("/nowhere/w.pth"))


def test_many_faults_are_not_all_listed(empty: Path):
    with pytest.raises(CheckpointError, match=r"and \d\d\d more"):
        Inception(3, weights=torch_file(empty / "vgg.pth", random_vgg()))


def test_files_that_are_no_state_dict(empty: Path):
    empty.mkdir(parents=True)
    torch.save([torch.zeros(3)], empty / "list.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        Inception(3, weights=empty / "list.pth")
    (empty / "text.pth").write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="it is a web page and no weights"):
        Inception(3, weights=empty / "text.pth")
    whole = torch_file(empty / "whole.pth", random_vgg()).read_bytes()
    (empty / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.pth: it is cut off or damaged"):
        Inception(3, weights=empty / "cut.pth")
