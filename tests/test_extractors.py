"""Extractors: each output of each, what conformance finds, and how metrics share them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.evaluation.extractors import Extractors, same_choice
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.pixel import Pixel
from ganzoo.extractors.vgg import VGG16, VGG19
from ganzoo.extractors.vgg_normalised import NormalisedNet, NormalisedVGG19
from ganzoo.foreign import vgg
from ganzoo.interfaces import Extractor, Shape
from ganzoo.registry.lookup import registry
from ganzoo.testing.extractors import check_extractor
from ganzoo_metrics.frechet import FID
from ganzoo_metrics.inception_score import InceptionScore
from ganzoo_metrics.kid import KID
from ganzoo_metrics.precision_recall import PrecisionRecall

SHAPE = Shape(((16, 16), (32, 32)), 3)
CPU = torch.device("cpu")


def random_state(net: nn.Module) -> dict[str, Tensor]:
    """Weights such that activations neither vanish nor explode."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(t.shape, generator=draw) * ((2 / t[0].numel()) ** 0.5 if t.ndim > 1 else 0.1)
        for name, t in net.state_dict().items()
    }


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A cache directory with the files of all VGGs, of narrow layers."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    monkeypatch.setattr(vgg, "WIDTHS", (4, 6, 8, 10, 12))
    monkeypatch.setattr(vgg, "DENSE", 20)
    folder = tmp_path / "weights"
    folder.mkdir()
    linear = {f"lin{i}": torch.rand(width) for i, width in enumerate(vgg.WIDTHS)}
    save_file(random_state(vgg.DenseVGG()), folder / "vgg16.safetensors")
    save_file(linear, folder / "lpips-v0.1-vgg.safetensors")
    save_file(random_state(vgg.VGG(19)), folder / "vgg19.safetensors")
    save_file(random_state(NormalisedNet()), folder / "vgg_normalised.safetensors")
    return folder


class TestConformance:
    @pytest.mark.parametrize("size", [(8, 8), (12, 8)])
    @pytest.mark.parametrize(
        "make",
        [
            Pixel,
            ConvRandom,
            VGG16,
            partial(VGG16, resize="pool", preprocessing="unit"),
            VGG19,
            partial(VGG19, pool="average", preprocessing="caffe"),
            NormalisedVGG19,
        ],
    )
    def test_every_output(self, make, size, weights) -> None:
        cls = make.func if isinstance(make, partial) else make
        assert list(check_extractor(partial(make), cls, size)) == []

    def test_outputs_are_described(self) -> None:
        for name in registry().names("extractor"):
            cls: Any = registry().get("extractor", name)
            vectors = [output for output in cls.outputs if output not in cls.layers]
            assert all(output in cls.__doc__ for output in [*vectors, *cls.layers[:1], *cls.layers[-1:]])

    def test_what_is_wrong_is_said(self) -> None:
        class Bad(Extractor, name="bad"):
            """An extractor with a fault for each check."""

            outputs = ("maps", "vector", "deaf")
            layers = ("maps",)

            def __init__(self, channels: int, /) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.rand(()))

            def prepare(self, outputs: Sequence[str]) -> None:
                pass

            def forward(self, images: Tensor, outputs: Sequence[str]) -> dict[str, Tensor]:
                together = {"maps": images.flatten(1) * self.scale, "vector": images.flatten(1) - images.mean()}
                return {**together, "deaf": images.detach().flatten(1)}

            def fingerprint(self, output: str) -> str:
                return str(id(self))

        said = "\n".join(check_extractor(partial(Bad), Bad, (8, 8)))
        for fault in (
            "has parameters that would learn",
            "output 'maps' is [3, 64], not maps of 3 images",
            "output 'vector' depends on the other images",
            "output 'deaf' gives no finite gradient",
            "prepares an output that it does not have",
            "does not give 'vector' of the smallest images",
            "not the same text for the same network",
            "has other weights each time",
        ):
            assert fault in said, said


class TestVGG16:
    def test_parts_are_loaded_when_they_are_asked_for(self, weights) -> None:
        """Dense layers are most of the file; a layer has the same values and fingerprint with them and without."""
        extractor, x = VGG16(3), torch.rand(2, 3, 32, 40) * 2 - 1
        before, name = extractor(x, ["relu4_2"])["relu4_2"], extractor.fingerprint("relu4_2")
        assert not any("classifier" in key or "lin" in key for key in extractor.state_dict())
        extractor.prepare(["fc2", "lpips"])
        assert {"net.classifier.3.weight", "lin4"} <= extractor.state_dict().keys()
        assert torch.equal(extractor(x, ["relu4_2"])["relu4_2"], before)
        assert extractor.fingerprint("relu4_2") == name
        prints = {extractor.fingerprint(output) for output in ("relu4_2", "fc2", "lpips")}
        assert len({*prints, VGG16(3, preprocessing="unit").fingerprint("relu4_2")}) == 4
        assert extractor.fingerprint("lpips") == VGG16(3, preprocessing="unit").fingerprint("lpips")

    def test_loaded_in_inference_it_serves_gradients_later(self, weights) -> None:
        extractor, x = VGG16(3).double(), (torch.rand(1, 3, 16, 16).double() * 2 - 1).requires_grad_()
        with torch.inference_mode():
            extractor(x.detach(), ["lpips"])
        (gradient,) = torch.autograd.grad(extractor(x, ["lpips"])["lpips"].square().sum(), x)
        assert gradient.dtype == torch.float64 and gradient.abs().sum() > 0

    def test_lpips_and_fc2_have_one_preprocessing(self, weights) -> None:
        x = torch.rand(2, 3, 32, 32) * 2 - 1
        one, other = (VGG16(3, preprocessing=p)(x, ["lpips", "fc2", "relu1_1"]) for p in ("torchvision", "unit"))
        assert torch.equal(one["lpips"], other["lpips"]) and torch.equal(one["fc2"], other["fc2"])
        assert not torch.equal(one["relu1_1"], other["relu1_1"])

    def test_a_file_without_a_part(self, weights) -> None:
        """What does not need the part works."""
        save_file(random_state(vgg.VGG(16)), weights / "vgg16.safetensors")
        (weights / "lpips-v0.1-vgg.safetensors").unlink()
        extractor = VGG16(3)
        assert extractor(torch.zeros(1, 3, 16, 16), ["conv3_1"])["conv3_1"].shape == (1, 8, 4, 4)
        with pytest.raises(CheckpointError, match=r"lacks classifier\.0\.bias"):
            extractor.prepare(["fc2"])
        with pytest.raises(CheckpointError, match=r"lpips-v0\.1-vgg\.pth is not in"):
            extractor.prepare(["lpips"])
        with pytest.raises(RecipeError, match=r"'vgg16' has no output 'relu6_1'\. Choose one of conv1_1"):
            extractor.prepare(["relu6_1"])


class TestSharing:
    def test_choices_are_compared_by_value(self) -> None:
        assert same_choice(ConvRandom, partial(ConvRandom))
        assert same_choice(VGG16, partial(VGG16, resize="bilinear", weights=None))  # the defaults
        assert same_choice(partial(VGG16, weights=Path("a")), partial(VGG16, weights=Path("a")))
        assert not same_choice(partial(VGG16, weights=Path("a")), partial(VGG16, weights=Path("b")))
        assert not same_choice(VGG16, VGG19)
        own = lambda channels: Pixel(channels)  # noqa: E731
        assert same_choice(own, own) and not same_choice(own, Pixel)
        assert same_choice(partial(FID, extractor=partial(ConvRandom)), partial(FID, extractor=ConvRandom))
        assert not same_choice(partial(FID, extractor=Pixel), partial(FID, extractor=ConvRandom))

    def test_one_extractor_for_equal_choices(self, monkeypatch) -> None:
        """It runs once a batch, and is asked for the outputs of all its metrics."""
        made = (
            (FID, ConvRandom),
            (KID, partial(ConvRandom)),
            (InceptionScore, ConvRandom),
            (PrecisionRecall, ConvRandom),
        )
        metrics = [cls(SHAPE, 0, num=4, extractor=make) for cls, make in made]
        extractors, asked, forward = Extractors(metrics, 3, CPU), [], ConvRandom.forward
        monkeypatch.setattr(
            ConvRandom, "forward", lambda self, x, names: asked.append(tuple(names)) or forward(self, x, names)
        )
        images = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        features = extractors.features_of(images)
        widths = [features(metric).shape for metric in metrics]
        assert widths == [(5, 64), (5, 64), (5, 32), (5, 128)]
        assert asked == [("pool", "logits_unbiased", "fc2")]
        assert len({id(extractors.of(metric)) for metric in metrics}) == 1
        alone = ConvRandom(3)(images.float() / 127.5 - 1, ["pool"])["pool"]
        assert torch.equal(features(metrics[0]), alone)

    def test_records(self, weights) -> None:
        """The same whatever else is measured beside."""
        precision, other = PrecisionRecall(SHAPE, 0), PrecisionRecall(SHAPE, 0, extractor=partial(VGG16, resize="pool"))
        distance = FID(SHAPE, 0, extractor=ConvRandom)
        together = Extractors([precision, other, distance], 3, CPU)
        assert together.of(precision) is not together.of(other)
        record = together.record(precision)
        assert record is not None
        assert (record["name"], record["output"], len(record["sha256"])) == ("vgg16", "fc2", 64)
        assert Extractors([precision], 3, CPU).record(precision) == record != together.record(other)
        assert record["sha256"] == VGG16(3).fingerprint("fc2")

    def test_missing_parts_are_known_before_any_image(self, weights) -> None:
        save_file(random_state(vgg.VGG(16)), weights / "vgg16.safetensors")
        with pytest.raises(CheckpointError, match="classifier"):
            Extractors([PrecisionRecall(SHAPE, 0)], 3, CPU)
